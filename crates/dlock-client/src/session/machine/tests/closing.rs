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
fn a_guard_that_goes_while_the_session_is_closed_is_released_once() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.machine.close(bench.now);
    assert_eq!(bench.send(LINK), [Outgoing::Request(RequestId(2), release_request(1))]);
    assert!(bench.machine.release(LockId(1), ValueUpdate::Keep));
    assert_eq!(bench.send(LINK), []);
    bench.receive(LINK, Incoming::Released { request: RequestId(2) });
    assert_eq!(bench.send(LINK), [Outgoing::Close(RequestId(3))]);
}

#[test]
fn a_conversion_that_comes_after_the_close_does_not_keep_the_lock() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.machine.close(bench.now);
    let ask = ConvertAsk { mode: Mode::ProtectedRead, wait: WaitUntil::Forever, value: ValueUpdate::Keep };
    assert!(!bench.machine.convert(LockId(1), ask));
    assert_eq!(bench.send(LINK), [Outgoing::Request(RequestId(2), release_request(1))]);
    bench.receive(LINK, Incoming::Released { request: RequestId(2) });
    assert_eq!(bench.send(LINK), [Outgoing::Close(RequestId(3))]);
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
