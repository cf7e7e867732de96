//! A lock that lives as long as its call. When the call ends, by whatever way, its session is closed.

use super::{AnswerStream, LockApi, OwnSession};
use crate::convert;
use crate::fault::Fault;
use dlock_core::session::EndReason;
use dlock_engine::{Event, Reply, Request, RequestError};
use dlock_proto::v1::{self, HoldResponse, hold_response::Event as Told};
use futures::StreamExt;
use futures::future::BoxFuture;
use tonic::Status;

/// What the call is about to do.
enum Stage {
    /// The request is under way.
    Asking(
        BoxFuture<'static, (OwnSession, Result<Reply, RequestError>)>,
        std::sync::Arc<dlock_engine::Caller>,
    ),
    /// The lock is held.
    Holding(OwnSession),
    /// Nothing more.
    Over,
}

impl LockApi {
    pub(super) async fn serve_hold(
        &self,
        request: v1::HoldRequest,
    ) -> Result<AnswerStream<HoldResponse>, Fault> {
        let (request, client) = convert::hold(request)?;
        let own = OwnSession::open(&self.engine, self.clock.clone(), client).await?;
        let caller = own.caller.clone();
        let stage = Stage::Asking(Box::pin(ask(own, request)), caller);
        Ok(futures::stream::unfold(stage, step).boxed())
    }
}

async fn ask(own: OwnSession, request: Request) -> (OwnSession, Result<Reply, RequestError>) {
    let answer = own.caller.call(&own.session, request).await;
    (own, answer)
}

type Step = Option<(Result<HoldResponse, Status>, Stage)>;

fn say(told: Told, next: Stage) -> Step {
    Some((Ok(HoldResponse { event: Some(told) }), next))
}

async fn step(stage: Stage) -> Step {
    match stage {
        Stage::Asking(mut asking, caller) => loop {
            tokio::select! {
                biased;
                // First, or a place in the queue could be told after the grant.
                event = caller.next() => match event {
                    Event::Queued { place, .. } => {
                        return say(Told::Queued(convert::queued(place)), Stage::Asking(asking, caller));
                    }
                    Event::Ended { .. } | Event::Detached => {
                        let (_, answer) = asking.await;
                        return refused(answer);
                    }
                    _ => {}
                },
                (own, answer) = &mut asking => return match answer {
                    Ok(Reply::Granted(grant)) => {
                        say(Told::Granted(convert::granted(grant)), Stage::Holding(own))
                    }
                    other => refused(other),
                },
            }
        },
        Stage::Holding(own) => loop {
            match own.caller.next().await {
                Event::Blocking { lock, wanted } => {
                    return say(Told::Blocking(convert::blocking(lock, wanted)), Stage::Holding(own));
                }
                Event::Revoked { .. } => return lost(v1::LossReason::Revoked),
                Event::Ended { reason: EndReason::Expired } => return lost(v1::LossReason::Expired),
                Event::Ended { .. } | Event::Detached => return lost(v1::LossReason::Revoked),
                _ => {}
            }
        },
        Stage::Over => None,
    }
}

fn lost(reason: v1::LossReason) -> Step {
    say(Told::Lost(v1::LockLost { lock_id: 1, reason: reason as i32 }), Stage::Over)
}

fn refused(answer: Result<Reply, RequestError>) -> Step {
    let fault = match answer {
        Err(error) => Fault::from(error),
        Ok(_) => Fault::from(RequestError::Revoked),
    };
    Some((Err(fault.into()), Stage::Over))
}
