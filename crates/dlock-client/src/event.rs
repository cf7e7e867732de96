//! What happens to a session.

use crate::{Endpoint, LossReason};
use dlock_core::SessionId;

/// What happens to the session of a [`Client`](crate::Client).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A session was opened.
    Connected {
        /// The session.
        session: SessionId,
        /// Where.
        endpoint: Endpoint,
    },
    /// The connection broke. Locks are held meanwhile; a server is being looked for. (One that fell silent, or is going
    /// away, is left without a gap: [`SessionEvent::Reattached`] is all there is to see.)
    Disconnected {
        /// The session.
        session: SessionId,
    },
    /// The session is attached again, to the same server or to another one, or confirmed again after jeopardy; it and
    /// its locks live.
    Reattached {
        /// The session.
        session: SessionId,
        /// Where.
        endpoint: Endpoint,
    },
    /// The lease's deadline passed without an acknowledgement. All guards are lost with [`LossReason::Jeopardy`].
    Jeopardy {
        /// The session.
        session: SessionId,
    },
    /// The session is over, and all its locks with it.
    Lost {
        /// The session.
        session: SessionId,
        /// Why.
        reason: LossReason,
    },
}
