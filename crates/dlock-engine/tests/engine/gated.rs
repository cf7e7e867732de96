//! A store that one engine can be cut off from, and that can be replaced by an older copy.

use async_trait::async_trait;
use dlock_backend_embedded::EmbeddedStore;
use dlock_store::{
    Capabilities, Change, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch,
    WatchEvent, Write,
};
use futures::StreamExt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::broadcast;

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gate {
    Open,
    /// Writes are held back on their way, all else passes.
    HeldWrites,
    /// All passes, and the answers to writes are held back.
    HeldAnswers,
    /// Listings fail, all else passes.
    NoListings,
    /// Writes take effect, but no answer comes, neither to them nor to reads. News pass.
    LostAnswers,
    /// Nothing passes.
    Shut,
}

/// One engine's way to a store.
pub struct GatedStore {
    inner: Mutex<Arc<dyn Store>>,
    gate: AtomicU8,
    said: broadcast::Sender<WatchEvent>,
}

impl GatedStore {
    pub fn new(inner: Arc<dyn Store>) -> Arc<GatedStore> {
        let (gate, said) = (AtomicU8::new(Gate::Open as u8), broadcast::Sender::new(1));
        Arc::new(GatedStore { inner: Mutex::new(inner), gate, said })
    }

    /// All who watch are told this.
    pub fn say(&self, event: WatchEvent) {
        self.said.send(event).unwrap();
    }

    pub fn set(&self, gate: Gate) {
        self.gate.store(gate as u8, Ordering::Relaxed);
    }

    /// From now on it is this store.
    pub fn replace(&self, store: Arc<dyn Store>) {
        *self.inner.lock().unwrap() = store;
    }

    fn inner(&self) -> Arc<dyn Store> {
        self.inner.lock().unwrap().clone()
    }

    async fn opened_after(&self, gate: Gate) {
        while self.gate.load(Ordering::Relaxed) == gate as u8 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
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
        self.inner().capabilities()
    }

    fn info(&self) -> StoreInfo {
        self.inner().info()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.check(Gate::LostAnswers)?;
        self.inner().get(key).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        match self.check(Gate::Shut) {
            Ok(()) => {
                let count = writes.len();
                self.opened_after(Gate::HeldWrites).await;
                let answers = self.inner().commit(writes).await;
                self.opened_after(Gate::HeldAnswers).await;
                if self.check(Gate::LostAnswers).is_err() {
                    return vec![Err(StoreError::Ambiguous { reason: "no answer came".to_owned() }); count];
                }
                answers
            }
            Err(error) => vec![Err(error); writes.len()],
        }
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.check(Gate::NoListings)?;
        self.inner().list(prefix, after, limit).await
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        self.check(Gate::Shut)?;
        let said = futures::stream::unfold(self.said.subscribe(), async |mut said| {
            let event = said.recv().await.ok()?;
            Some((event, said))
        });
        Ok(futures::stream::select(self.inner().watch(scope).await?, said).boxed())
    }

    async fn health(&self) -> Vec<Condition> {
        self.inner().health().await
    }
}

/// What the store holds now, as a backup would have it.
pub async fn copy_of(store: &dyn Store) -> Arc<dyn Store> {
    let copy = EmbeddedStore::in_memory_shared();
    let page = store.list("", None, 10_000).await.unwrap();
    for (key, record) in page.records {
        let expected = copy.get(&key).await.unwrap().version;
        let change = Change::Put(record.value().unwrap().clone().into());
        let write = Write { key, expected, change, guards: Default::default() };
        copy.commit(vec![write]).await.remove(0).unwrap();
    }
    Arc::new(copy)
}
