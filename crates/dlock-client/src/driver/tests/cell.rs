//! What guards and the driver share, one after the other.

use crate::driver::cell::{LockCell, SessionCell};
use crate::{LossReason, Mode, Token};
use dlock_core::LockId;
use dlock_runtime::SimulatedClock;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::WatchStream;

fn session() -> SessionCell {
    SessionCell::new(Arc::new(SimulatedClock::new(1.0)))
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_valid_until_the_deadline_and_not_at_it() {
    let (session, lock) = (session(), LockCell::new(Mode::Exclusive, Token::ZERO));
    assert!(!lock.sharing().is_valid(&session), "nothing is sure before the session is opened");
    session.set_deadline(session.clock().now() + Duration::from_secs(5));
    tokio::time::advance(Duration::from_millis(4999)).await;
    assert!(lock.is_valid(&session));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!lock.is_valid(&session));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_was_lost_stays_lost_for_its_first_reason_when_the_deadline_moves_on() {
    let (session, lock) = (session(), LockCell::new(Mode::Exclusive, Token::ZERO));
    lock.lose(LossReason::Jeopardy);
    session.set_deadline(session.clock().now() + Duration::from_secs(5));
    lock.lose(LossReason::Expired);
    assert!(!lock.is_valid(&session) && lock.lost().is_cancelled());
    assert_eq!(lock.loss(), Some(LossReason::Jeopardy));
}

#[test]
fn a_token_that_is_asked_for_after_the_loss_is_cancelled() {
    let lock = LockCell::new(Mode::Exclusive, Token::ZERO);
    let before = lock.lost().child_token();
    assert!(!before.is_cancelled());
    lock.lose(LossReason::Expired);
    assert!(before.is_cancelled());
    let lock = LockCell::new(Mode::Exclusive, Token::ZERO);
    lock.lose(LossReason::Expired);
    assert!(lock.lost().is_cancelled());
}

#[tokio::test]
async fn what_others_want_is_told_late_comers_too_and_forgotten_with_the_mode_that_kept_it_from_them() {
    let lock = LockCell::new(Mode::Exclusive, Token::ZERO);
    lock.set_blocking(Mode::ProtectedRead);
    let mut wanted = WatchStream::new(lock.blocking()).filter_map(std::future::ready);
    assert_eq!(wanted.next().await, Some(Mode::ProtectedRead));
    lock.set_held(LockId(1), Mode::ProtectedRead, Token::ZERO);
    let mut later = WatchStream::new(lock.blocking()).filter_map(std::future::ready);
    assert_eq!(later.next().now_or_never(), None);
    lock.set_blocking(Mode::Exclusive);
    assert_eq!(wanted.next().await, Some(Mode::Exclusive));
    drop(lock);
    assert_eq!(wanted.next().await, None);
}

#[test]
fn of_a_conversion_that_was_given_up_only_what_is_sure_in_any_case_counts() {
    let (cell, lock) = (LockCell::new(Mode::ProtectedRead, Token::ZERO), LockId(1));
    cell.ask_conversion(lock, Mode::ConcurrentWrite);
    assert_eq!(cell.held().0, Mode::ConcurrentRead);
    cell.conversion_given_up(lock, false);
    assert_eq!(cell.held().0, Mode::ConcurrentRead, "its cancellation is on its way");
    cell.ask_conversion(lock, Mode::Null);
    cell.set_held(lock, Mode::ConcurrentWrite, Token::ZERO);
    assert_eq!(cell.held().0, Mode::Null, "this was not about the second one");
    cell.conversion_given_up(lock, true);
    assert_eq!(cell.held().0, Mode::ConcurrentWrite);
}

#[test]
fn what_settles_one_guards_conversion_does_not_settle_anothers() {
    let one = LockCell::new(Mode::Exclusive, Token::ZERO);
    let other = one.sharing();
    one.ask_conversion(LockId(1), Mode::ProtectedRead);
    other.ask_conversion(LockId(2), Mode::ConcurrentRead);
    one.conversion_given_up(LockId(1), false);
    other.conversion_given_up(LockId(2), true);
    assert_eq!((one.held().0, other.held().0), (Mode::ProtectedRead, Mode::ProtectedRead));
    one.set_held(LockId(1), Mode::Exclusive, Token::ZERO);
    assert_eq!(other.held().0, Mode::Exclusive);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_has_seen_the_deadline_pass_is_lost_even_if_the_driver_extends_the_lease_since() {
    let (session, lock) = (session(), LockCell::new(Mode::Exclusive, Token::ZERO));
    session.set_deadline(session.clock().now() + Duration::from_secs(5));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(!lock.is_valid(&session));
    session.set_deadline(session.clock().now() + Duration::from_secs(5));
    assert!(!lock.is_valid(&session) && lock.lost().is_cancelled());
    assert_eq!(lock.loss(), Some(LossReason::Jeopardy));
}

#[test]
fn a_conversion_that_is_under_way_counts_for_all_guards_of_the_lock_and_not_after_its_answer() {
    let (one, lock) = (LockCell::new(Mode::Exclusive, Token::ZERO), LockId(1));
    let other = one.sharing();
    one.ask_conversion(lock, Mode::ProtectedRead);
    assert_eq!(other.held().0, Mode::ProtectedRead);
    one.conversion_answered(lock);
    assert_eq!(other.held().0, Mode::Exclusive, "it was refused");
}

#[test]
fn lock_ids_are_never_used_again() {
    let session = SessionCell::new(Arc::new(dlock_runtime::BootClock));
    assert_eq!([session.next_lock(), session.next_lock()], [LockId(1), LockId(2)]);
}
