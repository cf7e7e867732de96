//! Who waits for what: turns the machine's effects into answers for callers and marks on guards.

use crate::driver::cell::LockCell;
use crate::driver::command::{GrantReply, ReleaseReply};
use crate::session::locks::Outcome;
use crate::session::machine::End;
use crate::{Error, LossReason, ReleaseError};
use dlock_core::{LockId, Mode};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// A lock's caller, or its guard.
struct Waiter {
    cell: Arc<LockCell>,
    place: Option<watch::Sender<Option<u32>>>,
    /// Whether it was granted: there is a guard, and it is to be told of a loss.
    held: bool,
    pending: Pending,
}

/// The operation that somebody waits for.
enum Pending {
    None,
    Grant(GrantReply),
    Release(ReleaseReply),
}

/// The callers and guards of one session.
#[derive(Default)]
pub(crate) struct Waiters(HashMap<LockId, Waiter>);

impl Waiters {
    /// Somebody waits for a new lock.
    pub(crate) fn acquire(
        &mut self,
        lock: LockId,
        cell: Arc<LockCell>,
        place: Option<watch::Sender<Option<u32>>>,
        reply: GrantReply,
    ) {
        self.0.insert(lock, Waiter { cell, place, held: false, pending: Pending::Grant(reply) });
    }

    /// Somebody waits for a conversion.
    pub(crate) fn convert(&mut self, lock: LockId, reply: GrantReply) {
        if let Some(waiter) = self.0.get_mut(&lock) {
            waiter.pending = Pending::Grant(reply);
        }
    }

    /// Nobody waits for the lock's operation any more.
    pub(crate) fn stop_waiting(&mut self, lock: LockId) {
        if let Some(waiter) = self.0.get_mut(&lock) {
            waiter.pending = Pending::None;
        }
    }

    /// The guard is gone; somebody may wait for its release.
    pub(crate) fn release(&mut self, lock: LockId, reply: Option<ReleaseReply>) {
        match reply {
            Some(reply) => {
                if let Some(waiter) = self.0.get_mut(&lock) {
                    waiter.pending = Pending::Release(reply);
                }
            }
            None => self.forget(lock),
        }
    }

    /// Neither a caller nor a guard is left.
    pub(crate) fn forget(&mut self, lock: LockId) {
        self.0.remove(&lock);
    }

    /// What came of an operation.
    pub(crate) fn outcome(&mut self, lock: LockId, outcome: Outcome) {
        let Some(waiter) = self.0.get_mut(&lock) else { return };
        match outcome {
            Outcome::Queued { ahead } => {
                if let Some(place) = &waiter.place {
                    place.send_replace(Some(ahead));
                }
            }
            Outcome::Granted(grant) => {
                waiter.held = true;
                waiter.place = None;
                waiter.cell.set_held(grant.mode, grant.token);
                if let Pending::Grant(reply) = waiter.take() {
                    // A caller that is gone withdraws the lock by a command of its own.
                    let _ = reply.send(Ok(grant));
                }
            }
            Outcome::Converted { mode, token } => waiter.cell.set_held(mode, token),
            Outcome::Failed(error) => {
                let over = !waiter.held || matches!(waiter.pending, Pending::Release(_));
                waiter.fail(error);
                if over {
                    self.forget(lock);
                }
            }
            Outcome::Released => {
                if let Pending::Release(reply) = waiter.take() {
                    let _ = reply.send(Ok(()));
                }
                self.forget(lock);
            }
        }
    }

    /// Others want this mode of a held lock.
    pub(crate) fn blocking(&mut self, lock: LockId, wanted: Mode) {
        if let Some(waiter) = self.0.get(&lock).filter(|waiter| waiter.held) {
            waiter.cell.set_blocking(wanted);
        }
    }

    /// A lock is lost.
    pub(crate) fn lost(&mut self, lock: LockId, reason: LossReason) {
        if let Some(mut waiter) = self.0.remove(&lock) {
            waiter.lose(reason);
        }
    }

    /// The lease has run out: all that is held counts as lost. What is not granted yet may still be.
    pub(crate) fn jeopardy(&mut self) {
        for waiter in self.0.values().filter(|waiter| waiter.held) {
            waiter.cell.lose(LossReason::Jeopardy);
        }
    }

    /// The session is over.
    pub(crate) fn finish(&mut self, end: &End) {
        for (_, mut waiter) in self.0.drain() {
            match end {
                End::OpenFailed(error) => waiter.fail(error.clone()),
                End::Closed { .. } if matches!(waiter.pending, Pending::Release(_)) => {
                    if let Pending::Release(reply) = waiter.take() {
                        let _ = reply.send(Ok(()));
                    }
                }
                End::Closed { .. } if waiter.held => waiter.lose(LossReason::Closed),
                End::Closed { .. } => waiter.fail(Error::Closed),
                End::Lost(reason) if waiter.held => waiter.lose(*reason),
                End::Lost(reason) => waiter.fail(Error::SessionLost { reason: *reason }),
            }
        }
    }
}

impl Waiter {
    fn take(&mut self) -> Pending {
        std::mem::replace(&mut self.pending, Pending::None)
    }

    fn fail(&mut self, error: Error) {
        // Whoever does not listen any more has no use for the answer.
        match self.take() {
            Pending::None => {}
            Pending::Grant(reply) => drop(reply.send(Err(error))),
            Pending::Release(reply) => drop(reply.send(Err(ReleaseError::Refused(error)))),
        }
    }

    fn lose(&mut self, reason: LossReason) {
        self.cell.lose(reason);
        match self.take() {
            Pending::None => {}
            Pending::Grant(reply) => drop(reply.send(Err(Error::LockLost { reason }))),
            Pending::Release(reply) => drop(reply.send(Err(ReleaseError::Lost(reason)))),
        }
    }
}
