//! What guards and the driver share: until when the lease is good, and whether a lock was lost.
//!
//! The rule that the two sides keep together: *once a guard has been seen invalid it never is valid again*, even when
//! the lease is extended after its deadline. The driver marks the locks as lost first and moves the deadline then; a
//! guard reads the deadline first and looks for the mark then. So whoever reads the new deadline sees the mark, too. And
//! a guard that finds the deadline passed marks its lock itself: the driver, which looked at the clock a moment earlier,
//! may be about to move that deadline.

use super::sync::{AtomicU64, CancellationToken, Mutex, OnceLock};
use crate::LossReason;
use dlock_core::{LockId, Mode, SessionId, Timestamp, Token};
use dlock_runtime::Clock;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

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
    asked: Vec<Asked>,
}

/// Conversions that were asked for, and of which it is not known yet what came: they are under way, or were given up.
struct Asked {
    /// The lock as which they were asked for.
    lock: LockId,
    /// What all of their modes cover.
    to: Mode,
    /// How many of them are under way, or were given up without the driver's having been told yet: what it hears of the
    /// service may be older.
    open: u32,
}

impl LockCell {
    /// A lock that was just granted.
    pub(crate) fn new(mode: Mode, token: Token) -> LockCell {
        let mode = Mutex::new(HeldMode { mode, token, asked: Vec::new() });
        let held = HeldCell { mode, blocking: OnceLock::new() };
        LockCell { loss: OnceLock::new(), lost: Mutex::new(None), held: Arc::new(held) }
    }

    /// One more acquire of a lock that is held.
    pub(crate) fn sharing(&self) -> LockCell {
        LockCell { loss: OnceLock::new(), lost: Mutex::new(None), held: self.held.clone() }
    }

    /// The lock is lost. The first reason stays.
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

    /// The guard: a conversion to this mode is about to be asked for. Until it is known what came of it, only what the
    /// mode has in common with the one held is sure, also for the guards that share the lock.
    pub(crate) fn ask_conversion(&self, lock: LockId, to: Mode) {
        let mut held = self.held.mode.lock();
        match held.asked.iter_mut().find(|asked| asked.lock == lock) {
            Some(asked) => {
                asked.to = asked.to.meet(to);
                asked.open += 1;
            }
            None => held.asked.push(Asked { lock, to, open: 1 }),
        }
    }

    /// The guard: the service has answered the last conversion that was asked for, and so those before it.
    pub(crate) fn conversion_answered(&self, lock: LockId) {
        self.conversion_given_up(lock, true);
    }

    /// The driver: it was told that a conversion was given up. `settled` if nothing of it is under way: the mode is the
    /// one that the service last said.
    pub(crate) fn conversion_given_up(&self, lock: LockId, settled: bool) {
        let mut held = self.held.mode.lock();
        if let Some(asked) = held.asked.iter_mut().find(|asked| asked.lock == lock) {
            asked.open = asked.open.saturating_sub(1);
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
        let sure = held.asked.iter().fold(held.mode, |sure, asked| sure.meet(asked.to));
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
        if session.clock().now() >= deadline {
            self.lose(LossReason::Jeopardy);
            return false;
        }
        self.loss().is_none()
    }
}

impl HeldMode {
    /// It is known what came of the conversions of this lock but those that are open.
    fn settle(&mut self, lock: LockId) {
        self.asked.retain(|asked| asked.lock != lock || asked.open > 0);
    }
}
