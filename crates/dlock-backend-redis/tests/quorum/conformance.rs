//! The store contract over five nodes: with all of them, with two dead, and with two that stand still.

use crate::world::*;
use async_trait::async_trait;
use dlock_backend_redis::QuorumStore;
use dlock_store::{
    Capabilities, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch, Write,
};
use dlock_test_stores::RedisQuorum;
use std::sync::Arc;

/// A handle that keeps its nodes for as long as it is used.
struct Kept {
    store: QuorumStore,
    _nodes: Arc<RedisQuorum>,
}

/// Three handles onto a quorum to which something has happened since they were opened.
async fn handles(hurt: impl FnOnce(&mut RedisQuorum)) -> Vec<Arc<dyn Store>> {
    let mut nodes = RedisQuorum::start(5);
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(open(&nodes).await);
    }
    until_codes(&stores[0], &[]).await;
    hurt(&mut nodes);
    let nodes = Arc::new(nodes);
    let kept = stores.into_iter().map(|store| Kept { store, _nodes: Arc::clone(&nodes) });
    kept.map(|kept| -> Arc<dyn Store> { Arc::new(kept) }).collect()
}

mod all {
    dlock_store::conformance_suite!(async || super::handles(|_| {}).await);
}

mod two_dead {
    dlock_store::conformance_suite!(async || super::handles(|nodes| {
        nodes.node(1).process().kill();
        nodes.node(3).process().kill();
    })
    .await);
}

mod two_paused {
    dlock_store::conformance_suite!(async || super::handles(|nodes| {
        nodes.node(0).process().pause();
        nodes.node(4).process().pause();
    })
    .await);
}

#[async_trait]
impl Store for Kept {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn info(&self) -> StoreInfo {
        self.store.info()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.store.get(key).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        self.store.commit(writes).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.store.list(prefix, after, limit).await
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        self.store.watch(scope).await
    }

    async fn health(&self) -> Vec<Condition> {
        self.store.health().await
    }
}
