//! The leases' rules, and that they keep apart on clocks of different rates.

use super::*;
use crate::{Epoch, MemberId, Timestamp};
use proptest::prelude::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const START: Timestamp = Timestamp(1_000_000_000_000);

fn after(milliseconds: u64) -> Timestamp {
    START + Duration::from_millis(milliseconds)
}

#[test]
fn terms_name_what_is_out_of_bounds() {
    let error = LeaseTerms::new(Duration::from_millis(999), Duration::ZERO).unwrap_err();
    assert_eq!(error.to_string(), "the time to live is 999ms, and must be between 1s and 600s");
    assert!(LeaseTerms::new(TTL_MAX + SECOND, Duration::ZERO).is_err());
    assert_eq!(LeaseTerms::new(TTL_MIN, LOCK_DELAY_MAX + SECOND).unwrap_err().field, "lock delay");
    assert_eq!(
        LeaseTerms::new(Duration::from_micros(1_500_999), Duration::ZERO).unwrap().ttl().as_micros(),
        1_500_000
    );
}

#[test]
fn a_clients_deadline_counts_from_the_sending() {
    let mut lease = ClientLease::new(10 * SECOND, Epoch(1), START);
    assert_eq!(lease.deadline(), after(8950));
    let nonce = lease.heartbeat_sent(after(3000));
    assert!(lease.acknowledged(Epoch(1), nonce)); // whenever that is
    assert_eq!(lease.deadline(), after(11_950));
    assert!(lease.is_valid(after(11_949)) && !lease.is_valid(after(11_950)));
    assert_eq!((lease.heartbeat_due(), lease.reattach_due()), (after(3000) + SECOND * 10 / 3, after(8000)));
}

#[test]
fn acknowledgements_that_are_late_foreign_or_repeated_have_no_effect() {
    let mut lease = ClientLease::new(10 * SECOND, Epoch(1), START);
    let first = lease.heartbeat_sent(after(1000));
    let second = lease.heartbeat_sent(after(2000));
    assert!(!lease.acknowledged(Epoch(2), first));
    assert!(lease.acknowledged(Epoch(1), second));
    assert!(!lease.acknowledged(Epoch(1), first) && !lease.acknowledged(Epoch(1), second));
    assert!(!lease.acknowledged(Epoch(1), 99));
    assert_eq!(lease.deadline(), after(10_950));
    lease.reattached(Epoch(2), after(4000));
    assert_eq!((lease.epoch(), lease.deadline()), (Epoch(2), after(12_950)));
}

#[test]
fn a_home_waits_the_time_to_live_and_the_lock_delay() {
    let mut lease = HomeLease::new(LeaseTerms::new(10 * SECOND, 5 * SECOND).unwrap(), START);
    lease.received(after(2000));
    lease.received(after(1000));
    assert!(!lease.is_expired(after(17_000)) && lease.is_expired(after(17_001)));
    lease.restart(after(20_000));
    assert!(!lease.is_expired(after(35_000)));
}

#[test]
fn an_attachment_that_took_longer_than_the_session_lives_does_not_begin() {
    let terms = LeaseTerms::new(10 * SECOND, SECOND).unwrap();
    assert!(HomeLease::may_begin(terms, START, after(9_999)));
    assert!(!HomeLease::may_begin(terms, START, after(10_000)), "11 s on the fastest clock of another");
}

#[test]
fn a_pause_is_a_tick_that_comes_much_too_late() {
    let mut pauses = PauseDetector::new();
    assert!(!pauses.tick(START, SECOND));
    assert!(!pauses.tick(after(2000), SECOND));
    assert!(pauses.tick(after(4001), SECOND));
    assert!(!pauses.tick(after(4500), SECOND));
}

/// A look whose answer comes at once.
fn look(observer: &mut MemberObserver, at: Timestamp, counters: &[(u128, u64)]) {
    observer.look(at, at, counters.iter().map(|(member, counter)| (MemberId(*member), *counter)));
}

#[test]
fn a_member_is_dead_when_its_counter_stands_still() {
    let (one, two) = (MemberId(1), MemberId(2));
    let mut observer = MemberObserver::new();
    look(&mut observer, START, &[(1, 1), (2, 1)]);
    look(&mut observer, after(3000), &[(1, 2), (2, 1)]);
    look(&mut observer, after(5999), &[(1, 2), (2, 1)]);
    assert!(!observer.is_dead(two));
    look(&mut observer, after(6000), &[(1, 2), (2, 1)]);
    assert!(observer.is_dead(two) && !observer.is_dead(one));
    look(&mut observer, after(7000), &[(1, 2), (2, 2)]);
    assert!(!observer.is_dead(two), "it is alive after all");
    observer.forget(two);
    assert!(observer.known().eq([one]));
}

#[test]
fn a_member_whose_record_is_gone_is_dead_until_it_is_seen_again() {
    let member = MemberId(1);
    let mut observer = MemberObserver::new();
    look(&mut observer, START, &[(1, 7)]);
    look(&mut observer, after(1000), &[]);
    look(&mut observer, after(2000), &[]);
    assert_eq!(observer.dead_since(member), Some(after(1000)));
    for at in [4000, 7000, 9999] {
        look(&mut observer, after(at), &[(1, 7)]);
        assert!(!observer.is_dead(member));
    }
    look(&mut observer, after(10_000), &[(1, 7)]);
    assert!(observer.is_dead(member));
}

#[test]
fn a_member_that_came_back_unseen_and_left_was_alive_until_then() {
    let terms = LeaseTerms::new(3 * SECOND, Duration::ZERO).unwrap();
    let member = MemberId(1);
    let mut observer = MemberObserver::new();
    for at in [0, 3000, 6000] {
        look(&mut observer, after(at), &[(1, 7)]);
    }
    assert_eq!(observer.dead_since(member), Some(after(6000)));
    // After that look it beat once more, acknowledged, and left.
    observer.look(after(8900), after(9000), []);
    look(&mut observer, after(9100), &[]);
    assert_eq!(observer.dead_since(member), Some(after(9000)));
    look(&mut observer, after(12_000), &[]);
    assert!(!observer.is_orphan_due(member, START, terms));
    look(&mut observer, after(12_001), &[]);
    assert!(observer.is_orphan_due(member, START, terms));
}

#[test]
fn who_has_not_looked_judges_nobody() {
    let member = MemberId(1);
    let mut observer = MemberObserver::new();
    look(&mut observer, START, &[(1, 7)]);
    // Blind for long: the first look proves nothing, as the member may have been cut off just as well.
    for at in [60_000, 62_000, 64_000, 65_999] {
        look(&mut observer, after(at), &[(1, 7)]);
        assert!(!observer.is_dead(member), "at {at}");
    }
    look(&mut observer, after(66_000), &[(1, 7)]);
    assert_eq!(observer.dead_since(member), Some(after(66_000)));
}

#[test]
fn an_orphan_is_ended_when_its_client_can_not_count_on_it_any_more() {
    let terms = LeaseTerms::new(2 * SECOND, SECOND).unwrap();
    let (home, unknown) = (MemberId(1), MemberId(2));
    let mut observer = MemberObserver::new();
    assert!(!observer.is_orphan_due(home, START, terms), "nobody has looked");
    for at in [0, 3000, 6000, 9000] {
        look(&mut observer, after(at), &[(1, 1)]);
    }
    // Its home is dead since 6 s; of one that was never seen, it takes as long to notice.
    assert!(!observer.is_orphan_due(home, START, terms) && !observer.is_orphan_due(unknown, START, terms));
    look(&mut observer, after(9001), &[(1, 1)]);
    assert!(observer.is_orphan_due(home, START, terms) && observer.is_orphan_due(unknown, START, terms));
    assert!(!observer.is_orphan_due(home, after(7000), terms), "its wait did not begin before it was seen");
    look(&mut observer, after(9002), &[(1, 2)]);
    assert!(!observer.is_orphan_due(home, START, terms), "its home is alive after all");
}

#[test]
fn a_members_lease_counts_from_the_sending_of_its_newest_write() {
    let mut lease = MemberLease::new();
    assert!(!lease.may_act(START) && lease.deadline().is_none());
    assert_eq!(lease.committed(after(1000), after(1000)), None);
    assert_eq!(lease.committed(START, after(1000)), None); // an older one that was slow
    assert_eq!(lease.deadline(), Some(after(6400)));
    assert!(lease.may_act(after(6399)) && !lease.may_act(after(6400)));
}

#[test]
fn a_long_lapse_puts_short_sessions_in_doubt() {
    let terms = |ttl_s| LeaseTerms::new(ttl_s * SECOND, Duration::ZERO).unwrap();
    let lapse_of = |ms| {
        let mut lease = MemberLease::new();
        lease.committed(START, START);
        lease.committed(after(ms - 10), after(ms))
    };
    assert_eq!(lapse_of(5399), None);
    assert!(lapse_of(6363).is_some_and(|lapse| !lapse.may_have_ended(terms(1))));
    assert!(
        lapse_of(6364)
            .is_some_and(|lapse| lapse.may_have_ended(terms(1)) && !lapse.may_have_ended(terms(10)))
    );
}

#[test]
fn of_many_unanswered_heartbeats_the_oldest_are_given_up() {
    let mut lease = ClientLease::new(10 * SECOND, Epoch(1), START);
    let nonces: Vec<u64> = (1..=17).map(|number| lease.heartbeat_sent(after(number))).collect();
    assert!(!lease.acknowledged(Epoch(1), nonces[0]));
    assert!(lease.acknowledged(Epoch(1), nonces[1]));
    assert_eq!(lease.deadline(), after(8952));
}

/// A clock that runs at some rate from some reading on.
#[derive(Clone, Copy, Debug)]
struct Clock {
    rate: f64,
    start: Timestamp,
}

impl Clock {
    /// What it shows when `true_ms` have truly passed.
    fn at(self, true_ms: f64) -> Timestamp {
        self.start + Duration::from_secs_f64(true_ms * self.rate / 1000.0)
    }

    /// When it shows this, in true milliseconds.
    fn reached(self, reading: Timestamp) -> f64 {
        reading.since(self.start).as_secs_f64() * 1000.0 / self.rate
    }
}

/// Two clocks of different boots, whose rates differ by less than 10 %.
fn two_clocks() -> impl Strategy<Value = (Clock, Clock)> {
    // The extremes are where a rule breaks first.
    let ratio = prop_oneof![Just(0.901), Just(1.099), 0.901..1.099];
    (0.9..1.1, ratio, 0..u64::MAX / 4, 0..u64::MAX / 4).prop_map(|(rate, ratio, one, two)| {
        (Clock { rate, start: Timestamp(one) }, Clock { rate: rate * ratio, start: Timestamp(two) })
    })
}

/// A heartbeat: how long after the one before it is sent, and how long it and its answer are under way, in true
/// milliseconds; neither may arrive.
type Beat = (f64, Option<f64>, Option<f64>);

fn beats() -> impl Strategy<Value = Vec<Beat>> {
    let way = || proptest::option::weighted(0.7, 0.0..4000.0);
    proptest::collection::vec((1.0..3000.0, way(), way()), 0..12)
}

proptest! {
    /// Whatever is lost or late: when the home expires the session, its client has stopped.
    #[test]
    fn a_client_stops_before_its_home_gives_up(
        ttl_ms in prop_oneof![Just(1000u64), 1000..600_000u64],
        (client_clock, home_clock) in two_clocks(),
        open_ms in 0.0..5000.0,
        beats in beats(),
    ) {
        let ttl = Duration::from_millis(ttl_ms);
        let mut client = ClientLease::new(ttl, Epoch(1), client_clock.at(0.0));
        let mut home = HomeLease::new(LeaseTerms::new(ttl, Duration::ZERO).unwrap(), home_clock.at(open_ms));
        let mut answers = Vec::new();
        let mut sent_ms = 0.0;
        for (gap, there, back) in beats {
            sent_ms += gap;
            let nonce = client.heartbeat_sent(client_clock.at(sent_ms));
            // A home answers only what reaches it while it has not expired the session.
            let Some(received_ms) = there.map(|there| sent_ms + there) else { continue };
            if !home.is_expired(home_clock.at(received_ms)) {
                home.received(home_clock.at(received_ms));
                answers.extend(back.map(|back| (received_ms + back, nonce)));
            }
        }
        answers.sort_by(|(one, _), (two, _)| one.total_cmp(two));
        let mut deadline = client.deadline();
        for (_, nonce) in answers {
            client.acknowledged(Epoch(1), nonce);
            prop_assert!(client.deadline() >= deadline, "a deadline moved back");
            deadline = client.deadline();
        }
        prop_assert!(client_clock.reached(deadline) < home_clock.reached(home.expires_at()));
    }

    /// Whichever of a server's writes succeed, and however late they and the looks are: when an observer ends a
    /// session of a server that it takes for dead, the server has stopped acknowledging it, and does not begin again.
    #[test]
    fn a_member_stops_before_its_sessions_are_ended(
        (own_clock, observer_clock) in two_clocks(),
        ttl_ms in prop_oneof![Just(1000u64), 1000..20_000u64],
        writes in proptest::collection::vec((1.0..12_000.0, 0.0..9000.0, any::<bool>()), 1..12),
        looks in proptest::collection::vec((1.0..5000.0, 0.0..2000.0), 1..60),
    ) {
        let terms = LeaseTerms::new(Duration::from_millis(ttl_ms), Duration::ZERO).unwrap();
        // When each counter took effect, and the spans in which the member acted for its first session.
        let mut lease = MemberLease::new();
        lease.committed(own_clock.at(0.0), own_clock.at(0.0));
        let mut acted_until_ms = own_clock.reached(lease.deadline().unwrap());
        let (mut now_ms, mut effects) = (0.0, vec![(0.0, 0)]);
        for (counter, (gap, way, succeeds)) in (1..).zip(writes) {
            let sent_ms = now_ms + gap;
            now_ms = sent_ms + way;
            if !succeeds {
                continue;
            }
            effects.push((now_ms, counter));
            let lapse = lease.committed(own_clock.at(sent_ms), own_clock.at(now_ms));
            if lapse.is_some_and(|lapse| lapse.may_have_ended(terms)) {
                break;
            }
            acted_until_ms = f64::max(acted_until_ms, own_clock.reached(lease.deadline().unwrap()));
        }
        // What was acknowledged last, its client counts on until then.
        let counted_on_ms = acted_until_ms + (ttl_ms as f64 * 0.9 - 50.0) / own_clock.rate;
        let mut observer = MemberObserver::new();
        let mut look_ms = 0.0;
        for (gap, way) in looks {
            look_ms += gap;
            // Read at the earliest moment that it may be.
            let (_, counter) = effects.iter().rev().find(|(at, _)| *at <= look_ms).unwrap();
            let received = observer_clock.at(look_ms + way);
            observer.look(observer_clock.at(look_ms), received, [(MemberId(1), *counter)]);
            let ends = observer
                .dead_since(MemberId(1))
                .is_some_and(|since| observer.looked().unwrap() > since + terms.ttl());
            prop_assert!(!ends || counted_on_ms < look_ms, "counted on until {counted_on_ms}, ended at {look_ms}");
            look_ms += way;
        }
    }
}
