//! What a new home is told, and what the former one says while the new one has not answered.

use super::*;

fn ask(mode: Mode) -> ConvertAsk {
    ConvertAsk { mode, wait: WaitUntil::Forever, value: ValueUpdate::Keep }
}

fn grant_in(mode: Mode, token: u64) -> Grant {
    Grant { mode, ..grant(token) }
}

fn held(lock: u64, mode: Mode, token: u64) -> (LockId, ClaimState) {
    (LockId(lock), ClaimState::Held(grant_in(mode, token)))
}

impl Bench {
    /// Has its current server go away, and greets another one, which does not answer yet.
    fn greet(&mut self) -> (LinkId, Vec<Claim>) {
        self.receive(LINK, Incoming::Draining { peers: vec![] });
        let (link, _) = self.connect();
        let [Outgoing::Attach { claims, .. }] = &self.send(link)[..] else { panic!("no attach") };
        (link, claims.clone())
    }

    fn granted(&mut self, link: LinkId, request: u64, grant: Grant) {
        self.receive(link, Incoming::Granted { request: RequestId(request), grant });
    }

    /// The new home answers the greeting.
    fn attached(&mut self, link: LinkId, claims: Vec<(LockId, ClaimState)>) {
        self.receive(link, Incoming::Attached { terms: terms(2, 100), claims });
    }

    /// The new home does not take the session: nothing has happened.
    fn turned_away(&mut self, link: LinkId) {
        let draining = LinkError::TurnedAway(Error::unavailable("draining"));
        self.receive(link, Incoming::Refused(draining));
    }

    fn convert(&mut self, lock: u64, mode: Mode) {
        assert!(self.machine.convert(LockId(lock), ask(mode)));
    }

    /// What the operations came to.
    fn outcomes(&mut self) -> Vec<(LockId, Outcome)> {
        let outcome = |effect| match effect {
            Effect::Outcome { lock, outcome } => Some((lock, outcome)),
            Effect::Lost { lock, reason } => panic!("{lock:?} is lost: {reason}"),
            _ => None,
        };
        self.effects().into_iter().filter_map(outcome).collect()
    }
}

/// The former home may have granted it from its memory, and have died since.
#[test]
fn a_lock_that_the_former_home_granted_after_the_claims_is_asked_for_again() {
    let mut bench = Bench::opened(&["a", "b"]);
    bench.acquire(1);
    bench.acquire(2);
    assert_eq!(bench.requests(LINK).len(), 2);
    let (link, claims) = bench.greet();
    assert!(claims.iter().all(|claim| claim.token.is_none() && claim.mode.is_none()), "{claims:?}");
    for lock in [1, 2] {
        bench.granted(LINK, lock, grant(lock));
    }
    assert!(bench.outcomes().is_empty(), "nobody may act on it");
    bench.machine.withdraw(LockId(1));
    assert_eq!(bench.requests(LINK), []);
    bench.attached(link, vec![(LockId(1), ClaimState::Absent), (LockId(2), ClaimState::Absent)]);
    assert!(bench.outcomes().is_empty());
    let again = acquire_request(2, Patience::Forever);
    assert_eq!(bench.requests(link), [(RequestId(3), cancel_request(1, true)), (RequestId(4), again)]);
    bench.granted(link, 4, grant(9));
    let outcomes = bench.outcomes();
    let [(LockId(2), Outcome::Granted(granted))] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(granted.token, grant(9).token, "as the new home has it");
}

#[test]
fn a_grant_after_the_claims_is_asked_for_again_at_the_former_home_where_the_session_stays_there() {
    let mut bench = Bench::opened(&["a", "b"]);
    bench.acquire(1);
    bench.requests(LINK);
    let (link, _) = bench.greet();
    bench.granted(LINK, 1, grant(1));
    bench.turned_away(link);
    assert!(bench.outcomes().is_empty());
    assert_eq!(bench.requests(LINK), [(RequestId(2), acquire_request(1, Patience::Forever))]);
    bench.granted(LINK, 2, grant(1));
    let outcomes = bench.outcomes();
    assert!(matches!(outcomes[..], [(LockId(1), Outcome::Granted(_))]), "{outcomes:?}");
}

#[test]
fn a_grant_after_the_claims_is_claimed_as_a_wait_at_the_next_server() {
    let mut bench = Bench::opened(&["a", "b"]);
    bench.acquire(1);
    bench.requests(LINK);
    let (link, _) = bench.greet();
    bench.granted(LINK, 1, grant(1));
    bench.break_link(link);
    let (link, claims) = bench.reattach(2);
    let waits = Claim { lock: LockId(1), resource: resource(1), token: None, mode: None, waiting: None };
    assert_eq!(claims, [waits]);
    assert_eq!(bench.requests(link), [(RequestId(2), acquire_request(1, Patience::Forever))]);
}

#[test]
fn a_conversion_up_that_the_former_home_did_after_the_claims_is_asked_for_again() {
    for stays in [false, true] {
        let mut bench = Bench::opened(&["a", "b"]);
        bench.acquire(1);
        bench.requests(LINK);
        bench.granted(LINK, 1, grant_in(Mode::ProtectedRead, 1));
        bench.outcomes();
        bench.convert(1, Mode::Exclusive);
        bench.requests(LINK);
        let (link, claims) = bench.greet();
        assert_eq!(claims[0].mode, Some(Mode::ProtectedRead));
        bench.granted(LINK, 2, grant(2));
        assert!(bench.outcomes().is_empty());
        let home = if stays {
            bench.turned_away(link);
            LINK
        } else {
            bench.attached(link, vec![held(1, Mode::ProtectedRead, 1)]);
            link
        };
        assert!(bench.outcomes().is_empty());
        let [(RequestId(3), Request::Convert { mode: Mode::Exclusive, .. })] = bench.requests(home)[..]
        else {
            panic!("not asked for again")
        };
        bench.granted(home, 3, grant(3));
        let outcomes = bench.outcomes();
        assert!(matches!(outcomes[..], [(LockId(1), Outcome::Granted(_))]), "{outcomes:?}");
    }
}

/// A conversion that was given up counts no more than another one.
#[test]
fn a_conversion_up_that_was_given_up_and_done_after_the_claims_is_not_counted_on() {
    let mut bench = Bench::opened(&["a", "b"]);
    bench.acquire(1);
    bench.requests(LINK);
    bench.granted(LINK, 1, grant_in(Mode::ProtectedRead, 1));
    bench.convert(1, Mode::Exclusive);
    bench.requests(LINK);
    assert!(bench.machine.cancel_conversion(LockId(1)));
    bench.requests(LINK);
    bench.outcomes();
    let (link, claims) = bench.greet();
    assert_eq!(claims[0].mode, Some(Mode::ProtectedRead));
    bench.granted(LINK, 2, grant(2));
    bench.granted(LINK, 3, grant(2));
    assert!(bench.outcomes().is_empty());
    bench.attached(link, vec![held(1, Mode::ProtectedRead, 1)]);
    assert_eq!(bench.requests(link), [(RequestId(4), cancel_request(1, false))]);
    bench.granted(link, 4, grant_in(Mode::ProtectedRead, 1));
    let outcomes = bench.outcomes();
    let [(LockId(1), Outcome::Converted { mode: Mode::ProtectedRead, .. })] = outcomes[..] else {
        panic!("{outcomes:?}")
    };
}

#[test]
fn a_conversion_down_is_claimed_as_done_and_its_answer_counts_after_the_claims() {
    let mut bench = Bench::opened(&["a", "b"]);
    bench.hold(LINK, 1);
    bench.convert(1, Mode::ProtectedRead);
    bench.requests(LINK);
    let (link, claims) = bench.greet();
    assert_eq!(claims[0].mode, Some(Mode::ProtectedRead));
    bench.granted(LINK, 2, grant_in(Mode::ProtectedRead, 1));
    let outcomes = bench.outcomes();
    assert!(matches!(outcomes[..], [(LockId(1), Outcome::Granted(_))]), "{outcomes:?}");
    // What the new home has read may be older.
    bench.attached(link, vec![held(1, Mode::Exclusive, 1)]);
    assert!(bench.outcomes().is_empty());
    assert_eq!(bench.requests(link), []);
    bench.break_link(link);
    let (_, claims) = bench.reattach(3);
    assert_eq!(claims[0].mode, Some(Mode::ProtectedRead));
}

#[test]
fn a_conversion_down_that_was_given_up_is_claimed_as_done_until_it_is_known() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.convert(1, Mode::ProtectedRead);
    bench.requests(LINK);
    assert!(bench.machine.cancel_conversion(LockId(1)));
    bench.effects();
    bench.break_link(LINK);
    let (link, claims) = bench.reattach(2);
    assert_eq!(claims[0].mode, Some(Mode::ProtectedRead));
    let [(request, Request::Cancel { .. })] = bench.requests(link)[..] else { panic!("no cancel") };
    bench.granted(link, request.0, grant(1));
    bench.effects();
    bench.break_link(link);
    let (_, claims) = bench.reattach(3);
    assert_eq!(claims[0].mode, Some(Mode::Exclusive));
}

/// Of a conversion to a mode that is neither above nor below, it is not known which of both is held.
#[test]
fn a_conversion_to_the_side_is_claimed_as_what_is_certain() {
    let mut bench = Bench::opened(&["a"]);
    bench.acquire(1);
    let [(request, _)] = bench.requests(LINK)[..] else { panic!("one request") };
    bench.granted(LINK, request.0, grant_in(Mode::ConcurrentWrite, 1));
    bench.convert(1, Mode::ProtectedRead);
    bench.requests(LINK);
    bench.effects();
    bench.break_link(LINK);
    let (_, claims) = bench.reattach(2);
    assert_eq!(claims[0].mode, Some(Mode::ConcurrentRead));
}

/// A value block is in the store before it is told to be written: the new home finds there what became of the conversion.
#[test]
fn a_conversion_down_that_writes_a_value_is_claimed_as_held() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    let value = ValueUpdate::Write(ValueBlock::new("7").unwrap());
    assert!(bench.machine.convert(LockId(1), ConvertAsk { value, ..ask(Mode::ProtectedRead) }));
    bench.requests(LINK);
    bench.effects();
    bench.break_link(LINK);
    let (_, claims) = bench.reattach(2);
    assert_eq!(claims[0].mode, Some(Mode::Exclusive));
}

/// Nobody has heard of it: what it is to end must be there.
#[test]
fn a_lock_whose_release_was_never_sent_is_claimed() {
    let mut bench = Bench::opened(&["a"]);
    (1..=2).for_each(|lock| bench.hold(LINK, lock));
    assert!(bench.machine.release(LockId(1), ValueUpdate::Keep));
    bench.requests(LINK);
    assert!(bench.machine.release(LockId(2), ValueUpdate::Keep));
    bench.effects();
    bench.break_link(LINK);
    let (link, claims) = bench.reattach(2);
    let claimed: Vec<LockId> = claims.iter().map(|claim| claim.lock).collect();
    assert_eq!(claimed, [LockId(2)]);
    assert_eq!(bench.requests(link).len(), 2, "both are released");
}

#[test]
fn a_conversion_that_was_never_sent_or_was_refused_is_not_claimed() {
    let mut bench = Bench::opened(&["a"]);
    (1..=2).for_each(|lock| bench.hold(LINK, lock));
    bench.convert(1, Mode::Null);
    let [(request, _)] = bench.requests(LINK)[..] else { panic!("one request") };
    let error = Error::InvalidArgument { field: "mode".to_owned(), message: "no".to_owned() };
    bench.receive(LINK, Incoming::Failed { request, error });
    bench.convert(2, Mode::Null);
    bench.effects();
    bench.break_link(LINK);
    let (_, claims) = bench.reattach(2);
    assert_eq!(claims.len(), 2);
    assert!(claims.iter().all(|claim| claim.mode == Some(Mode::Exclusive)), "{claims:?}");
}

/// One lock of the service with two ids, by a re-entrant acquire.
#[test]
fn those_who_share_a_lock_claim_it_in_the_same_mode() {
    let mut bench = Bench::opened(&["a"]);
    for lock in [1, 2] {
        let (mode, wait) = (Mode::Exclusive, WaitUntil::Forever);
        let ask = AcquireAsk { resource: resource(1), mode, wait, reentrant: true, report_position: false };
        bench.machine.acquire(LockId(lock), ask);
        bench.requests(LINK);
        bench.granted(LINK, lock, Grant { holds: lock as u32, ..grant(1) });
    }
    let modes = |claims: &[Claim]| claims.iter().map(|claim| claim.mode.unwrap()).collect::<Vec<_>>();
    bench.convert(1, Mode::ProtectedRead);
    bench.requests(LINK);
    bench.effects();
    bench.break_link(LINK);
    let (link, claims) = bench.reattach(2);
    assert_eq!(modes(&claims), [Mode::ProtectedRead; 2], "it may be done");
    let [(request, _)] = bench.requests(link)[..] else { panic!("one request") };
    bench.granted(link, request.0, Grant { holds: 2, ..grant_in(Mode::ProtectedRead, 1) });
    bench.effects();
    bench.break_link(link);
    let (link, claims) = bench.reattach(3);
    assert_eq!(modes(&claims), [Mode::ProtectedRead; 2], "it is done");
    bench.convert(2, Mode::Exclusive);
    let [(request, _)] = bench.requests(link)[..] else { panic!("one request") };
    bench.granted(link, request.0, Grant { holds: 2, ..grant(5) });
    bench.effects();
    bench.break_link(link);
    let (_, claims) = bench.reattach(4);
    assert_eq!(modes(&claims), [Mode::Exclusive; 2]);
    assert!(claims.iter().all(|claim| claim.token == Token::from_u64(5)), "{claims:?}");
}
