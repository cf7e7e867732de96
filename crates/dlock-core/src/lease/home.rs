//! The home's side of a session's lease, and its care for its own pauses.

use super::LeaseTerms;
use crate::Timestamp;
use std::time::Duration;

/// When a session is to be expired by its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HomeLease {
    terms: LeaseTerms,
    last_received: Timestamp,
}

impl HomeLease {
    /// A session that was opened, or attached, at `now`.
    pub fn new(terms: LeaseTerms, now: Timestamp) -> HomeLease {
        HomeLease { terms, last_received: now }
    }

    /// Whether a session may be served from `now` on whose attachment was sent to the store at `sent`.
    ///
    /// If the write took longer than the session lives, this server may have been taken for dead meanwhile, and others
    /// may be ending the session: it must be attached once more. A [`Lapse`](super::Lapse) that ends from `now` on is
    /// noticed by itself.
    pub fn may_begin(terms: LeaseTerms, sent: Timestamp, now: Timestamp) -> bool {
        // Their clocks may be faster by a tenth.
        now.since(sent) * 11 / 10 < terms.ttl() + terms.lock_delay()
    }

    /// A heartbeat came.
    pub fn received(&mut self, now: Timestamp) {
        self.last_received = self.last_received.max(now);
    }

    /// The last moment of the session if nothing more comes: its time to live and lock delay after the last heartbeat.
    pub fn expires_at(&self) -> Timestamp {
        self.last_received + self.terms.ttl() + self.terms.lock_delay()
    }

    /// Whether that moment is past.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now > self.expires_at()
    }

    /// The home itself was paused: heartbeats may wait to be read, so the client gets its whole time again.
    pub fn restart(&mut self, now: Timestamp) {
        self.received(now);
    }
}

/// Notices that the own process did not run for a while: it was stopped, swapped out, or its machine slept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PauseDetector {
    last: Option<Timestamp>,
}

impl PauseDetector {
    /// How much later than expected a tick may come without counting as a pause.
    pub const TOLERANCE: Duration = Duration::from_secs(1);

    /// A detector whose first tick is never late.
    pub fn new() -> PauseDetector {
        PauseDetector::default()
    }

    /// A tick that was expected `expected` after the last one. True if it came much later.
    pub fn tick(&mut self, now: Timestamp, expected: Duration) -> bool {
        let last = self.last.replace(now);
        last.is_some_and(|last| now.since(last) > expected + Self::TOLERANCE)
    }
}
