//! What a session says and hears on its stream, as plain data. The wire's own encoding is in `driver/wire.rs`.

use crate::{Error, LossReason};
use bytes::Bytes;
use dlock_core::resource::ValueUpdate;
use dlock_core::{Epoch, LockId, Mode, ResourceId, SessionId, Token, ValueRead};
use std::time::Duration;

/// Identifies a request within its session and orders it: later requests have greater ones, on every link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RequestId(pub(crate) u64);

/// Proves to another server that the session is ours.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Bytes);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What the client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// First on a link: a new session.
    Open {
        /// Time to live.
        ttl: Duration,
        /// How much longer its locks stay locked.
        lock_delay: Duration,
    },
    /// First on a link: the session goes on here.
    Attach {
        /// The session.
        session: SessionId,
        /// Its secret.
        secret: Secret,
        /// What it believes to hold and to wait for.
        claims: Vec<Claim>,
    },
    /// The client lives.
    Heartbeat {
        /// The attachment that it believes in.
        epoch: Epoch,
        /// Comes back with the acknowledgement.
        nonce: u64,
    },
    /// Requests, in the order in which they are to be taken.
    Requests(Vec<(RequestId, Request)>),
    /// How many frames of this link have been taken in so far: the server may send that many more.
    Received(u64),
    /// The session is over.
    Close,
}

/// A lock that the client believes to hold or to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) lock: LockId,
    pub(crate) resource: ResourceId,
    /// Its token, where it is held.
    pub(crate) token: Option<Token>,
    /// The request that waits for it, where one does.
    pub(crate) waiting: Option<RequestId>,
}

/// How long a request may wait when it can't be granted at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    Try,
    /// As long as the session lives.
    Forever,
    /// This long, from its arrival.
    For(Duration),
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Acquire {
        lock: LockId,
        resource: ResourceId,
        mode: Mode,
        patience: Patience,
        reentrant: bool,
        report_position: bool,
    },
    Convert {
        lock: LockId,
        resource: ResourceId,
        mode: Mode,
        patience: Patience,
        value: ValueUpdate,
    },
    Release {
        lock: LockId,
        resource: ResourceId,
        value: ValueUpdate,
    },
    Cancel {
        lock: LockId,
        resource: ResourceId,
        release_if_granted: bool,
    },
}

/// What the server sends.
#[derive(Clone, Debug)]
pub(crate) enum Incoming {
    /// The answer to an open.
    Opened { session: SessionId, secret: Secret, terms: Terms },
    /// The answer to an attach.
    Attached {
        terms: Terms,
        /// The locks of the claims that are not recorded.
        absent: Vec<LockId>,
    },
    /// The answer to a heartbeat.
    HeartbeatAck { epoch: Epoch, nonce: u64 },
    /// A request waits, or its place has changed.
    Queued { request: RequestId, ahead: u32 },
    /// A request is granted.
    Granted { request: RequestId, grant: Grant },
    /// A lock is released.
    Released { request: RequestId },
    /// A request stopped waiting.
    Cancelled { request: RequestId },
    /// A request changed nothing.
    Failed { request: RequestId, error: Error },
    /// A held lock blocks somebody.
    Blocking { lock: LockId, wanted: Mode },
    /// A lock was taken away.
    Revoked { lock: LockId },
    /// The session is over.
    Ended { reason: LossReason },
    /// The session is at home elsewhere.
    Detached,
    /// The server is going away.
    Draining,
}

/// What a server grants a session at an open or attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) epoch: Epoch,
    pub(crate) ttl: Duration,
    pub(crate) lock_delay: Duration,
    /// How many requests may be without a final answer.
    pub(crate) requests_in_flight_max: usize,
    /// How other servers of the service are reached.
    pub(crate) peers: Vec<crate::Endpoint>,
}

/// A lock as it was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) mode: Mode,
    pub(crate) token: Token,
    pub(crate) holds: u32,
    pub(crate) value: Option<ValueRead>,
}
