//! What a session says and hears on its stream, as plain data. The wire's own encoding is in `driver/wire.rs`.

use crate::{Endpoint, Error, LossReason};
use bytes::Bytes;
use dlock_core::name::{NAMESPACE_BYTES_MAX, RESOURCE_NAME_BYTES_MAX};
use dlock_core::resource::ValueUpdate;
use dlock_core::value::VALUE_BYTES_MAX;
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

/// What the client sends at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// How many frames of this link have been taken in so far.
    pub(crate) received: u64,
    /// In their order.
    pub(crate) messages: Vec<Outgoing>,
}

/// What the client says.
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
        /// Which attempt of this client it is: later ones have greater numbers.
        attempt: u64,
        /// Requests to come have greater ids.
        last_request: RequestId,
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
    /// A request.
    Request(RequestId, Request),
    /// The session is over.
    Close(RequestId),
}

/// A lock that the client believes to hold or to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) lock: LockId,
    pub(crate) resource: ResourceId,
    /// Its token, where it is held.
    pub(crate) token: Option<Token>,
    /// The mode on which the client counts, where it is held.
    pub(crate) mode: Option<Mode>,
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
    Query {
        lock: LockId,
        resource: ResourceId,
    },
}

impl Request {
    /// How many bytes it has when it is encoded, or somewhat more.
    pub(crate) fn bytes(&self) -> usize {
        let (resource, value) = match self {
            Request::Acquire { resource, .. }
            | Request::Cancel { resource, .. }
            | Request::Query { resource, .. } => (resource, None),
            Request::Convert { resource, value, .. } | Request::Release { resource, value, .. } => {
                (resource, Some(value))
            }
        };
        let value = match value {
            Some(ValueUpdate::Write(block)) => block.bytes().len(),
            Some(ValueUpdate::Keep | ValueUpdate::Invalidate) | None => 0,
        };
        name_bytes(resource) + value
    }
}

impl Claim {
    /// How many bytes it has when it is encoded, or somewhat more.
    pub(crate) fn bytes(&self) -> usize {
        name_bytes(&self.resource)
    }
}

/// What a request has besides names and values.
const NUMBERS_BYTES_MAX: usize = 96;
/// The longest request.
pub(crate) const REQUEST_BYTES_MAX: usize =
    NUMBERS_BYTES_MAX + NAMESPACE_BYTES_MAX + RESOURCE_NAME_BYTES_MAX + VALUE_BYTES_MAX;

/// What names a resource, and the numbers around it.
fn name_bytes(resource: &ResourceId) -> usize {
    NUMBERS_BYTES_MAX + resource.namespace().len() + resource.name().len()
}

/// What the server sends.
#[derive(Clone, Debug)]
pub(crate) enum Incoming {
    /// The answer to an open.
    Opened { session: SessionId, secret: Secret, terms: Terms },
    /// The answer to an attach.
    Attached {
        terms: Terms,
        /// How the claimed locks stand.
        claims: Vec<(LockId, ClaimState)>,
    },
    /// The server won't have the session on this link.
    Refused(LinkError),
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
    Blocking {
        lock: LockId,
        wanted: Mode,
        /// What is locked; older servers don't say it.
        resource: Option<ResourceId>,
    },
    /// A lock was taken away.
    Lost { lock: LockId, reason: LossReason },
    /// The session is over.
    Ended { reason: LossReason },
    /// The session is at home elsewhere.
    Detached,
    /// The server is going away.
    Draining {
        /// Other servers.
        peers: Vec<Endpoint>,
    },
}

/// How a claimed lock stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClaimState {
    /// It is held.
    Held(Grant),
    /// It waits, or is held and converting.
    Queued,
    /// There is no such lock.
    Absent,
    /// Its record could not be read.
    Unknown,
}

/// Why a link is gone.
#[derive(Clone, Debug)]
pub(crate) enum LinkError {
    /// It broke, or its server can't serve at the moment: what was asked last may have taken effect.
    Broken(Error),
    /// The server takes no sessions at the moment, and has done nothing: another one may.
    TurnedAway(Error),
    /// The server said that the session is over.
    SessionOver(LossReason),
    /// The server refused in a way that no other server will do otherwise.
    Refused(Error),
}

/// What a server grants a session at an open or attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) epoch: Epoch,
    pub(crate) ttl: Duration,
    pub(crate) lock_delay: Duration,
    pub(crate) limits: Limits,
    /// How the servers of the service are reached.
    pub(crate) peers: Vec<Endpoint>,
}

/// What a session must keep within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Requests without a final answer; waiting ones count.
    pub(crate) requests_in_flight_max: usize,
    /// The length of a frame.
    pub(crate) frame_bytes_max: usize,
    /// Frames that the server sends before it wants to know that they were taken in.
    pub(crate) unread_frames_max: u64,
}

/// A lock as it was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) mode: Mode,
    pub(crate) token: Token,
    pub(crate) holds: u32,
    pub(crate) value: Option<ValueRead>,
}
