//! What guards share with the driver (`driver::cell`, the file itself), under all interleavings of its threads and all
//! orders in which a machine's memory may show one thread what another one has written.
//!
//! The mutants at the end are what this must find: each is one rule of that file, not kept.

#[path = "../driver/cell.rs"]
#[allow(dead_code, clippy::duplicate_mod)] // it is the file itself that is explored, on other types
mod cell;

use crate::{LossReason, Mode, Token};
use cell::{LockCell, SessionCell};
use dlock_core::{LockId, Timestamp};
use dlock_runtime::Clock;
use futures::future::BoxFuture;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::panic::catch_unwind;
use std::sync::Arc;

/// The types of `crate::sync` that the file uses, on loom's.
mod sync {
    pub(super) use loom::sync::atomic::AtomicU64;
    use loom::sync::atomic::{AtomicBool, Ordering};

    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no thread has panicked")
        }
    }

    /// As the standard library's: who sees the value sees all that was written before it was set.
    pub(super) struct OnceLock<T> {
        value: std::sync::OnceLock<T>,
        is_set: AtomicBool,
        setting: Mutex<()>,
    }

    impl<T> OnceLock<T> {
        pub(super) fn new() -> OnceLock<T> {
            OnceLock {
                value: std::sync::OnceLock::new(),
                is_set: AtomicBool::new(false),
                setting: Mutex::new(()),
            }
        }

        pub(super) fn get(&self) -> Option<&T> {
            if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
        }

        pub(super) fn set(&self, value: T) -> Result<(), T> {
            let _setting = self.setting.lock();
            self.value.set(value)?;
            self.is_set.store(true, Ordering::Release);
            Ok(())
        }

        pub(super) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
            let _setting = self.setting.lock();
            let value = self.value.get_or_init(init);
            self.is_set.store(true, Ordering::Release);
            value
        }
    }

    /// As far as the file uses it: who sees it cancelled sees all that was written before.
    #[derive(Clone, Default)]
    pub(super) struct CancellationToken(std::sync::Arc<AtomicBool>);

    impl CancellationToken {
        pub(super) fn cancel(&self) {
            self.0.store(true, Ordering::Release);
        }

        pub(super) fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Acquire)
        }
    }
}

/// A clock that one thread moves on; others may see it late.
struct LateClock(AtomicU64);

impl Clock for LateClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    fn unix_ms(&self) -> u64 {
        0
    }

    fn sleep_until(&self, _: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

const BEFORE: Timestamp = Timestamp(1);
const DEADLINE: Timestamp = Timestamp(2);
const AFTER: Timestamp = Timestamp(3);
const LATER_DEADLINE: Timestamp = Timestamp(4);

/// How a guard looks whether it is valid.
type IsValid = fn(&LockCell, &SessionCell) -> bool;
/// What the driver does when the lease is extended, at what it takes for the time.
type Extend = fn(&SessionCell, &LockCell, Timestamp);

/// As `Machine` and `Driver` do.
fn extend(session: &SessionCell, lock: &LockCell, now: Timestamp) {
    if now >= DEADLINE {
        lock.lose(LossReason::Jeopardy);
    }
    session.set_deadline(LATER_DEADLINE);
}

/// The deadline passes, or not yet, and the lease is extended, in time or not, while two threads look at a guard.
fn look_while_the_lease_is_extended(is_valid: IsValid, extend: Extend) {
    loom::model(move || {
        let clock = Arc::new(LateClock(AtomicU64::new(BEFORE.0)));
        let session = Arc::new(SessionCell::new(clock.clone()));
        session.set_deadline(DEADLINE);
        let lock = Arc::new(LockCell::new(Mode::Exclusive, Token::ZERO));
        let driver = {
            let (session, lock) = (session.clone(), lock.clone());
            thread::spawn(move || {
                let now = session.clock().now();
                extend(&session, &lock, now);
            })
        };
        let looking = {
            let (session, lock) = (session.clone(), lock.clone());
            thread::spawn(move || {
                let (first, second) = (is_valid(&lock, &session), is_valid(&lock, &session));
                assert!(first || !second, "valid again");
                second
            })
        };
        clock.0.store(AFTER.0, Ordering::Relaxed);
        driver.join().expect("the driver");
        let seen = looking.join().expect("a look");
        assert!(seen || !is_valid(&lock, &session), "valid again, for another thread");
    });
}

/// The lease is extended too late, while a thread looks at a guard that nobody has looked at since the deadline.
fn look_after_the_deadline(is_valid: IsValid, extend: Extend) {
    loom::model(move || {
        let session = Arc::new(SessionCell::new(Arc::new(LateClock(AtomicU64::new(AFTER.0)))));
        session.set_deadline(DEADLINE);
        let lock = Arc::new(LockCell::new(Mode::Exclusive, Token::ZERO));
        let driver = {
            let (session, lock) = (session.clone(), lock.clone());
            thread::spawn(move || extend(&session, &lock, AFTER))
        };
        assert!(!is_valid(&lock, &session), "valid after the deadline");
        driver.join().expect("the driver");
        assert!(!is_valid(&lock, &session), "valid after the deadline");
    });
}

#[test]
fn a_guard_whose_deadline_passed_is_invalid_also_if_nobody_looked() {
    look_after_the_deadline(LockCell::is_valid, extend);
}

#[test]
fn a_guard_that_was_seen_invalid_is_never_valid_again() {
    look_while_the_lease_is_extended(LockCell::is_valid, extend);
}

#[test]
fn who_hears_of_a_loss_finds_its_reason_and_the_first_one_stays() {
    loom::model(|| {
        let lock = Arc::new(LockCell::new(Mode::Exclusive, Token::ZERO));
        let losing = [LossReason::Jeopardy, LossReason::Revoked].map(|reason| {
            let lock = lock.clone();
            thread::spawn(move || lock.lose(reason))
        });
        let heard = lock.lost().is_cancelled();
        let reason = lock.loss();
        assert!(!heard || reason.is_some(), "lost for no reason");
        losing.into_iter().for_each(|thread| thread.join().expect("a loss"));
        assert!(reason.is_none() || lock.loss() == reason, "the reason has changed");
    });
}

/// The guard has given up a conversion and asks for another one, while the driver hears of the first.
#[test]
fn what_the_service_says_of_one_conversion_does_not_settle_the_next() {
    loom::model(|| {
        let id = LockId(1);
        let lock = Arc::new(LockCell::new(Mode::Exclusive, Token::ZERO));
        let sharing = lock.sharing();
        lock.ask_conversion(id, Mode::ProtectedRead);
        let driver = {
            let lock = lock.clone();
            thread::spawn(move || {
                lock.conversion_given_up(id, false);
                lock.set_held(id, Mode::ProtectedRead, Token::ZERO);
            })
        };
        let looking = thread::spawn(move || {
            assert!(sharing.held().0.at_or_below(Mode::ProtectedRead), "that is not sure any more");
        });
        lock.ask_conversion(id, Mode::Null);
        assert_eq!(lock.held().0, Mode::Null, "it may have been done already");
        driver.join().expect("the driver");
        looking.join().expect("a look");
        assert_eq!(lock.held().0, Mode::Null);
        lock.conversion_given_up(id, true);
        assert_eq!(lock.held().0, Mode::ProtectedRead);
    });
}

/// Whether the exploration fails with this way to look, or this driver.
fn is_found(is_valid: IsValid, extend: Extend) -> bool {
    catch_unwind(|| look_while_the_lease_is_extended(is_valid, extend)).is_err()
        || catch_unwind(|| look_after_the_deadline(is_valid, extend)).is_err()
}

#[test]
fn a_deadline_that_is_moved_before_the_locks_are_marked_is_found() {
    assert!(is_found(LockCell::is_valid, |session, lock, now| {
        session.set_deadline(LATER_DEADLINE);
        if now >= DEADLINE {
            lock.lose(LossReason::Jeopardy);
        }
    }));
}

#[test]
fn a_guard_that_looks_for_the_mark_before_the_deadline_is_found() {
    let is_valid = |lock: &LockCell, session: &SessionCell| {
        let lost = lock.loss().is_some();
        session.clock().now() < session.deadline() && !lost
    };
    assert!(is_found(is_valid, extend));
}

#[test]
fn a_guard_that_does_not_mark_what_it_has_found_is_found() {
    let is_valid = |lock: &LockCell, session: &SessionCell| {
        let deadline = session.deadline();
        session.clock().now() < deadline && lock.loss().is_none()
    };
    assert!(is_found(is_valid, extend));
}
