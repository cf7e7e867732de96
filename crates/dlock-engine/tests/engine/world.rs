//! Engines, sessions and short words for what they say.

use dlock_backend_embedded::EmbeddedStore;
use dlock_core::lease::LeaseTerms;
use dlock_core::resource::{Grant, ValueUpdate};
use dlock_core::session::ClientInfo;
use dlock_core::{LockId, Mode, ResourceId};
use dlock_engine::{
    Caller, Engine, EngineConfig, Event, LockRef, OpenSession, Patience, Reply, Request, RequestError,
    Secret, Session,
};
use dlock_runtime::Environment;
use dlock_store::Store;
use std::sync::Arc;
use std::time::Duration;

pub const TTL: Duration = Duration::from_secs(10);

pub async fn engine_on(store: Arc<dyn Store>, seed: u64) -> Engine {
    engine_with(store, seed, EngineConfig::default()).await
}

pub async fn engine_with(store: Arc<dyn Store>, seed: u64, config: EngineConfig) -> Engine {
    Engine::start(store, Environment::simulated(seed, 1.0), config).await.unwrap()
}

/// One engine with a store of its own.
pub async fn engine() -> Engine {
    engine_on(Arc::new(EmbeddedStore::in_memory()), 1).await
}

/// Several engines over one store.
pub async fn engines<const N: usize>() -> [Engine; N] {
    engines_with(EngineConfig::default()).await
}

pub async fn engines_with<const N: usize>(config: EngineConfig) -> [Engine; N] {
    let store = EmbeddedStore::in_memory_shared();
    let mut engines = Vec::new();
    for seed in 0..N {
        engines.push(engine_with(Arc::new(store.clone()), seed as u64, config.clone()).await);
    }
    engines.try_into().unwrap()
}

pub fn name(name: &str) -> ResourceId {
    ResourceId::new("", name).unwrap()
}

pub fn open_with(terms: LeaseTerms) -> OpenSession {
    OpenSession { terms, principal: String::new(), client: ClientInfo::default() }
}

/// A client with its session.
#[derive(Clone)]
pub struct Client {
    pub session: Session,
    pub caller: Arc<Caller>,
    pub secret: Secret,
}

impl Client {
    pub async fn open(engine: &Engine) -> Client {
        Client::open_with(engine, LeaseTerms::default()).await
    }

    pub async fn open_with(engine: &Engine, terms: LeaseTerms) -> Client {
        let caller = Caller::new();
        let (session, secret) = engine.open_session(open_with(terms), caller.clone()).await.unwrap();
        Client { session, caller, secret }
    }

    /// Heartbeats until the session is over.
    pub fn keep_alive(&self) -> tokio::task::JoinHandle<()> {
        let session = self.session.clone();
        tokio::spawn(async move {
            while session.heartbeat(session.epoch()).is_ok() {
                tokio::time::sleep(TTL / 3).await;
            }
        })
    }

    pub async fn call(&self, request: Request) -> Result<Reply, RequestError> {
        self.caller.call(&self.session, request).await
    }

    pub async fn lock(&self, lock: u64, resource: &str, mode: Mode) -> Result<Grant, RequestError> {
        self.lock_with(lock, resource, mode, Patience::Forever).await
    }

    pub async fn try_lock(&self, lock: u64, resource: &str, mode: Mode) -> Result<Grant, RequestError> {
        self.lock_with(lock, resource, mode, Patience::Try).await
    }

    pub async fn lock_with(
        &self,
        lock: u64,
        resource: &str,
        mode: Mode,
        patience: Patience,
    ) -> Result<Grant, RequestError> {
        let (reentrant, report_position) = (false, true);
        let resource = name(resource);
        let request =
            Request::Acquire { lock: LockId(lock), resource, mode, patience, reentrant, report_position };
        granted(self.call(request).await)
    }

    /// Asks without waiting for the grant.
    pub fn start(
        &self,
        lock: u64,
        resource: &str,
        mode: Mode,
    ) -> tokio::task::JoinHandle<Result<Grant, RequestError>> {
        let (client, resource) = (self.clone(), resource.to_owned());
        tokio::spawn(async move { client.lock(lock, &resource, mode).await })
    }

    pub async fn convert(&self, lock: u64, mode: Mode, patience: Patience) -> Result<Grant, RequestError> {
        let request = Request::Convert { lock: lock_ref(lock), mode, patience, value: ValueUpdate::Keep };
        granted(self.call(request).await)
    }

    pub async fn release(&self, lock: u64) -> Result<Reply, RequestError> {
        self.release_with(lock, ValueUpdate::Keep).await
    }

    pub async fn release_with(&self, lock: u64, value: ValueUpdate) -> Result<Reply, RequestError> {
        self.call(Request::Release { lock: lock_ref(lock), value }).await
    }

    pub async fn query(&self, lock: u64) -> Result<Reply, RequestError> {
        self.call(Request::Query { lock: lock_ref(lock) }).await
    }

    /// The next event that is not about a place in a queue.
    pub async fn next(&self) -> Event {
        loop {
            match self.caller.next().await {
                Event::Queued { .. } => {}
                event => return event,
            }
        }
    }
}

/// The news that lock 1, on this resource, blocks somebody.
pub fn blocking(resource: &str, wanted: Mode) -> Event {
    Event::Blocking { lock: LockId(1), wanted, resource: name(resource) }
}

pub fn lock_ref(lock: u64) -> LockRef {
    LockRef { lock: LockId(lock), resource: None }
}

fn granted(reply: Result<Reply, RequestError>) -> Result<Grant, RequestError> {
    match reply? {
        Reply::Granted(grant) => Ok(grant),
        other => panic!("not a grant: {other:?}"),
    }
}

/// Lets all that can happen now happen.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
