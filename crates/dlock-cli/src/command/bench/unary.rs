//! Ways to lock: unary calls, as clients without the SDK make them.

use super::locker::{Failure, Locker};
use dlock_core::Mode;
use dlock_proto::v1::lock_service_client::LockServiceClient;
use dlock_proto::v1::*;
use dlock_proto::{duration_to_proto, mode_to_proto};
use dlock_runtime::{BootClock, Clock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};

type Calls = LockServiceClient<Channel>;

/// A session that was opened by a call, and is kept alive by calls.
#[derive(Clone)]
pub(super) struct Unary(Arc<Session>);

struct Session {
    calls: Calls,
    session: SessionRef,
    namespace: String,
    next_lock: AtomicU64,
    heartbeats: JoinHandle<()>,
}

/// A lock that is held.
pub(super) struct Held {
    lock_id: u64,
    resource: Resource,
}

impl Unary {
    /// Opens a session over a connection. Must be called on the runtime that is to keep it alive.
    pub(super) async fn open(channel: Channel, namespace: &str, ttl: Duration) -> Result<Unary, Failure> {
        let mut calls = LockServiceClient::new(channel);
        let client =
            ClientInfo { name: "dlockctl".to_owned(), pid: std::process::id(), ..ClientInfo::default() };
        let session =
            OpenSession { ttl: Some(duration_to_proto(ttl)), client: Some(client), ..OpenSession::default() };
        let opened = call(calls.open_session(OpenSessionRequest { session: Some(session) }).await)?.session;
        let opened = opened.ok_or(Failure::Answer("no session"))?;
        let epoch = opened.terms.ok_or(Failure::Answer("no terms"))?.epoch;
        let session = SessionRef { session_id: opened.session_id, resume_secret: opened.resume_secret };
        let heartbeats = tokio::spawn(keep_alive(calls.clone(), session.clone(), epoch, ttl));
        let namespace = namespace.to_owned();
        Ok(Unary(Arc::new(Session { calls, session, namespace, next_lock: AtomicU64::new(1), heartbeats })))
    }

    fn session(&self) -> Option<SessionRef> {
        Some(self.0.session.clone())
    }
}

async fn keep_alive(mut calls: Calls, session: SessionRef, epoch: u64, ttl: Duration) {
    loop {
        BootClock.sleep(ttl / 3).await;
        let request = KeepSessionAliveRequest { session: Some(session.clone()), epoch };
        // When it fails, so will the calls of those who use the session, who say so.
        drop(calls.keep_session_alive(request).await);
    }
}

fn call<T>(result: Result<tonic::Response<T>, Status>) -> Result<T, Failure> {
    Ok(result.map_err(Box::new)?.into_inner())
}

impl Locker for Unary {
    type Held = Held;

    async fn acquire(&self, name: &str, mode: Mode, try_only: bool) -> Result<Option<Held>, Failure> {
        let lock_id = self.0.next_lock.fetch_add(1, Ordering::Relaxed);
        let resource = Resource { namespace: self.0.namespace.clone(), name: name.to_owned() };
        let limit = try_only.then_some(patience::Limit::TryOnly(true));
        let acquire = AcquireLock {
            lock_id,
            resource: Some(resource.clone()),
            mode: mode_to_proto(mode) as i32,
            patience: limit.map(|limit| Patience { limit: Some(limit) }),
            ..AcquireLock::default()
        };
        let request = AcquireRequest { session: self.session(), acquire: Some(acquire), keep_waiting: false };
        match self.0.calls.clone().acquire(request).await {
            Ok(_) => Ok(Some(Held { lock_id, resource })),
            Err(status) if try_only && status.code() == Code::Aborted => Ok(None),
            Err(status) => Err(Box::new(status).into()),
        }
    }

    async fn convert(&self, held: &mut Held, mode: Mode) -> Result<(), Failure> {
        let convert = ConvertLock {
            lock_id: held.lock_id,
            resource: Some(held.resource.clone()),
            mode: mode_to_proto(mode) as i32,
            ..ConvertLock::default()
        };
        let request = ConvertRequest { session: self.session(), convert: Some(convert) };
        call(self.0.calls.clone().convert(request).await).map(drop)
    }

    async fn release(&self, Held { lock_id, resource }: Held) -> Result<(), Failure> {
        let release = ReleaseLock { lock_id, resource: Some(resource), value: None };
        let request = ReleaseRequest { session: self.session(), release: Some(release) };
        call(self.0.calls.clone().release(request).await).map(drop)
    }

    async fn close(self) -> Result<(), Failure> {
        self.0.heartbeats.abort();
        let request = CloseSessionRequest { session: self.session() };
        call(self.0.calls.clone().close_session(request).await).map(drop)
    }
}
