//! Over a store that can't guard a commit by another record.

use crate::world::*;
use async_trait::async_trait;
use dlock_backend_embedded::EmbeddedStore;
use dlock_core::lease::LeaseTerms;
use dlock_core::{LockId, Mode};
use dlock_engine::{Event, EventSink, Patience, Request, RequestId};
use dlock_store::{
    Capabilities, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch, Write,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Takes no guards, and counts how often a session is read. Each read takes a moment.
struct Unguarded {
    inner: EmbeddedStore,
    sessions_read: AtomicUsize,
}

#[async_trait]
impl Store for Unguarded {
    fn capabilities(&self) -> Capabilities {
        Capabilities { guards: false, ..self.inner.capabilities() }
    }

    fn info(&self) -> StoreInfo {
        self.inner.info()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        if key.as_str().starts_with("s/") {
            self.sessions_read.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.inner.get(key).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        assert!(writes.iter().all(|write| write.guards.is_empty()));
        self.inner.commit(writes).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        self.inner.watch(scope).await
    }

    async fn health(&self) -> Vec<Condition> {
        self.inner.health().await
    }
}

#[derive(Default)]
struct Grants(AtomicUsize);

impl EventSink for Grants {
    fn deliver(&self, event: Event) {
        assert!(matches!(event, Event::Granted { .. }), "{event:?}");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_verified_once_for_all_that_is_committed_together() {
    const LOCKS: u64 = 64;
    let inner = EmbeddedStore::in_memory_shared();
    let store = Arc::new(Unguarded { inner, sessions_read: AtomicUsize::new(0) });
    let engine = engine_on(store.clone(), 1).await;
    let grants = Arc::new(Grants::default());
    let (session, _) = engine.open_session(open_with(LeaseTerms::default()), grants.clone()).await.unwrap();
    for round in 0..2 {
        let before = store.sessions_read.load(Ordering::Relaxed);
        let acquire = |number: u64| {
            let request = Request::Acquire {
                lock: LockId(round * LOCKS + number),
                resource: name(&number.to_string()),
                mode: Mode::ConcurrentRead,
                patience: Patience::Forever,
                reentrant: false,
                report_position: false,
            };
            (RequestId(round * LOCKS + number), request)
        };
        session.submit((1..=LOCKS).map(acquire).collect());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(grants.0.load(Ordering::Relaxed) as u64, (round + 1) * LOCKS);
        let reads = store.sessions_read.load(Ordering::Relaxed) - before;
        // In the first round the resources are read, too, and each is committed when it has come.
        if round > 0 {
            assert_eq!(reads, 1, "reads of the session for {LOCKS} commits");
        }
    }
}
