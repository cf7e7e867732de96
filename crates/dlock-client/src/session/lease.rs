//! The session's lease as its client sees it.

use dlock_core::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// PLACEHOLDER until dlock_core::lease::ClientLease is there.
#[derive(Debug)]
pub(crate) struct Lease {
    ttl: Duration,
    lock_delay: Duration,
    confirmed: Timestamp,
    last_sent: Timestamp,
    in_flight: BTreeMap<u64, Timestamp>,
}

impl Lease {
    pub(crate) fn new(ttl: Duration, lock_delay: Duration, sent: Timestamp) -> Lease {
        Lease { ttl, lock_delay, confirmed: sent, last_sent: sent, in_flight: BTreeMap::new() }
    }
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }
    pub(crate) fn lock_delay(&self) -> Duration {
        self.lock_delay
    }
    pub(crate) fn deadline(&self) -> Timestamp {
        self.confirmed + (self.ttl - self.ttl / 10 - Duration::from_millis(50))
    }
    pub(crate) fn heartbeat_at(&self) -> Timestamp {
        self.last_sent + self.ttl / 3
    }
    pub(crate) fn silent_at(&self) -> Timestamp {
        self.confirmed + self.ttl / 2
    }
    pub(crate) fn sent(&mut self, nonce: u64, now: Timestamp) {
        self.last_sent = now;
        self.in_flight.insert(nonce, now);
    }
    pub(crate) fn acknowledged(&mut self, nonce: u64) -> bool {
        let Some(sent) = self.in_flight.remove(&nonce) else { return false };
        self.in_flight.retain(|_, other| *other > sent);
        let later = sent > self.confirmed;
        self.confirmed = self.confirmed.max(sent);
        later
    }
    pub(crate) fn attached(&mut self, sent: Timestamp) {
        self.in_flight.clear();
        self.confirmed = self.confirmed.max(sent);
        self.last_sent = self.last_sent.max(sent);
    }
}
