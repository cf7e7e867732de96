//! The gRPC services. Handlers parse, call the engine and convert; each says what a disconnect does.

mod admin;
mod health;
mod held;
mod hold;
mod outbox;
mod own_session;
mod query;
mod session;
mod unary;
mod v1alpha1;

pub(crate) use admin::AdminApi;
pub(crate) use health::HealthApi;
pub(crate) use outbox::UNREAD_FRAMES_MAX;
pub(crate) use query::QueryApi;
pub(crate) use v1alpha1::FirstDlock;

use dlock_core::SessionId;
use dlock_engine::{Caller, Engine, SessionError};
use dlock_proto::v1::lock_service_server::LockService;
use dlock_proto::v1::*;
use dlock_runtime::Clock;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
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

/// Runs an operation on a session to its end, even if its call is cancelled: stopped half-way, it could leave a session
/// in the store that nobody keeps, so that it would never expire.
async fn to_the_end<T: Send + 'static>(
    operation: impl Future<Output = Result<T, SessionError>> + Send + 'static,
) -> Result<T, SessionError> {
    let done = tokio::spawn(operation).await;
    done.unwrap_or_else(|error| Err(SessionError::StoreUnavailable { reason: error.to_string() }))
}

#[cfg(test)]
mod tests;
