//! Heartbeats, deadlines and jeopardy.

use super::*;

fn heartbeat(bench: &mut Bench) -> u64 {
    match bench.send(LINK)[..] {
        [Outgoing::Heartbeat { epoch: Epoch(1), nonce }] => nonce,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn heartbeats_come_every_third_of_the_time_to_live_and_count_from_their_sending() {
    let mut bench = Bench::opened(&["a"]);
    bench.pass(TTL / 3 - ms(1));
    assert_eq!(bench.send(LINK), []);
    bench.pass(ms(1));
    let sent = bench.now;
    let nonce = heartbeat(&mut bench);
    assert_eq!(bench.send(LINK), [], "once");
    bench.pass(ms(400));
    bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(1), nonce });
    match bench.effects()[..] {
        [Effect::Deadline(deadline)] => assert_eq!(deadline, sent + TTL - MARGIN),
        ref other => panic!("{other:?}"),
    }
    bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(1), nonce });
    assert!(bench.effects().is_empty(), "an acknowledgement counts once");
}

#[test]
fn an_acknowledgement_of_another_epoch_or_nonce_counts_for_nothing() {
    let mut bench = Bench::opened(&["a"]);
    bench.pass(TTL / 3);
    let nonce = heartbeat(&mut bench);
    bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(2), nonce });
    bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(1), nonce: nonce ^ 1 });
    assert!(bench.effects().is_empty());
}

#[test]
fn half_a_time_to_live_of_silence_makes_it_try_another_server_and_keep_the_old_link() {
    let mut bench = Bench::opened(&["a", "b"]);
    bench.pass(TTL / 2 - ms(1));
    assert!(bench.effects().is_empty());
    bench.pass(ms(1));
    let (link, endpoint) = bench.connect();
    assert_eq!((link, endpoint.as_str()), (SECOND, "b"));
    assert!(matches!(bench.send(SECOND)[..], [Outgoing::Attach { .. }]));
    bench.receive(SECOND, Incoming::Attached { terms: terms(2, 100), claims: vec![] });
    assert!(matches!(
        bench.effects()[..],
        [
            Effect::Disconnect { link: LINK },
            Effect::Deadline(_),
            Effect::Event(SessionEvent::Reattached { .. })
        ]
    ));
}

#[test]
fn at_the_deadline_it_is_in_jeopardy_and_goes_on_attaching() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.break_link(LINK);
    let deadline = bench.now + TTL - MARGIN;
    let mut jeopardy = None;
    while bench.now < deadline + ms(5000) {
        for effect in bench.effects() {
            match effect {
                Effect::Connect { link, .. } => bench.break_link(link),
                Effect::Jeopardy => jeopardy = Some(bench.now),
                _ => {}
            }
        }
        let next = bench.machine.poll_timeout(bench.now).expect("it goes on");
        assert!(next > bench.now, "the timer spins");
        bench.now = next;
    }
    assert_eq!(jeopardy, Some(deadline));
    let (link, claims) = bench.reattach(2);
    assert_eq!(claims.len(), 1);
    assert!(matches!(
        bench.effects()[..],
        [.., Effect::Deadline(_), Effect::Event(SessionEvent::Reattached { .. })]
    ));
    assert!(bench.requests(link).is_empty());
}

#[test]
fn an_acknowledgement_after_the_deadline_comes_after_jeopardy() {
    let mut bench = Bench::opened(&["a"]);
    bench.pass(TTL / 3);
    let nonce = heartbeat(&mut bench);
    // Not told of the time that passed, as a driver that was paused.
    bench.now = bench.now + TTL;
    bench.now = bench.now - ms(1100);
    bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(1), nonce });
    let effects: Vec<_> = std::iter::from_fn(|| bench.machine.poll_effect()).collect();
    assert!(
        matches!(
            effects[..],
            [
                Effect::Jeopardy,
                Effect::Event(SessionEvent::Jeopardy { .. }),
                Effect::Deadline(_),
                Effect::Event(SessionEvent::Reattached { .. })
            ]
        ),
        "{effects:?}"
    );
}

#[test]
fn a_grant_in_jeopardy_is_delivered_when_the_lease_is_good_again() {
    let mut bench = Bench::opened(&["a"]);
    bench.acquire(1);
    let requests = bench.requests(LINK);
    bench.pass(TTL - MARGIN);
    assert!(matches!(bench.effects()[..], [.., Effect::Jeopardy, Effect::Event(_)]));
    bench.receive(LINK, Incoming::Granted { request: requests[0].0, grant: grant(1) });
    assert!(bench.effects().is_empty(), "nobody may act on it yet");
    let nonce = heartbeat(&mut bench);
    bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(1), nonce });
    assert!(matches!(bench.effects()[..], [Effect::Deadline(_), Effect::Event(_)]));
    bench.pass(ms(100));
    let requests = bench.requests(LINK);
    assert_eq!(requests, [(RequestId(2), acquire_request(1, Patience::Forever))]);
    bench.receive(LINK, Incoming::Granted { request: RequestId(2), grant: grant(1) });
    assert!(matches!(bench.effects()[..], [Effect::Outcome { outcome: Outcome::Granted(_), .. }]));
}

#[test]
fn it_gives_up_long_after_the_session_must_have_expired() {
    let mut bench = Bench::opened(&["a"]);
    bench.break_link(LINK);
    let deadline = bench.now + TTL - MARGIN;
    loop {
        for effect in bench.effects() {
            match effect {
                Effect::Connect { link, .. } => bench.break_link(link),
                Effect::Finished(end) => {
                    assert!(matches!(end, End::Lost(LossReason::Unreachable)));
                    assert_eq!(bench.now, deadline + TTL + GIVE_UP_AFTER);
                    return;
                }
                _ => {}
            }
        }
        bench.now = bench.machine.poll_timeout(bench.now).expect("it goes on");
    }
}
