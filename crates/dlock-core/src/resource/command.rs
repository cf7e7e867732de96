//! What can be asked of a resource, and what it answers: plain data.

use crate::{LockKey, Mode, SessionId, Token, ValueBlock, ValueRead};

/// What to do when a request can't be granted at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Patience {
    /// Refuse it, leaving no trace.
    Try,
    /// Queue it, first come first served.
    Wait,
}

/// What to do with the value block while converting or releasing. Only a PW or EX holder may write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ValueUpdate {
    /// Leave it as it is.
    #[default]
    Keep,
    /// Write it, and mark it valid.
    Write(ValueBlock),
    /// Mark it not valid: readers still get the bytes, with the flag.
    Invalidate,
}

/// A request for a new lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acquire {
    /// The new lock's key; sent again, it has the same result.
    pub key: LockKey,
    /// The mode wanted.
    pub mode: Mode,
    /// What to do when it can't be granted at once.
    pub patience: Patience,
    /// Return the session's lock on this resource where it holds one, with its count raised.
    pub reentrant: bool,
    /// When it was asked, in milliseconds of Unix time. Shown to people, never compared.
    pub since_unix_ms: u64,
    /// How many requests may wait; one more is refused.
    pub waiters_max: u32,
}

/// A request to change a granted lock's mode.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Convert {
    /// The granted lock.
    pub key: LockKey,
    /// The mode wanted.
    pub mode: Mode,
    /// What to do when it can't be granted at once.
    pub patience: Patience,
    /// Applied when the conversion goes down from PW or EX, or stays at it; refused elsewhere.
    pub value: ValueUpdate,
}

/// A lock that a client says it holds, when its session comes to another home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The lock.
    pub key: LockKey,
    /// The mode on which the client counts.
    pub mode: Mode,
    /// The token that it was told.
    pub token: Token,
    /// When it was claimed, in milliseconds of Unix time. Shown to people, never compared.
    pub since_unix_ms: u64,
}

/// One command. Every one is idempotent: applied twice in a row, the second changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Ask for a new lock. Answer: granted, queued or refused.
    Acquire(Acquire),
    /// Ask for another mode. Answer: granted, queued or refused.
    Convert(Convert),
    /// Let a lock go, or withdraw a waiting one. Answer: released, or refused as not found.
    Release {
        /// The lock.
        key: LockKey,
        /// Applied when it is held in PW or EX; refused elsewhere.
        value: ValueUpdate,
    },
    /// Stop waiting: a waiting lock leaves the queue, a converting one keeps the mode it holds, a granted one
    /// stays granted. Answer: cancelled, granted, or refused as not found.
    Cancel {
        /// The lock.
        key: LockKey,
    },
    /// Take a lock from its session, whatever its state: an administrator's command. A PW or EX holder's value
    /// is marked not valid. Answer: released, or refused.
    Revoke {
        /// The lock.
        key: LockKey,
        /// Only if its current token is this one.
        token: Option<Token>,
    },
    /// Forget all that these ended sessions held and waited for. The value is marked not valid where one held
    /// PW or EX. Answer: purged.
    Purge {
        /// Sessions known to have ended.
        sessions: Vec<SessionId>,
    },
    /// Look a lock up, changing nothing. Answer: granted, queued, or refused as not found.
    Query {
        /// The lock.
        key: LockKey,
    },
    /// Look a lock up of which its client says that it is held; or, where the server is dead that knew ([`claim`](super::Resource::claim)),
    /// believe the client. Answer: as to a query.
    Claim(Claim),
}

/// A lock as it was granted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The lock: the key that was asked with, or for a re-entrant acquire that of its own request.
    pub key: LockKey,
    /// The mode held now.
    pub mode: Mode,
    /// Its fencing token.
    pub token: Token,
    /// How many acquires of the session share this lock: 1, or more when re-entrant.
    pub holds: u32,
    /// The value block, where the grant returns it: for a new grant of CR or above, and a conversion to the same
    /// or a higher mode.
    pub value: Option<ValueRead>,
}

/// What a command's sender is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The lock is held.
    Granted(Grant),
    /// The lock waits, or is held and its conversion waits.
    Queued(Queued),
    /// The lock is gone, on request.
    Released,
    /// A waiting lock left the queue.
    Cancelled,
    /// The ended sessions are forgotten.
    Purged,
    /// Nothing was changed.
    Refused(Refusal),
}

/// A lock's place in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queued {
    /// The lock.
    pub key: LockKey,
    /// How many conversions and requests are served before it.
    pub ahead: u32,
    /// The mode it holds meanwhile, where it waits for a conversion.
    pub held: Option<Mode>,
}

/// Why nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// A *try* that could not be granted at once.
    #[error("the lock can't be granted at once")]
    WouldBlock,
    /// The conversion would wait for a conversion that waits for it.
    #[error("deadlock: a conversion queued before this one waits for the mode this lock holds")]
    Deadlock,
    /// As many requests wait as may.
    #[error("{limit} requests wait for this resource, which is the limit")]
    QueueFull {
        /// The limit.
        limit: u32,
    },
    /// There is no such lock.
    #[error("there is no such lock: it was never acquired, or is already released")]
    NotFound,
    /// The lock waits and is not held.
    #[error("the lock is still waiting and can't be converted")]
    StillWaiting,
    /// The lock waits for another conversion; one operation in flight per lock.
    #[error("a conversion of this lock to {pending} is waiting: cancel it first")]
    ConversionPending {
        /// The mode it waits for.
        pending: Mode,
    },
    /// The lock id is in use for a lock of another mode.
    #[error("the lock id is in use for a lock in mode {mode}: take a new id for each acquire")]
    LockIdInUse {
        /// The mode held or asked under that id.
        mode: Mode,
    },
    /// A re-entrant acquire asked for more than the held mode.
    #[error(
        "the session holds this resource in mode {held}, which does not cover the request: convert the lock instead"
    )]
    NotCovered {
        /// The mode held.
        held: Mode,
    },
    /// Only PW and EX holders write the value block, as they go down or let go.
    #[error("a value block is written by a PW or EX holder, and this lock goes from {held} to {to}")]
    ValueNotWritable {
        /// The mode held.
        held: Mode,
        /// The mode asked, NL for a release.
        to: Mode,
    },
    /// The lock is held with another token than the command names.
    #[error("the lock's token is {current} by now")]
    TokenMismatch {
        /// Its current token.
        current: Token,
    },
    /// The resource has used up its tokens.
    #[error("the resource has no fencing token left: use another name")]
    TokensExhausted,
}

/// The whole effect of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// For the command's sender.
    pub outcome: Outcome,
    /// Locks of others (or of the sender) that had waited and are granted by this command, in the order of their grants.
    pub promoted: Vec<Grant>,
    /// Whether the state differs from before: if so, the outcome holds only once it is committed.
    pub changed: bool,
}
