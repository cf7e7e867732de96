//! What clients and servers say to each other.

use dlock_core::{Epoch, LockId, Mode, Token};

/// From a client to a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    /// A request on a link.
    Request {
        /// From whom.
        client: usize,
        /// To whom.
        server: usize,
        /// On which stream.
        link: u64,
        /// Its number.
        sequence: u64,
        /// The lock that it is about.
        lock: LockId,
        /// The lock's resource.
        resource: usize,
        /// What it asks.
        ask: Ask,
    },
    /// A heartbeat on a link.
    Heartbeat {
        /// From whom.
        client: usize,
        /// To whom.
        server: usize,
        /// On which stream.
        link: u64,
        /// For which attachment.
        epoch: Epoch,
        /// To be repeated in the acknowledgement.
        nonce: u64,
    },
    /// The greeting of a new link, which attaches the session.
    Attach {
        /// From whom.
        client: usize,
        /// To whom.
        server: usize,
        /// The new stream.
        link: u64,
        /// The number of the client's newest request.
        last_sequence: u64,
        /// What it holds, where servers may master resources.
        claims: Vec<Claimed>,
    },
}

/// A lock that a client says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claimed {
    /// The lock.
    pub lock: LockId,
    /// The lock's resource.
    pub resource: usize,
    /// The mode on which the client counts.
    pub mode: u8,
    /// The token that it was told.
    pub token: Token,
}

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ask {
    /// The lock in this mode, as [`Mode`] numbers them; granted at once or not at all if `at_once`.
    Acquire {
        /// The mode.
        mode: u8,
        /// A *try*.
        at_once: bool,
    },
    /// The held lock in another mode.
    Convert {
        /// The mode.
        mode: u8,
    },
    /// An end of the lock, whether it is held or waits.
    Release,
}

impl Ask {
    pub(crate) fn mode(number: u8) -> Mode {
        Mode::ALL[usize::from(number)]
    }
}

/// From a server to a client, in order on each link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Attached { epoch: Epoch },
    Heartbeat { epoch: Epoch, nonce: u64 },
    Granted { request: u64, mode: Mode, token: Token },
    Released { request: u64 },
    Refused { request: u64 },
    Unavailable { request: u64 },
    Revoked { lock: LockId },
    Ended,
}
