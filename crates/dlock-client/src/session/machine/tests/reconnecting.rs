//! Links that break, and servers that go away.

use super::*;

#[test]
fn what_is_held_and_wanted_is_claimed_and_what_has_no_answer_sent_again_in_its_order() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.hold(LINK, 2);
    bench.acquire(3);
    bench.requests(LINK);
    bench.receive(LINK, Incoming::Queued { request: RequestId(3), ahead: 4 });
    bench.machine.release(LockId(2), ValueUpdate::Keep);
    bench.requests(LINK);
    bench.acquire(4);
    bench.effects();
    bench.break_link(LINK);
    let (link, claims) = bench.reattach(2);
    let (waiting, mode) = (Some(RequestId(3)), Some(Mode::Exclusive));
    let held =
        Claim { lock: LockId(1), resource: resource(1), token: Token::from_u64(1), mode, waiting: None };
    let waits = Claim { lock: LockId(3), resource: resource(3), token: None, mode: None, waiting };
    assert_eq!(claims, [held, waits]);
    assert_eq!(
        bench.requests(link),
        [
            (RequestId(5), release_request(2)),
            (RequestId(6), acquire_request(3, Patience::Forever)),
            (RequestId(7), acquire_request(4, Patience::Forever)),
        ]
    );
}

#[test]
fn a_release_that_is_sent_again_and_finds_no_lock_has_worked_the_first_time() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.machine.release(LockId(1), ValueUpdate::Keep);
    bench.requests(LINK);
    bench.break_link(LINK);
    let (link, _) = bench.reattach(2);
    bench.requests(link);
    bench.effects();
    bench.receive(link, Incoming::Failed { request: RequestId(3), error: not_found() });
    assert!(matches!(bench.effects()[..], [Effect::Outcome { outcome: Outcome::Released, .. }]));
}

/// On a store that can't guard a commit by the session, the former home may end the wait after the session has moved. Found by
/// simulation.
#[test]
fn a_wait_that_vanishes_about_when_it_ends_has_timed_out() {
    for (waited, timed_out) in [(ms(2700), true), (ms(2500), false)] {
        let mut bench = Bench::opened(&["a"]);
        bench.acquire_with(1, WaitUntil::deadline(bench.now, ms(3000)));
        bench.requests(LINK);
        bench.break_link(LINK);
        let (link, _) = bench.reattach(2);
        bench.requests(link);
        bench.pass(waited);
        bench.effects();
        bench.receive(link, Incoming::Failed { request: RequestId(2), error: revoked() });
        let effects = bench.effects();
        let [Effect::Outcome { outcome: Outcome::Failed(error), .. }] = &effects[..] else {
            panic!("{effects:?}");
        };
        assert_eq!(matches!(error, Error::WaitTimeout), timed_out, "{error}");
    }
}

#[test]
fn a_wait_that_vanishes_at_its_first_home_was_revoked() {
    let mut bench = Bench::opened(&["a"]);
    bench.acquire_with(1, WaitUntil::deadline(bench.now, ms(3000)));
    bench.requests(LINK);
    bench.pass(ms(2900));
    bench.effects();
    bench.receive(LINK, Incoming::Failed { request: RequestId(1), error: revoked() });
    let effects = bench.effects();
    let [Effect::Outcome { outcome: Outcome::Failed(error), .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert!(matches!(error, Error::LockLost { reason: LossReason::Revoked }), "{error}");
}

#[test]
fn a_release_that_finds_no_lock_at_once_says_so() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.machine.release(LockId(1), ValueUpdate::Keep);
    bench.requests(LINK);
    bench.receive(LINK, Incoming::Failed { request: RequestId(2), error: not_found() });
    assert!(matches!(
        bench.effects()[..],
        [Effect::Outcome { outcome: Outcome::Failed(Error::NotFound { .. }), .. }]
    ));
}

#[test]
fn a_claimed_lock_that_is_not_recorded_is_lost() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.break_link(LINK);
    bench.pass(ms(100));
    let (link, _) = bench.connect();
    bench.send(link);
    bench.receive(
        link,
        Incoming::Attached { terms: terms(2, 100), claims: vec![(LockId(1), ClaimState::Absent)] },
    );
    assert!(
        bench
            .effects()
            .iter()
            .any(|effect| matches!(effect, Effect::Lost { lock: LockId(1), reason: LossReason::Absent }))
    );
}

#[test]
fn attempts_to_attach_have_growing_numbers() {
    let mut bench = Bench::opened(&["a", "b"]);
    bench.break_link(LINK);
    let mut last = 0;
    for _ in 0..3 {
        bench.pass(ms(2_000));
        let (link, _) = bench.connect();
        let [Outgoing::Attach { attempt, .. }] = bench.send(link)[..] else { panic!("no attach") };
        assert!(attempt > last, "{attempt} after {last}");
        last = attempt;
        bench.break_link(link);
    }
}

#[test]
fn a_held_lock_that_the_new_home_says_nothing_of_is_asked_for() {
    let mut bench = Bench::opened(&["a"]);
    (1..=3).for_each(|lock| bench.hold(LINK, lock));
    bench.break_link(LINK);
    bench.pass(ms(100));
    let (link, _) = bench.connect();
    bench.send(link);
    let claims = vec![(LockId(1), ClaimState::Held(grant(1))), (LockId(2), ClaimState::Unknown)];
    bench.receive(link, Incoming::Attached { terms: terms(2, 100), claims });
    bench.effects();
    let query = |lock| Request::Query { lock: LockId(lock), resource: resource(lock) };
    assert_eq!(bench.requests(link), [(RequestId(4), query(2)), (RequestId(5), query(3))]);
    bench.receive(link, Incoming::Granted { request: RequestId(4), grant: grant(2) });
    bench.receive(link, Incoming::Failed { request: RequestId(5), error: not_found() });
    assert!(matches!(
        bench.effects()[..],
        [
            Effect::Outcome { lock: LockId(2), outcome: Outcome::Converted { .. } },
            Effect::Lost { lock: LockId(3), reason: LossReason::Absent }
        ]
    ));
}

#[test]
fn what_has_no_room_among_the_claims_is_found_again_later() {
    let mut bench = Bench::opened(&["a"]);
    (1..=200).for_each(|lock| bench.hold(LINK, lock));
    bench.break_link(LINK);
    let (link, claims) = bench.reattach(2);
    assert!((1..200).contains(&claims.len()), "{}", claims.len());
    let bytes: usize = claims.iter().map(Claim::bytes).sum();
    assert!(bytes + FRAME_OVERHEAD_BYTES <= 16 * 1024);
    assert_eq!(bench.requests(link).len(), 200 - claims.len());
}

#[test]
fn a_server_that_goes_away_is_left_for_another_one_and_used_until_then() {
    let mut bench = Bench::opened(&["a", "b"]);
    bench.receive(LINK, Incoming::Draining { peers: vec![] });
    let (link, endpoint) = bench.connect();
    assert_eq!(endpoint, "b");
    bench.acquire(1);
    assert_eq!(bench.requests(LINK).len(), 1, "the old link still serves");
    assert!(matches!(bench.send(link)[..], [Outgoing::Attach { .. }]));
    bench.acquire(2);
    assert_eq!(bench.requests(LINK), [], "the session may be elsewhere by now");
    bench.receive(link, Incoming::Attached { terms: terms(2, 100), claims: vec![] });
    assert!(matches!(bench.effects()[..], [Effect::Disconnect { link: LINK }, ..]));
    assert_eq!(bench.requests(link).len(), 2);
}

#[test]
fn a_session_that_is_over_is_not_attached_again() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.break_link(LINK);
    bench.pass(ms(100));
    let (link, _) = bench.connect();
    bench.machine.handle_disconnected(link, LinkError::SessionOver(LossReason::Expired), bench.now);
    assert!(matches!(
        bench.effects()[..],
        [
            Effect::Event(SessionEvent::Lost { reason: LossReason::Expired, .. }),
            Effect::Finished(End::Lost(LossReason::Expired))
        ]
    ));
}

#[test]
fn what_an_abandoned_link_says_does_not_count() {
    let mut bench = Bench::opened(&["a"]);
    bench.break_link(LINK);
    let (link, _) = bench.reattach(2);
    bench.effects();
    bench.receive(LINK, Incoming::Ended { reason: LossReason::Expired });
    bench.break_link(LINK);
    assert!(bench.effects().is_empty());
    bench.acquire(1);
    assert_eq!(bench.requests(link).len(), 1);
}

#[test]
fn a_conversion_that_is_sent_again_and_finds_its_value_replaced_was_done_the_first_time() {
    let value = ValueUpdate::Write(ValueBlock::new(vec![1]).unwrap());
    let not_writable =
        || Error::InvalidArgument { field: "value".to_owned(), message: "held in NL".to_owned() };
    for (found, done) in [(Mode::Null, true), (Mode::ProtectedRead, false)] {
        let mut bench = Bench::opened(&["a"]);
        bench.hold(LINK, 1);
        let ask = ConvertAsk { mode: Mode::Null, wait: WaitUntil::Forever, value: value.clone() };
        assert!(bench.machine.convert(LockId(1), ask));
        bench.requests(LINK);
        bench.break_link(LINK);
        let (link, _) = bench.reattach(2);
        let [(again, Request::Convert { .. })] = bench.requests(link)[..] else { panic!("not sent again") };
        bench.effects();
        bench.receive(link, Incoming::Failed { request: again, error: not_writable() });
        assert!(bench.effects().is_empty());
        let [(query, Request::Query { .. })] = bench.requests(link)[..] else { panic!("nobody looks") };
        bench.receive(link, Incoming::Granted { request: query, grant: Grant { mode: found, ..grant(1) } });
        let [Effect::Outcome { outcome, .. }] = &bench.effects()[..] else { panic!("no outcome") };
        assert_eq!(matches!(outcome, Outcome::Granted(_)), done, "{outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Failed(Error::InvalidArgument { .. })), !done);
    }
}

/// Found by simulation: an attachment had taken effect whose answer was lost; its server, which heard nothing more, ended
/// the session, while the former home went on acknowledging heartbeats.
#[test]
fn after_an_attachment_without_an_answer_the_former_home_is_not_relied_on() {
    let mut bench = Bench::opened(&["a", "b"]);
    bench.hold(LINK, 1);
    bench.pass(TTL / 4);
    bench.receive(LINK, Incoming::Draining { peers: vec![] });
    let (link, _) = bench.connect();
    assert!(matches!(bench.send(link)[..], [Outgoing::Attach { .. }]));
    bench.pass(TTL / 10);
    let sent = bench.send(LINK);
    assert!(!sent.iter().any(|message| matches!(message, Outgoing::Heartbeat { .. })), "{sent:?}");
    let broken = LinkError::Broken(Error::unavailable("connection reset"));
    bench.machine.handle_disconnected(link, broken, bench.now);
    let left = |effect: &Effect| matches!(effect, Effect::Disconnect { link: LINK });
    assert!(bench.effects().iter().any(left));
}

/// A lone server that drains serves its sessions until it stops, though they can't attach to it anew.
#[test]
fn a_home_is_kept_while_the_servers_turn_the_session_away() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.receive(LINK, Incoming::Draining { peers: vec![] });
    for _ in 0..20 {
        let (link, _) = bench.connect();
        assert!(matches!(bench.send(link)[..], [Outgoing::Attach { .. }]));
        let draining = LinkError::TurnedAway(Error::unavailable("draining"));
        bench.receive(link, Incoming::Refused(draining));
        let lost = |effect: &Effect| matches!(effect, Effect::Jeopardy | Effect::Disconnect { link: LINK });
        assert!(!bench.effects().iter().any(lost));
        for message in bench.send(LINK) {
            if let Outgoing::Heartbeat { epoch, nonce } = message {
                bench.receive(LINK, Incoming::HeartbeatAck { epoch, nonce });
            }
        }
        bench.pass(TTL / 4);
    }
}
