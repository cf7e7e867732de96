//! Handles to a deployment's store, as its servers have them.

use crate::{Backend, Deployment};
use dlock_backend_etcd::{EtcdConfig, EtcdStore};
use dlock_backend_nats::{NatsConfig, NatsStore};
use dlock_backend_redis::{RedisConfig, Settings};
use dlock_store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Deployment {
    /// Connects to the store, past all proxies.
    ///
    /// # Errors
    /// When it does not answer.
    ///
    /// # Panics
    /// For the embedded store, which is in its server's process.
    pub async fn open_store(&self) -> Result<Arc<dyn Store>, Box<dyn std::error::Error + Send + Sync>> {
        let config = self.store.config(&self.store.addresses());
        Ok(match self.backend {
            Backend::Embedded => panic!("the embedded store is in its server's process"),
            Backend::Etcd | Backend::EtcdCluster => {
                Arc::new(EtcdStore::connect(&section::<EtcdConfig>(&config, "etcd")).await?)
            }
            Backend::Nats | Backend::NatsCluster => {
                Arc::new(NatsStore::connect(&section::<NatsConfig>(&config, "jetstream")).await?)
            }
            Backend::Redis | Backend::RedisSentinel | Backend::RedisCluster | Backend::RedisQuorum => {
                let settings = Settings::try_from(&section::<RedisConfig>(&config, "redis"))?;
                dlock_backend_redis::open(&settings).await?
            }
        })
    }
}

/// A section of a server's configuration.
fn section<T: serde::de::DeserializeOwned>(config: &str, name: &str) -> T {
    let mut sections: BTreeMap<String, T> = toml::from_str(config).unwrap();
    sections.remove(name).unwrap()
}
