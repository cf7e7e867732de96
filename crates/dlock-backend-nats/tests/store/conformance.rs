//! The contract's own suite.

use dlock_backend_nats::{NatsConfig, NatsStore, StorageConfig};
use dlock_store::Store;
use dlock_test_stores::NatsServer;
use std::sync::{Arc, OnceLock};

fn server() -> &'static NatsServer {
    static SERVER: OnceLock<NatsServer> = OnceLock::new();
    SERVER.get_or_init(NatsServer::start)
}

async fn handles(storage: StorageConfig) -> Vec<Arc<dyn Store>> {
    let config = NatsConfig {
        endpoint: Some(server().url()),
        bucket: Some(format!("{storage:?}")),
        storage,
        ..NatsConfig::default()
    };
    let mut handles: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        handles.push(Arc::new(NatsStore::connect(&config).await.unwrap()));
    }
    handles
}

mod file {
    dlock_store::conformance_suite!(async || super::handles(super::StorageConfig::File).await);
}

mod memory {
    dlock_store::conformance_suite!(async || super::handles(super::StorageConfig::Memory).await);
}

mod cluster {
    use dlock_backend_nats::{NatsConfig, NatsStore};
    use dlock_store::Store;
    use dlock_test_stores::NatsCluster;
    use std::sync::{Arc, OnceLock};

    fn nodes() -> &'static NatsCluster {
        static NODES: OnceLock<NatsCluster> = OnceLock::new();
        NODES.get_or_init(NatsCluster::start)
    }

    async fn handles() -> Vec<Arc<dyn Store>> {
        let endpoints = nodes().addresses();
        let config = NatsConfig { endpoints, replicas: Some(3), ..NatsConfig::default() };
        let mut handles: Vec<Arc<dyn Store>> = Vec::new();
        for _ in 0..3 {
            handles.push(Arc::new(NatsStore::connect(&config).await.unwrap()));
        }
        handles
    }

    dlock_store::conformance_suite!(handles);
}
