//! Operations that somebody gives up.

use super::*;

#[test]
fn an_acquire_that_was_never_sent_leaves_no_trace() {
    let mut bench = Bench::opened(&["a"]);
    bench.acquire(1);
    bench.machine.withdraw(LockId(1));
    assert_eq!(bench.send(LINK), []);
    assert!(bench.machine.locks.is_empty());
}

#[test]
fn an_acquire_that_was_sent_is_withdrawn_until_that_is_acknowledged() {
    let mut bench = Bench::opened(&["a"]);
    bench.acquire(1);
    bench.requests(LINK);
    bench.machine.withdraw(LockId(1));
    assert_eq!(bench.requests(LINK), [(RequestId(2), cancel_request(1, true))]);
    // The grant was under way, and the link breaks before the answer to the cancel.
    bench.receive(LINK, Incoming::Granted { request: RequestId(1), grant: grant(1) });
    assert!(bench.effects().is_empty(), "nobody is there to be told");
    bench.break_link(LINK);
    let (link, claims) = bench.reattach(2);
    assert_eq!(claims, [], "nobody claims what nobody wants");
    assert_eq!(bench.requests(link), [(RequestId(3), cancel_request(1, true))]);
    bench.receive(link, Incoming::Cancelled { request: RequestId(3) });
    assert!(bench.machine.locks.is_empty());
}

#[test]
fn a_lock_that_was_granted_to_nobody_is_released() {
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    bench.machine.withdraw(LockId(1));
    assert_eq!(bench.requests(LINK), [(RequestId(2), release_request(1))]);
}

#[test]
fn a_new_conversion_waits_for_the_end_of_one_that_was_given_up() {
    let convert = |mode| ConvertAsk { mode, wait: WaitUntil::Forever, value: ValueUpdate::Keep };
    let mut bench = Bench::opened(&["a"]);
    bench.hold(LINK, 1);
    assert!(bench.machine.convert(LockId(1), convert(Mode::ProtectedRead)));
    assert_eq!(bench.requests(LINK).len(), 1);
    assert!(bench.machine.cancel_conversion(LockId(1)));
    assert_eq!(bench.requests(LINK), [(RequestId(3), cancel_request(1, false))]);
    assert!(bench.machine.convert(LockId(1), convert(Mode::Null)));
    assert_eq!(bench.requests(LINK), []);
    // The cancel came too late.
    let converted = Grant { mode: Mode::ProtectedRead, ..grant(1) };
    bench.receive(LINK, Incoming::Granted { request: RequestId(2), grant: converted.clone() });
    bench.receive(LINK, Incoming::Granted { request: RequestId(3), grant: converted });
    assert!(bench.effects().iter().all(|effect| matches!(
        effect,
        Effect::Outcome { outcome: Outcome::Converted { mode: Mode::ProtectedRead, .. }, .. }
    )));
    let [(RequestId(4), Request::Convert { mode: Mode::Null, .. })] = bench.requests(LINK)[..] else {
        panic!("the second conversion is not sent");
    };
}
