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
    lost: CancellationToken,
    held: Arc<HeldCell>,
}

/// How a lock is held: the same for all guards that share it by re-entrance.
struct HeldCell {
    mode_and_token: Mutex<(Mode, Token)>,
    /// The most restrictive mode wanted by others since the mode held last changed. Made when it is first needed: most
    /// locks never block anybody.
    blocking: OnceLock<watch::Sender<Option<Mode>>>,
}

impl LockCell {
    /// A lock that was just granted.
    pub(crate) fn new(mode: Mode, token: Token) -> LockCell {
        let held = HeldCell { mode_and_token: Mutex::new((mode, token)), blocking: OnceLock::new() };
        LockCell { loss: OnceLock::new(), lost: CancellationToken::new(), held: Arc::new(held) }
    }

    /// One more acquire of a lock that is held.
    pub(crate) fn sharing(&self) -> LockCell {
        LockCell { loss: OnceLock::new(), lost: CancellationToken::new(), held: self.held.clone() }
    }

    /// The driver: the lock is lost. The first reason stays.
    pub(crate) fn lose(&self, reason: LossReason) {
        if self.loss.set(reason).is_ok() {
            self.lost.cancel();
        }
    }

    pub(crate) fn loss(&self) -> Option<LossReason> {
        self.loss.get().copied()
    }

    /// Cancelled when the lock is lost.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// The driver: the lock is held thus.
    pub(crate) fn set_held(&self, mode: Mode, token: Token) {
        *self.held.mode_and_token.lock() = (mode, token);
        // What others want of the new mode is yet to be said.
        if let Some(blocking) = self.held.blocking.get() {
            blocking.send_if_modified(|wanted| {
                *wanted = None;
                false
            });
        }
    }

    pub(crate) fn held(&self) -> (Mode, Token) {
        *self.held.mode_and_token.lock()
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

    #[tokio::test]
    async fn what_others_want_is_told_late_comers_too_and_forgotten_with_the_mode_that_kept_it_from_them() {
        let lock = LockCell::new(Mode::Exclusive, Token::ZERO);
        lock.set_blocking(Mode::ProtectedRead);
        let mut wanted = WatchStream::new(lock.blocking()).filter_map(std::future::ready);
        assert_eq!(wanted.next().await, Some(Mode::ProtectedRead));
        lock.set_held(Mode::ProtectedRead, Token::ZERO);
        let mut later = WatchStream::new(lock.blocking()).filter_map(std::future::ready);
        assert_eq!(later.next().now_or_never(), None);
        lock.set_blocking(Mode::Exclusive);
        assert_eq!(wanted.next().await, Some(Mode::Exclusive));
        drop(lock);
        assert_eq!(wanted.next().await, None);
    }

    #[test]
    fn lock_ids_are_never_used_again() {
        let session = SessionCell::new(Arc::new(dlock_runtime::BootClock));
        assert_eq!([session.next_lock(), session.next_lock()], [LockId(1), LockId(2)]);
    }
}
