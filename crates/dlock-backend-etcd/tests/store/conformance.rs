//! The contract's own suite.

use dlock_backend_etcd::{EtcdConfig, EtcdStore};
use dlock_store::Store;
use dlock_test_stores::EtcdServer;
use std::sync::{Arc, OnceLock};

fn server() -> &'static EtcdServer {
    static SERVER: OnceLock<EtcdServer> = OnceLock::new();
    SERVER.get_or_init(EtcdServer::start)
}

async fn handles() -> Vec<Arc<dyn Store>> {
    let config = EtcdConfig { endpoints: vec![server().endpoint()], ..EtcdConfig::default() };
    let mut handles: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        handles.push(Arc::new(EtcdStore::connect(&config).await.unwrap()));
    }
    handles
}

dlock_store::conformance_suite!(handles);
