//! dlock's store in Redis.
#![forbid(unsafe_code)]

mod config;
mod connector;
mod error;
mod fault;
mod flight;
mod health;
mod info;
mod lane;
mod layout;
mod link;
mod node;
mod patience;
mod reading;
mod record;
mod script;
mod store;
mod topology;
mod watch;

pub use config::{
    DEFAULT_PREFIX, DEFAULT_TIMEOUT, PREFIX_BYTES_MAX, RedisConfig, Secret, SentinelConfig, SettingError,
    Settings, TlsConfig,
};
pub use error::OpenError;
pub use store::{RedisStore, VALUE_BYTES_MAX};

use config::Deployment;
use dlock_store::Store;
use std::sync::Arc;

/// Opens the store that the settings name. Must be called within a tokio runtime.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Store>, OpenError> {
    match &settings.deployment {
        Deployment::Single(_) | Deployment::Sentinel { .. } | Deployment::Cluster { .. } => {
            Ok(Arc::new(RedisStore::open(settings).await?))
        }
        Deployment::Quorum { .. } => Err(OpenError::Setting(SettingError {
            setting: "mode",
            value: "quorum".to_owned(),
            why: "this build has no quorum: use single, sentinel or cluster".to_owned(),
        })),
    }
}
