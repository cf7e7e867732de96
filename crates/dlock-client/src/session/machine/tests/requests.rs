//! Requests and their answers.

use super::*;

fn outcome(bench: &mut Bench) -> Outcome {
    match &bench.effects()[..] {
        [Effect::Outcome { outcome, .. }] => outcome.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wait_is_sent_as_what_is_left_of_it() {
    let mut bench = Bench::opened(&["a"]);
    bench.acquire_with(1, WaitUntil::deadline(bench.now, ms(3000)));
    bench.pass(ms(1000));
    assert_eq!(bench.requests(LINK), [(RequestId(1), acquire_request(1, Patience::For(ms(2000))))]);
    bench.break_link(LINK);
    let (link, _) = bench.reattach(2);
    assert_eq!(bench.requests(link), [(RequestId(2), acquire_request(1, Patience::For(ms(1900))))]);
}

#[test]
fn the_window_is_kept_and_what_gives_back_has_a_part_of_it_to_itself() {
    let mut bench = Bench::new(&["a"]);
    let (link, _) = bench.connect();
    bench.send(link);
    bench.receive(link, Incoming::Opened { session: SessionId(7), secret: secret(), terms: terms(1, 4) });
    bench.effects();
    bench.hold(link, 1);
    (2..10).for_each(|lock| bench.acquire(lock));
    assert_eq!(bench.requests(link).len(), 3, "one of four places is kept free");
    bench.machine.release(LockId(1), ValueUpdate::Keep);
    assert_eq!(bench.requests(link), [(RequestId(5), release_request(1))]);
    bench.receive(link, Incoming::Released { request: RequestId(5) });
    assert!(matches!(outcome(&mut bench), Outcome::Released));
    bench.receive(link, Incoming::Granted { request: RequestId(2), grant: grant(2) });
    assert_eq!(bench.requests(link), [(RequestId(6), acquire_request(5, Patience::Forever))]);
}

#[test]
fn frames_taken_in_are_acknowledged_before_the_server_stops_sending() {
    let mut bench = Bench::opened(&["a"]);
    bench.receive(LINK, Incoming::Blocking { lock: LockId(1), wanted: Mode::Exclusive, resource: None });
    let credit = Frame { received: 2, messages: vec![] };
    assert_eq!(bench.machine.poll_frame(LINK, bench.now), Some(credit), "a quarter of 8, with the opening");
    assert_eq!(bench.machine.poll_frame(LINK, bench.now), None);
    bench.receive(LINK, Incoming::Blocking { lock: LockId(1), wanted: Mode::Exclusive, resource: None });
    assert_eq!(bench.machine.poll_frame(LINK, bench.now), None);
    bench.acquire(1);
    let frame = bench.machine.poll_frame(LINK, bench.now).expect("the acquire");
    assert_eq!((frame.received, frame.messages.len()), (3, 1), "it goes along with what is sent anyway");
}

#[test]
fn a_frame_is_never_longer_than_the_server_takes() {
    let mut bench = Bench::opened(&["a"]);
    (1..=87).for_each(|lock| bench.acquire(lock));
    let mut requests = 0;
    while let Some(frame) = bench.machine.poll_frame(LINK, bench.now) {
        let bytes: usize = frame
            .messages
            .iter()
            .map(|message| match message {
                Outgoing::Request(_, request) => request.bytes(),
                other => panic!("{other:?}"),
            })
            .sum();
        assert!(bytes + FRAME_OVERHEAD_BYTES <= 16 * 1024);
        requests += frame.messages.len();
    }
    assert_eq!(requests, 87);
}

#[test]
fn an_unavailable_service_is_asked_again_and_the_lock_withdrawn_in_the_end() {
    let mut bench = Bench::opened(&["a"]);
    bench.acquire(1);
    for attempt in 1..=8 {
        let requests = bench.requests(LINK);
        assert_eq!(requests, [(RequestId(attempt), acquire_request(1, Patience::Forever))]);
        bench.receive(
            LINK,
            Incoming::Failed { request: RequestId(attempt), error: Error::unavailable("no quorum") },
        );
        if attempt < 8 {
            bench.pass(ms(1250));
            assert!(!bench.effects().iter().any(|effect| matches!(effect, Effect::Outcome { .. })));
        }
    }
    assert!(matches!(outcome(&mut bench), Outcome::Failed(Error::Unavailable { .. })));
    assert_eq!(bench.requests(LINK), [(RequestId(9), cancel_request(1, true))]);
}

#[test]
fn a_refusal_is_told_and_leaves_nothing() {
    let mut bench = Bench::opened(&["a"]);
    bench.acquire_with(1, WaitUntil::Try);
    bench.requests(LINK);
    bench.receive(LINK, Incoming::Failed { request: RequestId(1), error: Error::WouldBlock });
    assert!(matches!(outcome(&mut bench), Outcome::Failed(Error::WouldBlock)));
    assert!(bench.machine.locks.is_empty());
}

#[test]
fn a_lost_lock_is_told_and_gone() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.receive(LINK, Incoming::Lost { lock: LockId(1), reason: LossReason::Revoked });
    assert!(matches!(bench.effects()[..], [Effect::Lost { reason: LossReason::Revoked, .. }]));
    assert!(!bench.machine.release(LockId(1), ValueUpdate::Keep));
}

/// A server that can't say what became of a release may see the lock vanish by it, before it is asked again.
#[test]
fn a_lock_that_vanishes_while_its_release_is_repeated_is_released() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    assert!(bench.machine.release(LockId(1), ValueUpdate::Keep));
    let [(request, _)] = bench.requests(LINK)[..] else { panic!("one request") };
    bench.receive(LINK, Incoming::Failed { request, error: Error::unavailable("no quorum") });
    bench.receive(LINK, Incoming::Lost { lock: LockId(1), reason: LossReason::Revoked });
    assert!(matches!(outcome(&mut bench), Outcome::Released));
    assert!(bench.machine.locks.is_empty());
}

#[test]
fn a_lock_that_blocks_others_and_that_nobody_here_knows_is_given_back_and_no_other() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    let blocking = |lock| {
        let (lock, resource) = (LockId(lock), Some(resource(lock)));
        Incoming::Blocking { lock, wanted: Mode::Exclusive, resource }
    };
    bench.receive(LINK, blocking(1));
    assert!(matches!(bench.effects()[..], [Effect::Blocking { lock: LockId(1), .. }]));
    bench.receive(LINK, blocking(9));
    bench.receive(LINK, blocking(9));
    let requests = bench.requests(LINK);
    assert_eq!(requests, [(RequestId(2), cancel_request(9, true))]);
    bench.receive(LINK, Incoming::Released { request: RequestId(2) });
    assert_eq!(bench.requests(LINK), []);
}
