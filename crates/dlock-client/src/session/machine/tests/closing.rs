//! Ending a session.

use super::*;

#[test]
fn locks_are_released_before_the_session_is_closed() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.machine.close(bench.now);
    assert_eq!(bench.send(LINK), [Outgoing::Request(RequestId(2), release_request(1))]);
    bench.receive(LINK, Incoming::Released { request: RequestId(2) });
    assert_eq!(bench.send(LINK), [Outgoing::Close(RequestId(3))]);
    assert_eq!(bench.send(LINK), []);
    bench.receive(LINK, Incoming::Ended { reason: LossReason::Closed });
    assert!(matches!(bench.effects()[..], [.., Effect::Finished(End::Closed { confirmed: true })]));
}

#[test]
fn it_is_bounded_when_no_server_answers() {
    let mut bench = Bench::opened(&["a"]);
    bench.break_link(LINK);
    bench.machine.close(bench.now);
    bench.pass(ms(10_000));
    assert!(matches!(bench.effects()[..], [.., Effect::Finished(End::Closed { confirmed: false })]));
}

#[test]
fn a_session_that_was_never_opened_is_closed_at_once() {
    let mut bench = Bench::new(&["a"]);
    bench.machine.close(bench.now);
    assert!(matches!(bench.effects()[..], [Effect::Finished(End::Closed { confirmed: true })]));
}
