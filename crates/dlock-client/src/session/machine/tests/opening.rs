//! Opening a session.

use super::*;

#[test]
fn requests_wait_for_the_session_and_go_out_in_one_frame() {
    let mut bench = Bench::new(&["a"]);
    bench.acquire(1);
    bench.acquire_with(2, WaitUntil::Try);
    let (link, endpoint) = bench.connect();
    assert_eq!((link, endpoint.as_str()), (LINK, "a"));
    assert_eq!(bench.send(link), [Outgoing::Open { ttl: TTL, lock_delay: Duration::ZERO }]);
    assert_eq!(bench.send(link), [], "nothing else before the answer");
    bench.receive(link, Incoming::Opened { session: SessionId(7), secret: secret(), terms: terms(1, 100) });
    assert_eq!(
        bench.send(link),
        [
            Outgoing::Request(RequestId(1), acquire_request(1, Patience::Forever)),
            Outgoing::Request(RequestId(2), acquire_request(2, Patience::Try)),
        ]
    );
}

#[test]
fn it_fails_when_every_server_was_tried_once() {
    let mut bench = Bench::new(&["a", "b"]);
    let (first, endpoint) = bench.connect();
    assert_eq!(endpoint, "a");
    bench.break_link(first);
    bench.pass(ms(100));
    let (second, endpoint) = bench.connect();
    assert_eq!(endpoint, "b");
    bench.break_link(second);
    assert!(matches!(
        bench.effects()[..],
        [Effect::Disconnect { .. }, Effect::Finished(End::OpenFailed(Error::Unavailable { .. }))]
    ));
    assert_eq!(bench.machine.poll_timeout(bench.now), None, "nothing is left to do");
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let mut bench = Bench::new(&["a"]);
    bench.connect();
    bench.pass(ms(4999));
    assert!(bench.effects().is_empty());
    bench.pass(ms(1));
    assert!(matches!(bench.effects()[..], [Effect::Disconnect { link: LINK }, Effect::Finished(_)]));
}

#[test]
fn a_refusal_that_no_other_server_would_take_back_ends_it_at_once() {
    let mut bench = Bench::new(&["a", "b"]);
    let (link, _) = bench.connect();
    let refused = LinkError::Refused(Error::PermissionDenied { message: "who are you".to_owned() });
    bench.machine.handle_disconnected(link, refused, bench.now);
    assert!(matches!(
        bench.effects()[..],
        [Effect::Finished(End::OpenFailed(Error::PermissionDenied { .. }))]
    ));
}
