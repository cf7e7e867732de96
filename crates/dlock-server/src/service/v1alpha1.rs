//! The first dlock's service (v1alpha1): a lock (EX, default namespace) for as long as the call's stream is open. When
//! the call ends, by whatever way, its session is closed.

use super::held::{Held, held};
use super::own_session::OwnSession;
use super::{Answer, AnswerStream};
use crate::convert;
use crate::fault::Fault;
use dlock_core::resource::Refusal;
use dlock_core::session::ClientInfo;
use dlock_engine::{Engine, RequestError};
use dlock_proto::v1alpha1::dlock_server::Dlock;
use dlock_proto::v1alpha1::{LockEvent, LockRequest, LockResponse};
use dlock_runtime::Clock;
use futures::StreamExt;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(crate) struct FirstDlock {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl Dlock for FirstDlock {
    type LockStream = AnswerStream<LockResponse>;

    async fn lock(&self, request: Request<LockRequest>) -> Answer<Self::LockStream> {
        let acquire = convert::first_lock(request.into_inner())?;
        let client = ClientInfo::new("v1alpha1", "", 0, "").unwrap_or_default();
        let own = OwnSession::open(&self.engine, self.clock.clone(), client).await?;
        let told = held(own, acquire).filter_map(|told| std::future::ready(tell(told)));
        Ok(Response::new(told.boxed()))
    }
}

/// That protocol knows two events, and tells of a loss by the call's end.
fn tell(told: Result<Held, RequestError>) -> Option<Result<LockResponse, Status>> {
    let event = |event: LockEvent| Some(Ok(LockResponse { event: event as i32 }));
    match told {
        Ok(Held::Granted(_)) => event(LockEvent::Acquired),
        Err(RequestError::Refused(Refusal::WouldBlock)) => event(LockEvent::Failed),
        Ok(Held::Queued(_) | Held::Blocking(_)) => None,
        Ok(Held::Lost(_)) => {
            let message = "the lock is lost: its session has ended, or an administrator took it";
            Some(Err(Status::cancelled(message)))
        }
        Err(error) => Some(Err(Fault::from(error).into())),
    }
}
