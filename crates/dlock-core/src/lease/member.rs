//! Servers' leases over each other: a counter that each rewrites, and that the others watch.

use crate::{MemberId, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a server rewrites its counter.
pub const MEMBER_BEAT: Duration = Duration::from_secs(1);
/// A server whose counter was unchanged for this long, on the observer's clock, is dead.
pub const MEMBER_TIMEOUT: Duration = Duration::from_secs(6);

/// A server's own lease: past its deadline it acknowledges nothing and commits nothing, as the others may take it
/// for dead.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemberLease {
    sent: Option<Timestamp>,
}

impl MemberLease {
    /// A server that has not written its counter yet, and may not act.
    pub fn new() -> MemberLease {
        MemberLease::default()
    }

    /// A write of the counter that was sent at `sent` has succeeded.
    pub fn committed(&mut self, sent: Timestamp) {
        self.sent = Some(self.sent.map_or(sent, |before| before.max(sent)));
    }

    /// Until when it may act: nine tenths of [`MEMBER_TIMEOUT`] after the newest successful write was sent.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.sent.map(|sent| sent + MEMBER_TIMEOUT * 9 / 10)
    }

    /// Whether it may acknowledge and commit.
    pub fn may_act(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }
}

#[derive(Clone, Copy, Debug)]
struct Observation {
    counter: u64,
    /// From then on it is dead, unless its counter changes.
    dead_at: Timestamp,
}

/// What a server has seen of the others' counters.
#[derive(Clone, Debug, Default)]
pub struct MemberObserver {
    members: BTreeMap<MemberId, Observation>,
}

impl MemberObserver {
    /// One that has seen nobody.
    pub fn new() -> MemberObserver {
        MemberObserver::default()
    }

    /// The member's counter was read.
    pub fn observe(&mut self, member: MemberId, counter: u64, now: Timestamp) {
        let fresh = Observation { counter, dead_at: now + MEMBER_TIMEOUT };
        let known = self.members.entry(member).or_insert(fresh);
        if known.counter != counter {
            *known = fresh;
        }
    }

    /// The member's record is gone: it left, and is dead from now on.
    pub fn gone(&mut self, member: MemberId, now: Timestamp) {
        if let Some(known) = self.members.get_mut(&member) {
            known.dead_at = known.dead_at.min(now);
        }
    }

    /// Since when the member is dead, if it is.
    pub fn dead_since(&self, member: MemberId, now: Timestamp) -> Option<Timestamp> {
        self.members.get(&member).map(|known| known.dead_at).filter(|dead_at| *dead_at <= now)
    }

    /// Whether the member is dead. One that was never seen is not known to be.
    pub fn is_dead(&self, member: MemberId, now: Timestamp) -> bool {
        self.dead_since(member, now).is_some()
    }

    /// This process was paused, and may not judge the others by the time that passed: all begin anew.
    pub fn restart(&mut self, now: Timestamp) {
        for known in self.members.values_mut() {
            known.dead_at = now + MEMBER_TIMEOUT;
        }
    }

    /// The member is of no interest any more.
    pub fn forget(&mut self, member: MemberId) {
        self.members.remove(&member);
    }

    /// All members that were seen and not forgotten.
    pub fn known(&self) -> impl Iterator<Item = MemberId> {
        self.members.keys().copied()
    }
}
