//! The gRPC services. Handlers parse, call the engine and convert; each says what a disconnect does.

mod admin;
mod health;
mod hold;
mod outbox;
mod query;
mod session;
mod unary;
mod v1alpha1;

pub(crate) use admin::AdminApi;
pub(crate) use health::HealthApi;
pub(crate) use outbox::UNREAD_FRAMES_MAX;
pub(crate) use query::QueryApi;
pub(crate) use v1alpha1::FirstDlock;

use crate::fault::Fault;
use dlock_core::SessionId;
use dlock_core::lease::LeaseTerms;
use dlock_core::session::ClientInfo;
use dlock_engine::{Caller, Engine, OpenSession, Secret, Session};
use dlock_proto::v1::lock_service_server::LockService;
use dlock_proto::v1::*;
use dlock_runtime::Clock;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;
type AnswerStream<T> = BoxStream<'static, Result<T, Status>>;

/// `dlock.v1.LockService`.
#[derive(Clone)]
pub(crate) struct LockApi {
    engine: Engine,
    clock: Arc<dyn Clock>,
    /// Sessions opened by unary calls and at home here, with those who take their events.
    callers: Arc<Mutex<HashMap<SessionId, Arc<Caller>>>>,
}

impl LockApi {
    pub(crate) fn new(engine: Engine, clock: Arc<dyn Clock>) -> LockApi {
        LockApi { engine, clock, callers: Arc::default() }
    }

    /// The addresses of all servers, as far as they have one.
    async fn endpoints(&self) -> Vec<String> {
        let members = self.engine.members().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "a client is not told of the other servers");
            Vec::new()
        });
        members
            .into_iter()
            .filter(|member| !member.dead)
            .map(|member| member.address)
            .filter(|a| !a.is_empty())
            .collect()
    }
}

#[tonic::async_trait]
impl LockService for LockApi {
    type SessionStream = AnswerStream<SessionResponse>;
    type HoldStream = AnswerStream<HoldResponse>;

    async fn session(&self, request: Request<Streaming<SessionRequest>>) -> Answer<Self::SessionStream> {
        Ok(Response::new(self.serve_session(request.into_inner())))
    }

    async fn hold(&self, request: Request<HoldRequest>) -> Answer<Self::HoldStream> {
        Ok(Response::new(self.serve_hold(request.into_inner()).await?))
    }

    async fn open_session(&self, request: Request<OpenSessionRequest>) -> Answer<OpenSessionResponse> {
        Ok(Response::new(self.serve_open(request.into_inner()).await?))
    }

    async fn resume_session(&self, request: Request<ResumeSessionRequest>) -> Answer<ResumeSessionResponse> {
        Ok(Response::new(self.serve_resume(request.into_inner()).await?))
    }

    async fn keep_session_alive(
        &self,
        request: Request<KeepSessionAliveRequest>,
    ) -> Answer<KeepSessionAliveResponse> {
        Ok(Response::new(self.serve_keep_alive(request.into_inner())?))
    }

    async fn close_session(&self, request: Request<CloseSessionRequest>) -> Answer<CloseSessionResponse> {
        Ok(Response::new(self.serve_close(request.into_inner()).await?))
    }

    async fn acquire(&self, request: Request<AcquireRequest>) -> Answer<AcquireResponse> {
        Ok(Response::new(self.serve_acquire(request.into_inner()).await?))
    }

    async fn convert(&self, request: Request<ConvertRequest>) -> Answer<ConvertResponse> {
        Ok(Response::new(self.serve_convert(request.into_inner()).await?))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Answer<ReleaseResponse> {
        Ok(Response::new(self.serve_release(request.into_inner()).await?))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Answer<CancelResponse> {
        Ok(Response::new(self.serve_cancel(request.into_inner()).await?))
    }

    async fn check_token(&self, request: Request<CheckTokenRequest>) -> Answer<CheckTokenResponse> {
        Ok(Response::new(self.serve_check_token(request.into_inner()).await?))
    }
}

/// A session that the server itself keeps alive, for as long as this exists: that of a call which holds a lock.
struct OwnSession {
    session: Session,
    caller: Arc<Caller>,
    _heartbeats: AbortOnDropHandle<()>,
}

impl OwnSession {
    async fn open(engine: &Engine, clock: Arc<dyn Clock>, client: ClientInfo) -> Result<OwnSession, Fault> {
        let terms = LeaseTerms::default();
        let caller = Caller::new();
        let open = OpenSession { terms, principal: String::new(), client };
        let (session, Secret(_)) = engine.open_session(open, caller.clone()).await?;
        let beating = session.clone();
        let heartbeats = tokio::spawn(async move {
            // A server that is fenced may not acknowledge, and may again later; an ended session has its own event.
            loop {
                clock.sleep(terms.ttl() / 3).await;
                if let Err(error) = beating.heartbeat(beating.epoch()) {
                    tracing::debug!(session = %beating.id(), %error, "a call's session is not kept alive");
                }
            }
        });
        Ok(OwnSession { session, caller, _heartbeats: AbortOnDropHandle::new(heartbeats) })
    }
}

impl Drop for OwnSession {
    /// The call is over, by whatever way: so are its session and its lock.
    fn drop(&mut self) {
        let session = self.session.clone();
        tokio::spawn(async move {
            if let Err(error) = session.close().await {
                tracing::debug!(session = %session.id(), %error, "a call's session was not closed");
            }
        });
    }
}
