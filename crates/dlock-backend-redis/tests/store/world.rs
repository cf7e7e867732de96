//! Handles onto a store, and short words for its calls.

use dlock_backend_redis::{OpenError, RedisConfig, RedisStore, Settings};
pub(crate) use dlock_store::conformance::calls::*;
use dlock_store::{Key, Store, StoreError, Verdict, Write};
use std::any::Any;
use std::sync::Arc;

/// The settings of a TOML text.
pub(crate) fn settings(toml: &str) -> Settings {
    Settings::try_from(&toml::from_str::<RedisConfig>(toml).unwrap()).unwrap()
}

/// A store by the settings of a TOML text.
pub(crate) async fn try_open(toml: &str) -> Result<RedisStore, OpenError> {
    RedisStore::open(&settings(toml)).await
}

/// The same, which must be there.
pub(crate) async fn open(toml: &str) -> RedisStore {
    try_open(toml).await.unwrap()
}

/// One that keeps a server for as long as it is used.
pub(crate) struct Kept<S> {
    store: RedisStore,
    _server: Arc<S>,
}

/// Three handles onto a store, which keep the server.
pub(crate) async fn handles<S: Any + Send + Sync>(server: S, toml: &str) -> Vec<Arc<dyn Store>> {
    let server = Arc::new(server);
    let mut handles: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        handles.push(Arc::new(Kept { store: open(toml).await, _server: Arc::clone(&server) }));
    }
    handles
}

#[async_trait::async_trait]
impl<S: Any + Send + Sync> Store for Kept<S> {
    fn capabilities(&self) -> dlock_store::Capabilities {
        self.store.capabilities()
    }

    fn info(&self) -> dlock_store::StoreInfo {
        self.store.info()
    }

    async fn get(&self, key: &Key) -> Result<dlock_store::Record, StoreError> {
        self.store.get(key).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        self.store.commit(writes).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<dlock_store::Page, StoreError> {
        self.store.list(prefix, after, limit).await
    }

    async fn watch(&self, scope: dlock_store::Scope) -> Result<dlock_store::Watch, StoreError> {
        self.store.watch(scope).await
    }

    async fn health(&self) -> Vec<dlock_store::Condition> {
        self.store.health().await
    }
}

/// All behaviours of the contract on one start of the servers.
pub(crate) async fn conformance(handles: Vec<Arc<dyn Store>>) {
    let reports = dlock_store::conformance::run_all(&handles).await;
    let failed: Vec<_> = reports.iter().filter(|report| !report.passed).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    /// How long a failover may take, with all that comes after it.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
    let waited = tokio::time::timeout(PATIENCE, async {
        while !so().await {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}
