//! A store that one engine can be cut off from.

use async_trait::async_trait;
use dlock_store::{
    Capabilities, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch, Write,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gate {
    Open,
    /// Listings fail, all else passes.
    NoListings,
    /// Nothing passes.
    Shut,
}

/// One engine's way to a store.
pub struct GatedStore {
    inner: Arc<dyn Store>,
    gate: AtomicU8,
}

impl GatedStore {
    pub fn new(inner: Arc<dyn Store>) -> Arc<GatedStore> {
        Arc::new(GatedStore { inner, gate: AtomicU8::new(Gate::Open as u8) })
    }

    pub fn set(&self, gate: Gate) {
        self.gate.store(gate as u8, Ordering::Relaxed);
    }

    fn check(&self, shut_from: Gate) -> Result<(), StoreError> {
        let passes = self.gate.load(Ordering::Relaxed) < shut_from as u8;
        let reason = || "cut off".to_owned();
        if passes { Ok(()) } else { Err(StoreError::Unavailable { reason: reason() }) }
    }
}

#[async_trait]
impl Store for GatedStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn info(&self) -> StoreInfo {
        self.inner.info()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.check(Gate::Shut)?;
        self.inner.get(key).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        match self.check(Gate::Shut) {
            Ok(()) => self.inner.commit(writes).await,
            Err(error) => vec![Err(error); writes.len()],
        }
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.check(Gate::NoListings)?;
        self.inner.list(prefix, after, limit).await
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        self.check(Gate::Shut)?;
        self.inner.watch(scope).await
    }

    async fn health(&self) -> Vec<Condition> {
        self.inner.health().await
    }
}
