//! The engine without gRPC.

use dlock_backend_embedded::EmbeddedStore;
use dlock_core::lease::{LeaseTerms, TTL_MAX};
use dlock_core::resource::ValueUpdate;
use dlock_core::session::ClientInfo;
use dlock_core::{LockId, Mode, ResourceId};
use dlock_engine::{
    Engine, EngineConfig, Event, EventSink, LockRef, Mastering, OpenSession, Patience, Request, RequestId,
};
use dlock_runtime::Environment;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts what a session is told.
#[derive(Default)]
struct Told(AtomicU64);

impl EventSink for Told {
    fn deliver(&self, event: Event) {
        assert!(matches!(event, Event::Granted { .. } | Event::Released { .. }), "{event:?}");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many rounds go by before the engine's own tasks get a turn.
const ROUNDS_PER_TURN: u64 = 64;

/// A runtime of one thread: callgrind counts it all, and nothing depends on who runs first.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// So many pairs, so many requests at a time.
pub(crate) fn pairs(mastering: Mastering, batch: u64, count: u64) {
    runtime().block_on(run(mastering, batch, count));
}

async fn run(mastering: Mastering, batch: u64, count: u64) {
    let store = Arc::new(EmbeddedStore::in_memory());
    let config = EngineConfig { mastering: Some(mastering), ..EngineConfig::default() };
    let engine = Engine::start(store, Environment::real(), config).await.unwrap();
    let terms = LeaseTerms::new(TTL_MAX, Duration::ZERO).unwrap();
    let open = OpenSession { terms, principal: String::new(), client: ClientInfo::default() };
    let told = Arc::new(Told::default());
    let (session, _) = engine.open_session(open, told.clone()).await.unwrap();
    let names: Vec<ResourceId> =
        (0..batch).map(|number| ResourceId::new("", &format!("hot/{number}")).unwrap()).collect();
    let mut last = 0;
    let mut number = |request: Request| {
        last += 1;
        (RequestId(last), request)
    };
    for round in 0..count / batch {
        let locks = || (round * batch + 1..).map(LockId).zip(&names);
        let acquires = locks().map(|(lock, resource)| number(acquire(lock, resource)));
        session.submit(acquires.collect());
        let releases = locks().map(|(lock, resource)| number(release(lock, resource)));
        session.submit(releases.collect());
        if round % ROUNDS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(told.0.load(Ordering::Relaxed), count / batch * batch * 2);
}

fn acquire(lock: LockId, resource: &ResourceId) -> Request {
    Request::Acquire {
        lock,
        resource: resource.clone(),
        mode: Mode::Exclusive,
        patience: Patience::Forever,
        reentrant: false,
        report_position: false,
    }
}

fn release(lock: LockId, resource: &ResourceId) -> Request {
    let lock = LockRef { lock, resource: Some(resource.clone()) };
    Request::Release { lock, value: ValueUpdate::Keep }
}
