//! The store in memory as it is asked by callers that need not wait.

use async_trait::async_trait;
use dlock_backend_embedded::EmbeddedStore;
use dlock_store::{
    AtOnce, Capabilities, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch,
    Write,
};
use std::sync::Arc;

/// Gets and commits through [`Store::at_once`] only.
struct Impatient(EmbeddedStore);

impl Impatient {
    fn at_once(&self) -> &dyn AtOnce {
        self.0.at_once().expect("a store in memory answers at once")
    }
}

#[async_trait]
impl Store for Impatient {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn info(&self) -> StoreInfo {
        self.0.info()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.at_once().get(key)
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        writes.into_iter().map(|write| self.at_once().commit(write)).collect()
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.0.list(prefix, after, limit).await
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        self.0.watch(scope).await
    }

    async fn health(&self) -> Vec<Condition> {
        self.0.health().await
    }
}

dlock_store::conformance_suite!(|| async { vec![Arc::new(Impatient(EmbeddedStore::in_memory())) as _] });

#[test]
fn a_durable_store_has_to_be_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    assert!(EmbeddedStore::open(directory.path()).unwrap().at_once().is_none());
}
