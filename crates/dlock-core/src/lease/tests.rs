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
fn a_pause_is_a_tick_that_comes_much_too_late() {
    let mut pauses = PauseDetector::new();
    assert!(!pauses.tick(START, SECOND));
    assert!(!pauses.tick(after(2000), SECOND));
    assert!(pauses.tick(after(4001), SECOND));
    assert!(!pauses.tick(after(4500), SECOND));
}

#[test]
fn a_member_is_dead_when_its_counter_stands_still_or_its_record_is_gone() {
    let (one, two) = (MemberId(1), MemberId(2));
    let mut observer = MemberObserver::new();
    observer.observe(one, 1, START);
    observer.observe(two, 1, START);
    observer.observe(one, 2, after(3000));
    assert!(!observer.is_dead(two, after(5999)) && observer.is_dead(two, after(6000)));
    assert!(!observer.is_dead(one, after(6000)));
    observer.gone(one, after(6500));
    assert_eq!(observer.dead_since(one, after(7000)), Some(after(6500)));
    observer.restart(after(8000));
    assert!(!observer.is_dead(one, after(13_999)));
    observer.forget(two);
    assert!(observer.known().eq([one]) && !observer.is_dead(two, after(99_000)));
}

proptest! {
    /// On any two clocks whose rates differ by less than 10 %: the client has stopped before its home says so.
    #[test]
    fn a_client_stops_before_its_home_gives_up(
        ttl_ms in 1000u64..600_000,
        client_rate in 0.955f64..1.045,
        home_rate in 0.955f64..1.045,
        way_ms in 0u64..5000,
    ) {
        prop_assume!((client_rate / home_rate - 1.0).abs() < 0.099);
        let ttl = Duration::from_millis(ttl_ms);
        // True time: sent at 0, received after the way. Each deadline, in true time:
        let client = ClientLease::new(ttl, Epoch(1), START).deadline().since(START).div_f64(client_rate);
        let terms = LeaseTerms::new(ttl, Duration::ZERO).unwrap();
        let home = HomeLease::new(terms, START).expires_at().since(START).div_f64(home_rate);
        prop_assert!(client < home + Duration::from_millis(way_ms));
    }

    /// A server has fenced itself before any observer takes it for dead.
    #[test]
    fn a_member_stops_before_it_is_declared_dead(
        own_rate in 0.955f64..1.045,
        observer_rate in 0.955f64..1.045,
        seen_after_ms in 0u64..3000,
    ) {
        prop_assume!((own_rate / observer_rate - 1.0).abs() < 0.099);
        let mut lease = MemberLease::new();
        lease.committed(START);
        let own = lease.deadline().unwrap().since(START).div_f64(own_rate);
        let mut observer = MemberObserver::new();
        observer.observe(MemberId(1), 1, START);
        let dead = MEMBER_TIMEOUT.div_f64(observer_rate) + Duration::from_millis(seen_after_ms);
        prop_assert!(observer.is_dead(MemberId(1), START + MEMBER_TIMEOUT));
        prop_assert!(own < dead);
    }
}
