//! What a session asks of the engine, and what it is told.

use crate::error::RequestError;
use dlock_core::resource::{Grant, Queued, ValueUpdate};
use dlock_core::session::EndReason;
use dlock_core::{LockId, Mode, ResourceId};
use std::time::Duration;

/// How long a request that can't be granted at once may wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: refuse it with [`Refusal::WouldBlock`](dlock_core::resource::Refusal::WouldBlock).
    Try,
    /// As long as the session lives.
    #[default]
    Forever,
    /// This long, from the moment the engine receives the request; then it fails with
    /// [`RequestError::WaitTimeout`], and a conversion keeps its held mode. Zero is the same as one refused *try*
    /// that has looked at the queue.
    For(Duration),
}

/// Names a lock of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRef {
    /// Its id.
    pub lock: LockId,
    /// The resource, for a lock that this server has not heard of (acquired through another one). Without it, only
    /// locks acquired or claimed here are found.
    pub resource: Option<ResourceId>,
}

/// One request of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Ask for a new lock.
    Acquire {
        /// The new lock's id: never used before in this session, or, in a retry, the same as the first time.
        lock: LockId,
        /// What to lock.
        resource: ResourceId,
        /// How.
        mode: Mode,
        /// How long to wait.
        patience: Patience,
        /// Return the lock that the session already holds here, where it covers the mode.
        reentrant: bool,
        /// Send [`Event::Queued`] again, at most once a second, when the place in the queue has changed.
        report_position: bool,
    },
    /// Ask for another mode of a held lock.
    Convert {
        /// The lock.
        lock: LockRef,
        /// The mode wanted.
        mode: Mode,
        /// How long to wait.
        patience: Patience,
        /// What to do with the value block.
        value: ValueUpdate,
    },
    /// Let a lock go, or withdraw a waiting one.
    Release {
        /// The lock.
        lock: LockRef,
        /// What to do with the value block.
        value: ValueUpdate,
    },
    /// Stop waiting. A lock that is granted meanwhile stays, unless it is to be released then.
    Cancel {
        /// The lock.
        lock: LockRef,
        /// Release it where it has been granted in the meantime (nobody is there to take it).
        release_if_granted: bool,
    },
    /// Ask how a lock stands.
    Query {
        /// The lock.
        lock: LockRef,
    },
}

impl Request {
    /// The lock that the request is about.
    pub fn lock_id(&self) -> LockId {
        match self {
            Request::Acquire { lock, .. } => *lock,
            Request::Convert { lock, .. }
            | Request::Release { lock, .. }
            | Request::Cancel { lock, .. }
            | Request::Query { lock } => lock.lock,
        }
    }

    pub(crate) fn resource(&self) -> ResourceOf<'_> {
        match self {
            Request::Acquire { resource, .. } => ResourceOf::New(resource),
            Request::Convert { lock, .. }
            | Request::Release { lock, .. }
            | Request::Cancel { lock, .. }
            | Request::Query { lock } => ResourceOf::Known(lock.resource.as_ref()),
        }
    }
}

/// What a request says of its resource.
pub(crate) enum ResourceOf<'a> {
    /// A new lock on this one.
    New(&'a ResourceId),
    /// It is that of a lock that is known, or else this one.
    Known(Option<&'a ResourceId>),
}

/// A number that the session gives a request, and finds in its answers. The engine only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What a session is told. Delivered in the order in which it became true of each lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The request waits (a conversion: its lock stays held meanwhile), or its place has changed. Not an end: Granted,
    /// Cancelled or Failed follows for the same request.
    Queued {
        /// Which request.
        request: RequestId,
        /// Its place.
        place: Queued,
    },
    /// The request is granted: at once, or after having waited.
    Granted {
        /// Which request.
        request: RequestId,
        /// The lock.
        grant: Grant,
    },
    /// The lock is released.
    Released {
        /// Which request.
        request: RequestId,
        /// Which lock.
        lock: LockId,
    },
    /// A request stopped waiting as asked: told to the cancel and to the request that it cancelled.
    Cancelled {
        /// Which request.
        request: RequestId,
        /// Which lock.
        lock: LockId,
    },
    /// The request changed nothing.
    Failed {
        /// Which request.
        request: RequestId,
        /// Which lock.
        lock: LockId,
        /// Why.
        error: RequestError,
    },
    /// A held lock blocks somebody: let go or downgrade, if you can. Once per episode; again only for a stronger mode.
    Blocking {
        /// The held lock.
        lock: LockId,
        /// The most restrictive mode that is wanted.
        wanted: Mode,
        /// What is locked.
        resource: ResourceId,
    },
    /// A held or waiting lock was taken away by an administrator.
    Revoked {
        /// Which lock.
        lock: LockId,
    },
    /// The session has ended, and with it all its locks. Nothing follows.
    Ended {
        /// Why.
        reason: EndReason,
    },
    /// The session has been attached elsewhere, or again here: this attachment is over. Nothing follows.
    Detached,
    /// This server is going away: attach to another one. Locks stay held.
    Draining,
}

/// Where a session's events go. Called with locks of the engine held: it must return at once, must not block and
/// must not call the engine.
pub trait EventSink: Send + Sync + 'static {
    /// Takes one event.
    fn deliver(&self, event: Event);
}
