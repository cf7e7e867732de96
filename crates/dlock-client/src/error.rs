//! What can go wrong, as values a caller can match on.

use crate::endpoint::Endpoint;
use dlock_core::{Mode, NameError};
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

/// Why an operation failed.
///
/// Clones share their source: one failure may be told to many callers.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A *try* that could not be granted at once.
    #[error("the lock can't be granted at once")]
    WouldBlock,
    /// The lock was not granted in the time given. A conversion keeps its held mode.
    #[error("the lock was not granted in time")]
    WaitTimeout,
    /// The conversion would wait for one that waits for it. The held mode is intact.
    #[error(
        "deadlock: another holder's conversion already waits for this lock to go down: release it, or go down, and start again"
    )]
    Deadlock,
    /// As many requests wait for the resource as may.
    #[error("as many requests wait for this resource as may: {message}")]
    QueueFull {
        /// The service's words, with the limit.
        message: String,
    },
    /// A limit of the session or of the server was reached.
    #[error("a limit was reached: {message}")]
    LimitReached {
        /// The service's words, with the limit.
        message: String,
        /// When the service suggests to try again.
        retry_after: Option<Duration>,
    },
    /// What was named does not exist (any more).
    #[error("not found: {message}")]
    NotFound {
        /// The service's words.
        message: String,
    },
    /// A re-entrant acquire asked for more than the session holds: convert the guard instead.
    #[error("the session holds this resource in mode {}, which does not cover the request: convert its guard", .held.map_or("another", Mode::abbreviation))]
    NotCovered {
        /// The mode held, where the service said it.
        held: Option<Mode>,
    },
    /// The lock is not in the state that the operation needs: its token has changed, or an operation is under way.
    #[error("the lock's state does not allow this: {message}")]
    Conflict {
        /// The service's words.
        message: String,
    },
    /// The session ended, and with it every lock it held. The next lock opens a new session.
    #[error("the session is lost: {reason}")]
    SessionLost {
        /// Why.
        reason: LossReason,
    },
    /// The lock was lost while the operation was under way, or before it.
    #[error("the lock is lost: {reason}")]
    LockLost {
        /// Why.
        reason: LossReason,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// No endpoint could be reached.
    #[error("no server can be reached at {}: {source}", list(.endpoints))]
    Unreachable {
        /// All that were tried.
        endpoints: Vec<Endpoint>,
        /// How the last attempt failed.
        source: Source,
    },
    /// The service can't serve this at the moment (its store does not answer, it is shutting down). What was asked may
    /// or may not have had its effect.
    #[error("the service is unavailable: {message}")]
    Unavailable {
        /// The service's words.
        message: String,
        /// When the service suggests to try again.
        retry_after: Option<Duration>,
    },
    /// The thread that drives clients can't be started.
    #[error("the client's thread can't be started: {source}")]
    NoThread {
        /// What the operating system says.
        source: Source,
    },
    /// No answer came within the client's request timeout.
    #[error("no answer within {:?}", .timeout)]
    Timeout {
        /// The timeout.
        timeout: Duration,
    },
    /// An argument is not valid; nothing was done.
    #[error("{field}: {message}")]
    InvalidArgument {
        /// Which argument.
        field: String,
        /// What is wrong with it, and what would be right.
        message: String,
    },
    /// The client is not known, or may not do this.
    #[error("permission denied: {message}")]
    PermissionDenied {
        /// The service's words.
        message: String,
    },
    /// The service does not know this operation: it is older than this client, or switched off.
    #[error("the service does not support this: {message}")]
    Unsupported {
        /// The service's words.
        message: String,
    },
    /// A stored record can't be read: damaged, or written by a newer release.
    #[error("a stored record can't be read: {message}")]
    Unreadable {
        /// The service's words.
        message: String,
    },
    /// The service failed, or answered what the protocol does not allow. A bug, here or there.
    #[error("protocol error: {message}")]
    Protocol {
        /// What was seen.
        message: String,
    },
}

/// An error's cause, shared by the clones of the error.
#[derive(Clone, Debug)]
pub struct Source(Arc<dyn StdError + Send + Sync>);

impl Source {
    /// Wraps a cause.
    pub(crate) fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Source {
        Source(Arc::from(cause.into()))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Source {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

fn list(endpoints: &[Endpoint]) -> String {
    endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(", ")
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Error {
        let field = if error.concerns_namespace() { "namespace" } else { "resource" };
        Error::invalid(field, error)
    }
}

impl Error {
    pub(crate) fn invalid(field: &str, problem: impl std::fmt::Display) -> Error {
        Error::InvalidArgument { field: field.to_owned(), message: problem.to_string() }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Error {
        Error::Unavailable { message: message.into(), retry_after: None }
    }

    /// Whether the same may work when it is tried again, here or elsewhere.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable { .. } | Error::Unreachable { .. } | Error::Timeout { .. })
    }

    /// When the service suggests to try again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Unavailable { retry_after, .. } | Error::LimitReached { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Error {
        Error::Protocol { message: message.into() }
    }
}

/// Why a lock, or a whole session, is no longer to be counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LossReason {
    /// The lease's deadline passed without an acknowledgement: the client can't know that it still holds the lock, so
    /// it must act as if it did not. The service may still count it as held: release the guard all the same.
    #[error("the service did not confirm the lease before its deadline")]
    Jeopardy,
    /// The service let the session expire.
    #[error("the session expired")]
    Expired,
    /// An administrator took the lock away.
    #[error("the lock was taken away by an administrator")]
    Revoked,
    /// An administrator ended the session.
    #[error("the session was ended by an administrator")]
    Ended,
    /// This client ended the session.
    #[error("the client was closed")]
    Closed,
    /// The service knows no such session (any more): it ended long ago, or the store was emptied.
    #[error("the service does not know the session")]
    Unknown,
    /// After a reconnect the service knew the session, but not this lock.
    #[error("the service does not know the lock")]
    Absent,
    /// The client gave up: no server could be reached until long after the session must have expired.
    #[error("no server could be reached until the session must have expired")]
    Unreachable,
}

/// Why a release is not known to have worked. Whichever it is, the guard is gone.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The lock had been lost before: somebody else may have held it while this guard was in use.
    #[error("the lock was lost before its release: {0}")]
    Lost(LossReason),
    /// No acknowledgement came within the request timeout. The release is repeated in the background until it is
    /// acknowledged or the session is over, and the session's end releases it anyway.
    #[error("the release is not confirmed after {:?}; it goes on in the background", .timeout)]
    Unconfirmed {
        /// The timeout.
        timeout: Duration,
    },
    /// The value block was not written, since the lock was not held in PW or EX. The lock is released.
    #[error(
        "released, but the value block was not written: only a PW or EX holder may, and the mode was {held}"
    )]
    ValueNotWritten {
        /// The mode that was held.
        held: Mode,
    },
    /// The service refused.
    #[error(transparent)]
    Refused(Error),
}

impl From<ReleaseError> for Error {
    fn from(error: ReleaseError) -> Error {
        match error {
            ReleaseError::Lost(reason) => Error::LockLost { reason },
            ReleaseError::Unconfirmed { timeout } => Error::Timeout { timeout },
            ReleaseError::ValueNotWritten { .. } => Error::invalid("value", error),
            ReleaseError::Refused(error) => error,
        }
    }
}
