//! The store that the configuration names. A backend is wired in here, and nowhere else.

use crate::config::StoreConfig;
use dlock_backend_embedded::{EmbeddedStore, OpenError};
use dlock_backend_etcd::EtcdStore;
use dlock_backend_nats::NatsStore;
use dlock_store::Store;
use std::sync::Arc;

/// Why the store can't be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The data directory can't be opened.
    #[error(transparent)]
    Embedded(#[from] OpenError),
    /// etcd can't be used.
    #[error(transparent)]
    Etcd(#[from] dlock_backend_etcd::OpenError),
    /// NATS can't be used.
    #[error(transparent)]
    Nats(#[from] dlock_backend_nats::OpenError),
    /// Redis can't be used.
    #[error(transparent)]
    Redis(#[from] dlock_backend_redis::OpenError),
}

/// Opens the store.
pub async fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, StoreOpenError> {
    match config {
        StoreConfig::Memory => Ok(Arc::new(EmbeddedStore::in_memory())),
        StoreConfig::Directory(directory) => Ok(Arc::new(EmbeddedStore::open(directory)?)),
        StoreConfig::Etcd(etcd) => Ok(Arc::new(EtcdStore::connect(etcd).await?)),
        StoreConfig::Redis(settings) => Ok(dlock_backend_redis::open(settings).await?),
        StoreConfig::Nats(nats) => Ok(Arc::new(NatsStore::connect(nats).await?)),
    }
}
