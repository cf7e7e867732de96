//! Why the engine says no.

use dlock_core::coordinator::Failure;
use dlock_core::record::RecordError;
use dlock_core::resource::Refusal;
use dlock_core::session::{AttachError, EndReason};

/// Why a session can't be opened, attached, kept alive or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No such session is known: it never was, or it ended a while ago.
    #[error("there is no such session: it was never opened, or has ended")]
    NotFound,
    /// It has ended, for ever.
    #[error("the session has ended ({0}): open a new one")]
    Ended(EndReason),
    /// The resume secret is not the session's.
    #[error("the resume secret is not this session's")]
    WrongSecret,
    /// Another server is the session's home by now, or it was attached here anew, or it was silent for so long that its end
    /// is being written, which only another attachment can prevent.
    #[error("the session has moved, or was silent for too long: attach it here, or go on where it is")]
    Moved,
    /// This server may not act: its own lease over the store has run out.
    #[error("this server has lost touch with its store and does not serve at the moment: {reason}")]
    Fenced {
        /// What is known.
        reason: String,
    },
    /// The store can't say or do what is needed.
    #[error("the store does not answer: {reason}")]
    StoreUnavailable {
        /// What was seen.
        reason: String,
    },
    /// This server is shutting down.
    #[error("this server is shutting down: use another one")]
    Draining,
    /// As many sessions are at home here as may.
    #[error("{limit} sessions are at home here, which is the limit")]
    TooManySessions {
        /// The limit.
        limit: usize,
    },
}

impl From<AttachError> for SessionError {
    fn from(error: AttachError) -> SessionError {
        match error {
            AttachError::Ended(ended) => SessionError::Ended(ended.reason),
            AttachError::Superseded { .. } => SessionError::Moved,
        }
    }
}

impl From<RecordError> for SessionError {
    fn from(error: RecordError) -> SessionError {
        SessionError::StoreUnavailable { reason: error.to_string() }
    }
}

/// Why a request changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The resource's rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The wait's time was up. A conversion keeps its held mode.
    #[error("the lock was not granted in time")]
    WaitTimeout,
    /// The session has ended, moved, or can't be served.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The store can't say or do what is needed. The request may be sent again with the same lock id: it has one
    /// effect, whatever became of the first.
    #[error("the store does not answer: {reason}")]
    StoreUnavailable {
        /// What was seen.
        reason: String,
    },
    /// The session has as many requests in flight as may.
    #[error("the session has {limit} requests in flight, which is the limit: wait for answers")]
    TooManyRequests {
        /// The limit.
        limit: usize,
    },
    /// The session has as many locks as may.
    #[error("the session holds or waits for {limit} locks, which is the limit")]
    TooManyLocks {
        /// The limit.
        limit: usize,
    },
    /// The lock id is in use for another resource of this session.
    #[error("the lock id is in use for {resource:?}: take a new id for each acquire")]
    LockIdInUse {
        /// The other resource.
        resource: String,
    },
    /// The stored record can't be read.
    #[error("the resource's record can't be read: {reason}")]
    Record {
        /// What is wrong with it.
        reason: String,
    },
    /// The lock was taken away while the request was under way.
    #[error("the lock was revoked by an administrator")]
    Revoked,
}

impl From<Failure> for RequestError {
    fn from(failure: Failure) -> RequestError {
        match failure {
            Failure::Unavailable { reason } => RequestError::StoreUnavailable { reason },
            Failure::Unreadable { reason } => RequestError::Record { reason },
            Failure::SessionRefused => SessionError::Moved.into(),
        }
    }
}
