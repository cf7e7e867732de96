//! Servers' leases over each other: a counter that each rewrites, and that the others watch.

use super::LeaseTerms;
use crate::{MemberId, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a server rewrites its counter.
pub const MEMBER_BEAT: Duration = Duration::from_secs(1);
/// A server whose counter was unchanged for this long, on the observer's clock, is dead.
pub const MEMBER_TIMEOUT: Duration = Duration::from_secs(6);
/// How long a server may act after the sending of a write of its counter.
const MEMBER_LEASE: Duration = Duration::from_millis(5400);

/// A server's own lease: past its deadline it acknowledges nothing and commits nothing, as the others may take it
/// for dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberLease {
    sent: Option<Timestamp>,
    /// How often it had run out.
    lapses: u64,
}

impl MemberLease {
    /// A server that has not written its counter yet, and may not act.
    pub fn new() -> MemberLease {
        MemberLease::default()
    }

    /// A write of the counter that was sent at `sent` has succeeded, as is known at `now`. Returns the lapse that it
    /// ends, if the lease had run out meanwhile.
    pub fn committed(&mut self, sent: Timestamp, now: Timestamp) -> Option<Lapse> {
        let before = self.sent.replace(self.sent.map_or(sent, |before| before.max(sent)))?;
        let ran_out = now >= before + MEMBER_LEASE;
        self.lapses += u64::from(ran_out);
        ran_out.then(|| Lapse(now.since(before)))
    }

    /// A number for the time in which the lease has held without a gap until now; `None` when it does not hold.
    pub fn period(&self, now: Timestamp) -> Option<u64> {
        self.may_act(now).then_some(self.lapses)
    }

    /// What was decided from memory so far must be asked of the store again: a new period begins.
    pub fn end_period(&mut self) {
        self.lapses += 1;
    }

    /// Until when it may act: nine tenths of [`MEMBER_TIMEOUT`] after the newest successful write was sent.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.sent.map(|sent| sent + MEMBER_LEASE)
    }

    /// Whether it may acknowledge and commit.
    pub fn may_act(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }
}

/// How long a server's counter stood still, at most, as seen by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lapse(Duration);

impl Lapse {
    /// Whether the others may have begun to end a session of this server: their write may still be under way, so
    /// the session must be attached anew before any of its heartbeats is acknowledged.
    pub fn may_have_ended(self, terms: LeaseTerms) -> bool {
        // Their clocks may be faster by a tenth.
        self.0 * 11 / 10 >= MEMBER_TIMEOUT + terms.ttl() + terms.lock_delay()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Observation {
    /// As it was last read; `None` once the record was found gone.
    counter: Option<u64>,
    /// A look from then on that finds the same counter finds it dead.
    dead_at: Timestamp,
}

/// What a server has seen of the others' counters, in looks at all of them.
///
/// Time alone proves nothing: who has not looked for a while can't tell a silent server from its own blindness. So
/// all judgements are as of the last look, and after a gap in the looks the time of each begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberObserver {
    members: BTreeMap<MemberId, Observation>,
    looked: Option<Timestamp>,
}

impl MemberObserver {
    /// One that has seen nobody.
    pub fn new() -> MemberObserver {
        MemberObserver::default()
    }

    /// The counters of all members were read, by a request that was sent at `sent` and answered at `received`.
    ///
    /// Any other value than before, also a smaller one, is a sign of life: a judge that errs must err on the side of
    /// waiting. A member that is not among them any more has left, and is dead as of the answer: whatever the look before
    /// had found, it may have lived and acknowledged until then.
    pub fn look(
        &mut self,
        sent: Timestamp,
        received: Timestamp,
        counters: impl IntoIterator<Item = (MemberId, u64)>,
    ) {
        if self.looked.is_some_and(|before| received.since(before) > MEMBER_TIMEOUT / 2) {
            self.restart(received);
        }
        let mut absent: Vec<MemberId> = self.members.keys().copied().collect();
        for (member, counter) in counters {
            absent.retain(|known| *known != member);
            let fresh = Observation { counter: Some(counter), dead_at: received + MEMBER_TIMEOUT };
            let known = self.members.entry(member).or_insert(fresh);
            if known.counter != fresh.counter {
                *known = fresh;
            }
        }
        for member in absent {
            if let Some(known) = self.members.get_mut(&member).filter(|known| known.counter.is_some()) {
                *known = Observation { counter: None, dead_at: received };
            }
        }
        self.looked = Some(sent);
    }

    /// When the newest look was sent: what it did not show had not happened then.
    pub fn looked(&self) -> Option<Timestamp> {
        self.looked
    }

    /// Since when the member is dead, if it was at the last look.
    pub fn dead_since(&self, member: MemberId) -> Option<Timestamp> {
        let looked = self.looked?;
        self.members.get(&member).map(|known| known.dead_at).filter(|dead_at| *dead_at <= looked)
    }

    /// Whether the member was dead at the last look. One that was never seen is not known to be.
    pub fn is_dead(&self, member: MemberId) -> bool {
        self.dead_since(member).is_some()
    }

    /// Whether a session whose record has named this home since it was first `seen` was an orphan at the last look, for
    /// longer than its client may still count on it.
    pub fn is_orphan_due(&self, home: MemberId, seen: Timestamp, terms: LeaseTerms) -> bool {
        let dead_since = match self.dead_since(home) {
            Some(since) => since.max(seen),
            None if self.members.contains_key(&home) => return false,
            // A home that has no record, and has not had one for as long as it takes to notice.
            None => seen + MEMBER_TIMEOUT,
        };
        self.looked.is_some_and(|looked| looked > dead_since + terms.ttl() + terms.lock_delay())
    }

    /// This process was paused or blind, and may not judge the others by the time that passed: the time of each
    /// begins anew.
    pub fn restart(&mut self, now: Timestamp) {
        for known in self.members.values_mut() {
            known.dead_at = now + MEMBER_TIMEOUT;
        }
    }

    /// The member is heard of: one that has no record is dead when that was so for as long as it takes to notice.
    pub fn expect(&mut self, member: MemberId, now: Timestamp) {
        let unseen = Observation { counter: None, dead_at: now + MEMBER_TIMEOUT };
        self.members.entry(member).or_insert(unseen);
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
