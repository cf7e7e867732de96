//! The first dlock's service (v1alpha1): a lock (EX, default namespace) for as long as the call's stream is open.

use super::{Answer, AnswerStream, OwnSession};
use crate::convert;
use crate::fault::Fault;
use dlock_core::resource::Refusal;
use dlock_core::session::ClientInfo;
use dlock_core::{LockId, Mode};
use dlock_engine::{Engine, Event, Patience, Reply, Request as Ask, RequestError};
use dlock_proto::v1::Resource;
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
        let LockRequest { key, try_lock } = request.into_inner();
        let named = Resource { namespace: String::new(), name: key };
        let resource = convert::resource(Some(named), "").map_err(|_| bad_key())?;
        let client = ClientInfo::new("v1alpha1", "", 0, "").unwrap_or_default();
        let own = OwnSession::open(&self.engine, self.clock.clone(), client).await?;
        let ask = Ask::Acquire {
            lock: LockId(1),
            resource,
            mode: Mode::Exclusive,
            patience: if try_lock { Patience::Try } else { Patience::Forever },
            reentrant: false,
            report_position: false,
        };
        let held = futures::stream::once(async move {
            match own.caller.call(&own.session, ask).await {
                Ok(Reply::Granted(_)) => Ok(Some(own)),
                Err(RequestError::Refused(Refusal::WouldBlock)) => Ok(None),
                Ok(_) => Err(Status::from(Fault::from(RequestError::Revoked))),
                Err(error) => Err(Fault::from(error).into()),
            }
        });
        Ok(Response::new(held.flat_map(tell).boxed()))
    }
}

fn bad_key() -> Fault {
    Fault::field("key", "must have 1 to 1,024 bytes, and no control characters")
}

/// One event, and for a held lock the silence until it is lost.
fn tell(held: Result<Option<OwnSession>, Status>) -> AnswerStream<LockResponse> {
    let event = |event: LockEvent| Ok(LockResponse { event: event as i32 });
    match held {
        Err(status) => futures::stream::iter([Err(status)]).boxed(),
        Ok(None) => futures::stream::iter([event(LockEvent::Failed)]).boxed(),
        Ok(Some(own)) => {
            let lost = futures::stream::once(async move {
                loop {
                    match own.caller.next().await {
                        Event::Revoked { .. } | Event::Ended { .. } | Event::Detached => {
                            return Err(Status::cancelled(
                                "the lock is lost: its session has ended, or it was revoked",
                            ));
                        }
                        _ => {}
                    }
                }
            });
            futures::stream::iter([event(LockEvent::Acquired)]).chain(lost).boxed()
        }
    }
}
