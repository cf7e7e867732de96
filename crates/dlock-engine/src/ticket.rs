//! Whom to answer: what a command carries through its resource's coordinator and back.

use crate::home::Home;
use crate::request::RequestId;
use dlock_core::LockId;
use dlock_core::Timestamp;
use dlock_core::coordinator::Failure;
use dlock_core::resource::{Command, Outcome};
use std::sync::Arc;
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
