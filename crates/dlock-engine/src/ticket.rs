//! Whom to answer: what a command carries through its resource's coordinator and back.

use crate::error::RequestError;
use crate::home::Home;
use crate::request::RequestId;
use dlock_core::LockId;
use dlock_core::Timestamp;
use dlock_core::coordinator::Failure;
use dlock_core::resource::{Command, Outcome};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// What a session's request was, as far as its answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ask for a lock, or for another mode. Waits until the deadline, if it has to and there is one.
    Ask { deadline: Option<Timestamp>, report_position: bool, converts: bool },
    /// Let a lock go.
    Release,
    /// Stop waiting, or withdraw the lock altogether.
    Cancel,
    /// Look.
    Query,
}

/// A session's request.
pub(crate) struct RequestTicket {
    pub(crate) home: Arc<Home>,
    pub(crate) request: RequestId,
    pub(crate) lock: LockId,
    pub(crate) kind: Kind,
    /// A *try* that has not been checked yet against sessions that may have ended unnoticed: to be sent again.
    pub(crate) unverified: Option<Box<Command>>,
}

/// Whom to answer.
pub(crate) enum Ticket {
    /// A session.
    Request(RequestTicket),
    /// The engine itself: a wait's time is up.
    Timeout { home: Arc<Home>, request: RequestId, lock: LockId },
    /// The engine itself: sessions have ended.
    Purge,
    /// Somebody who waits for the answer here.
    Call(oneshot::Sender<Result<Outcome, Failure>>),
}

/// What somebody who waits here will be answered.
pub(crate) struct Answer(oneshot::Receiver<Result<Outcome, Failure>>);

impl Ticket {
    /// For somebody who waits here.
    pub(crate) fn call() -> (Ticket, Answer) {
        let (reply, answer) = oneshot::channel();
        (Ticket::Call(reply), Answer(answer))
    }
}

impl Future for Answer {
    type Output = Result<Outcome, RequestError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answered| match answered {
            Ok(answer) => answer.map_err(RequestError::from),
            Err(_) => Err(RequestError::StoreUnavailable { reason: "the engine has stopped".to_owned() }),
        })
    }
}
