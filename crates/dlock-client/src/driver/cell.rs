//! What guards and the driver share: until when the lease is good, and whether a lock was lost.
//!
//! The rule that the two sides keep together: *once a guard has been seen invalid it never is valid again*, even when
//! the lease is extended after its deadline. The driver marks the locks as lost first and moves the deadline then; a
//! guard reads the deadline first and looks for the mark then. So whoever reads the new deadline sees the mark, too.

use crate::LossReason;
use dlock_core::{LockId, Mode, SessionId, Timestamp, Token};
use dlock_runtime::Clock;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What all guards of a session share with its driver.
pub(crate) struct SessionCell {
    clock: Arc<dyn Clock>,
    /// Until when the lease is good, in nanoseconds; 0 before the session is opened.
    deadline: AtomicU64,
    session: OnceLock<SessionId>,
    last_lock: AtomicU64,
}

impl SessionCell {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> SessionCell {
        SessionCell {
            clock,
            deadline: AtomicU64::new(0),
            session: OnceLock::new(),
            last_lock: AtomicU64::new(0),
        }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The driver: the lease is good until then.
    pub(crate) fn set_deadline(&self, deadline: Timestamp) {
        self.deadline.store(deadline.0, Ordering::Release);
    }

    pub(crate) fn deadline(&self) -> Timestamp {
        Timestamp(self.deadline.load(Ordering::Acquire))
    }

    /// The driver: the session is open.
    pub(crate) fn set_session(&self, session: SessionId) {
        // A session is opened once.
        let _ = self.session.set(session);
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        self.session.get().copied()
    }

    /// A lock id that was never used in this session.
    pub(crate) fn next_lock(&self) -> LockId {
        LockId(self.last_lock.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// What one lock's guard shares with the driver.
pub(crate) struct LockCell {
    loss: OnceLock<LossReason>,
    /// Made when it is first asked for: most guards are never asked.
    lost: Mutex<Option<CancellationToken>>,
    held: Arc<HeldCell>,
}

/// How a lock is held: the same for all guards that share it by re-entrance.
struct HeldCell {
    mode: Mutex<HeldMode>,
    /// The most restrictive mode wanted by others since the mode held last changed. Made when it is first needed: most
    /// locks never block anybody.
    blocking: OnceLock<watch::Sender<Option<Mode>>>,
}

/// The mode held, as the service last said, and what may have changed it since.
struct HeldMode {
    mode: Mode,
    token: Token,
    given_up: Vec<GivenUp>,
}

/// Conversions that their callers have given up without knowing what came of them.
struct GivenUp {
    /// The lock as which they were asked for.
    lock: LockId,
    /// What all of their modes cover.
    to: Mode,
    /// How many of them the driver has not been told of yet: what it hears of the service may be older.
    untold: u32,
}

impl LockCell {
    /// A lock that was just granted.
    pub(crate) fn new(mode: Mode, token: Token) -> LockCell {
        let mode = Mutex::new(HeldMode { mode, token, given_up: Vec::new() });
        let held = HeldCell { mode, blocking: OnceLock::new() };
        LockCell { loss: OnceLock::new(), lost: Mutex::new(None), held: Arc::new(held) }
    }

    /// One more acquire of a lock that is held.
    pub(crate) fn sharing(&self) -> LockCell {
        LockCell { loss: OnceLock::new(), lost: Mutex::new(None), held: self.held.clone() }
    }

    /// The driver: the lock is lost. The first reason stays.
    pub(crate) fn lose(&self, reason: LossReason) {
        if self.loss.set(reason).is_ok() {
            // A token that is made from now on finds the loss.
            let lost = self.lost.lock().clone();
            if let Some(lost) = lost {
                lost.cancel();
            }
        }
    }

    pub(crate) fn loss(&self) -> Option<LossReason> {
        self.loss.get().copied()
    }

    /// Cancelled when the lock is lost.
    pub(crate) fn lost(&self) -> CancellationToken {
        let lost = self.lost.lock().get_or_insert_default().clone();
        // The lock may have been lost before there was a token to cancel.
        if self.loss.get().is_some() {
            lost.cancel();
        }
        lost
    }

    /// The guard: a conversion to this mode may have been done, or may be yet. Until the driver knows, only what it
    /// has in common with the mode held is sure.
    pub(crate) fn give_up_conversion(&self, lock: LockId, to: Mode) {
        let mut held = self.held.mode.lock();
        match held.given_up.iter_mut().find(|given_up| given_up.lock == lock) {
            Some(given_up) => {
                given_up.to = given_up.to.meet(to);
                given_up.untold += 1;
            }
            None => held.given_up.push(GivenUp { lock, to, untold: 1 }),
        }
    }

    /// The driver: it was told that a conversion was given up. `settled` if nothing of it is under way: the mode is the
    /// one that the service last said.
    pub(crate) fn conversion_given_up(&self, lock: LockId, settled: bool) {
        let mut held = self.held.mode.lock();
        if let Some(given_up) = held.given_up.iter_mut().find(|given_up| given_up.lock == lock) {
            given_up.untold = given_up.untold.saturating_sub(1);
        }
        if settled {
            held.settle(lock);
        }
    }

    /// The driver: the service has said, to the guard of this lock, that it is held thus.
    pub(crate) fn set_held(&self, lock: LockId, mode: Mode, token: Token) {
        let mut held = self.held.mode.lock();
        (held.mode, held.token) = (mode, token);
        held.settle(lock);
        drop(held);
        // What others want of the new mode is yet to be said.
        if let Some(blocking) = self.held.blocking.get() {
            blocking.send_if_modified(|wanted| {
                *wanted = None;
                false
            });
        }
    }

    /// The mode held for sure, and its token.
    pub(crate) fn held(&self) -> (Mode, Token) {
        let held = self.held.mode.lock();
        let sure = held.given_up.iter().fold(held.mode, |sure, given_up| sure.meet(given_up.to));
        (sure, held.token)
    }

    /// The driver: others want this mode.
    pub(crate) fn set_blocking(&self, wanted: Mode) {
        self.held.blocking.get_or_init(watch::Sender::default).send_replace(Some(wanted));
    }

    pub(crate) fn blocking(&self) -> watch::Receiver<Option<Mode>> {
        let mut receiver = self.held.blocking.get_or_init(watch::Sender::default).subscribe();
        receiver.mark_changed();
        receiver
    }

    /// Whether the lock is held for sure at this moment.
    pub(crate) fn is_valid(&self, session: &SessionCell) -> bool {
        // In this order; see the module's documentation. The clock is read after the deadline, so that time spent
        // between the two counts against us.
        let deadline = session.deadline();
        session.clock().now() < deadline && self.loss().is_none()
    }
}

impl HeldMode {
    /// It is known what came of the conversions of this lock that the driver was told of.
    fn settle(&mut self, lock: LockId) {
        self.given_up.retain(|given_up| given_up.lock != lock || given_up.untold > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlock_runtime::SimulatedClock;
    use futures::{FutureExt, StreamExt};
    use std::time::Duration;
    use tokio_stream::wrappers::WatchStream;

    fn session() -> SessionCell {
        SessionCell::new(Arc::new(SimulatedClock::new(1.0)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_is_valid_until_the_deadline_and_not_at_it() {
        let (session, lock) = (session(), LockCell::new(Mode::Exclusive, Token::ZERO));
        assert!(!lock.is_valid(&session), "nothing is sure before the session is opened");
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
        cell.give_up_conversion(lock, Mode::ConcurrentWrite);
        assert_eq!(cell.held().0, Mode::ConcurrentRead);
        cell.conversion_given_up(lock, false);
        assert_eq!(cell.held().0, Mode::ConcurrentRead, "its cancellation is on its way");
        cell.give_up_conversion(lock, Mode::Null);
        cell.set_held(lock, Mode::ConcurrentWrite, Token::ZERO);
        assert_eq!(cell.held().0, Mode::Null, "this was not about the second one");
        cell.conversion_given_up(lock, true);
        assert_eq!(cell.held().0, Mode::ConcurrentWrite);
    }

    #[test]
    fn what_settles_one_guards_conversion_does_not_settle_anothers() {
        let one = LockCell::new(Mode::Exclusive, Token::ZERO);
        let other = one.sharing();
        one.give_up_conversion(LockId(1), Mode::ProtectedRead);
        other.give_up_conversion(LockId(2), Mode::ConcurrentRead);
        one.conversion_given_up(LockId(1), false);
        other.conversion_given_up(LockId(2), true);
        assert_eq!((one.held().0, other.held().0), (Mode::ProtectedRead, Mode::ProtectedRead));
        one.set_held(LockId(1), Mode::Exclusive, Token::ZERO);
        assert_eq!(other.held().0, Mode::Exclusive);
    }

    #[test]
    fn lock_ids_are_never_used_again() {
        let session = SessionCell::new(Arc::new(dlock_runtime::BootClock));
        assert_eq!([session.next_lock(), session.next_lock()], [LockId(1), LockId(2)]);
    }
}
