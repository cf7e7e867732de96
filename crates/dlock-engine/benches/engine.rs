//! The engine without gRPC: acquires and releases through a session, over the embedded store in memory.
//!
//! The store answers at once, so that each batch is done when `submit` returns.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dlock_backend_embedded::EmbeddedStore;
use dlock_core::lease::{LeaseTerms, TTL_MAX};
use dlock_core::resource::ValueUpdate;
use dlock_core::session::{ClientInfo, EndReason};
use dlock_core::{LockId, Mode, ResourceId};
use dlock_engine::{
    Engine, EngineConfig, Event, EventSink, LockRef, OpenSession, Patience, Request, RequestId, Session,
};
use dlock_runtime::Environment;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Counts what a session is told.
#[derive(Default)]
struct Told {
    granted: AtomicU64,
    released: AtomicU64,
}

impl EventSink for Told {
    fn deliver(&self, event: Event) {
        match event {
            Event::Granted { .. } => self.granted.fetch_add(1, Ordering::Relaxed),
            Event::Released { .. } => self.released.fetch_add(1, Ordering::Relaxed),
            // A group closes the sessions that it has opened.
            Event::Queued { .. } | Event::Blocking { .. } | Event::Ended { reason: EndReason::Closed } => 0,
            other => panic!("{other:?}"),
        };
    }
}

/// A session, and the numbers that its requests have reached.
struct Client {
    session: Session,
    told: Arc<Told>,
    request: u64,
    lock: u64,
}

impl Client {
    fn open(runtime: &Runtime, engine: &Engine) -> Client {
        let terms = LeaseTerms::new(TTL_MAX, Duration::ZERO).unwrap();
        let open = OpenSession { terms, principal: String::new(), client: ClientInfo::default() };
        let told = Arc::new(Told::default());
        let (session, _) = runtime.block_on(engine.open_session(open, told.clone())).unwrap();
        Client { session, told, request: 0, lock: 0 }
    }

    fn acquire(&mut self, resource: &ResourceId, mode: Mode) -> (RequestId, Request) {
        self.lock += 1;
        let request = Request::Acquire {
            lock: LockId(self.lock),
            resource: resource.clone(),
            mode,
            patience: Patience::Forever,
            reentrant: false,
            report_position: false,
        };
        self.number(request)
    }

    fn release(&mut self, lock: u64, resource: &ResourceId) -> (RequestId, Request) {
        let lock = LockRef { lock: LockId(lock), resource: Some(resource.clone()) };
        self.number(Request::Release { lock, value: ValueUpdate::Keep })
    }

    fn number(&mut self, request: Request) -> (RequestId, Request) {
        self.request += 1;
        (RequestId(self.request), request)
    }

    /// Acquires all, then releases all.
    fn pairs(&mut self, resources: &[ResourceId], mode: Mode) {
        let (granted, released) = (self.granted(), self.released());
        let first = self.lock + 1;
        let acquires = resources.iter().map(|resource| self.acquire(resource, mode)).collect();
        self.session.submit(acquires);
        let releases =
            (first..).zip(resources).map(|(lock, resource)| self.release(lock, resource)).collect();
        self.session.submit(releases);
        let count = resources.len() as u64;
        assert_eq!((self.granted() - granted, self.released() - released), (count, count));
    }

    fn granted(&self) -> u64 {
        self.told.granted.load(Ordering::Relaxed)
    }

    fn released(&self) -> u64 {
        self.told.released.load(Ordering::Relaxed)
    }
}

fn names(count: u64) -> Vec<ResourceId> {
    (0..count).map(|number| ResourceId::new("", &format!("bench/{number}")).unwrap()).collect()
}

fn pairs(criterion: &mut Criterion) {
    // Its one thread is for the engine's own tasks; sessions are served on the bench's.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let start = async {
        let store = Arc::new(EmbeddedStore::in_memory());
        Engine::start(store, Environment::real(), EngineConfig::default()).await.unwrap()
    };
    let engine = runtime.block_on(start);
    let mut group = criterion.benchmark_group("engine");
    for batch in [1, 64, 1024] {
        let (mut client, resources) = (Client::open(&runtime, &engine), names(batch));
        group.throughput(Throughput::Elements(batch));
        group.bench_function(BenchmarkId::new("uncontended pairs, in batches of", batch), |bencher| {
            bencher.iter(|| client.pairs(&resources, Mode::Exclusive));
        });
    }
    for holders in [0, 10_000] {
        let (mut client, resource) = (Client::open(&runtime, &engine), names(1).remove(0));
        let held = (0..holders).map(|_| client.acquire(&resource, Mode::ProtectedRead)).collect();
        client.session.submit(held);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("a shared pair beside other holders", holders), |bencher| {
            bencher.iter(|| client.pairs(std::slice::from_ref(&resource), Mode::ProtectedRead));
        });
        runtime.block_on(client.session.close()).unwrap();
    }
    let (mut client, resource) = (Client::open(&runtime, &engine), names(1).remove(0));
    let waiters = (0..=64).map(|_| client.acquire(&resource, Mode::Exclusive)).collect();
    client.session.submit(waiters);
    let mut holder = 1;
    group.bench_function("hand over and wait again, 64 waiters", |bencher| {
        bencher.iter(|| {
            let granted = client.granted();
            let requests =
                vec![client.release(holder, &resource), client.acquire(&resource, Mode::Exclusive)];
            client.session.submit(requests);
            assert_eq!(client.granted() - granted, 1);
            holder += 1;
        });
    });
    group.finish();
}

criterion_group!(benches, pairs);
criterion_main!(benches);
