//! The client's side of a session's lease.

use crate::{Epoch, Timestamp};
use std::collections::VecDeque;
use std::time::Duration;

/// How many heartbeats may be unanswered and still be known; older ones are given up.
const IN_FLIGHT_MAX: usize = 16;

/// Until when a client may count on its session.
///
/// The deadline is counted from when the last acknowledged request was **sent**, less a margin of a tenth of the time
/// to live and 50 ms: so it passes before the home's own count runs out, however slow the network was and if the
/// client's clock goes up to 10 % slower than the home's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientLease {
    ttl: Duration,
    epoch: Epoch,
    /// When the newest acknowledged request was sent.
    acknowledged_sent: Timestamp,
    last_sent: Timestamp,
    last_nonce: u64,
    in_flight: VecDeque<(u64, Timestamp)>,
}

impl ClientLease {
    /// A session that was opened, or attached, by a request sent at `sent` and acknowledged.
    pub fn new(ttl: Duration, epoch: Epoch, sent: Timestamp) -> ClientLease {
        let (last_nonce, in_flight) = (0, VecDeque::new());
        ClientLease { ttl, epoch, acknowledged_sent: sent, last_sent: sent, last_nonce, in_flight }
    }

    /// The session's time to live.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The epoch that heartbeats name.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// From then on nothing may be done any more in the session's name.
    pub fn deadline(&self) -> Timestamp {
        let margin = self.ttl / 10 + Duration::from_millis(50);
        self.acknowledged_sent + self.ttl.saturating_sub(margin)
    }

    /// Whether the session's locks may be counted on.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now < self.deadline()
    }

    /// When the next heartbeat is to be sent: a third of the time to live after the last one.
    pub fn heartbeat_due(&self) -> Timestamp {
        self.last_sent + self.ttl / 3
    }

    /// A heartbeat goes out; returns the nonce it carries.
    pub fn heartbeat_sent(&mut self, now: Timestamp) -> u64 {
        self.last_nonce += 1;
        self.last_sent = now;
        if self.in_flight.len() == IN_FLIGHT_MAX {
            self.in_flight.pop_front();
        }
        self.in_flight.push_back((self.last_nonce, now));
        self.last_nonce
    }

    /// A heartbeat was acknowledged. False, and without effect, if it was of another epoch, or isn't known (any more).
    pub fn acknowledged(&mut self, epoch: Epoch, nonce: u64) -> bool {
        if epoch != self.epoch {
            return false;
        }
        let Some(at) = self.in_flight.iter().position(|(known, _)| *known == nonce) else { return false };
        let (_, sent) = self.in_flight[at];
        self.in_flight.drain(..=at); // an older one has nothing to add
        self.acknowledged_sent = self.acknowledged_sent.max(sent);
        true
    }

    /// From then on another server should be tried: half the time to live has passed since the newest acknowledged
    /// request was sent.
    pub fn reattach_due(&self) -> Timestamp {
        self.acknowledged_sent + self.ttl / 2
    }

    /// The session was attached anew, by a request sent at `sent`.
    pub fn reattached(&mut self, epoch: Epoch, sent: Timestamp) {
        self.epoch = epoch;
        self.in_flight.clear();
        self.acknowledged_sent = self.acknowledged_sent.max(sent);
        self.last_sent = sent;
    }
}
