//! Who waits for what: turns the machine's effects into answers for callers and marks on guards.

use crate::driver::cell::LockCell;
use crate::driver::command::{GrantReply, Granted, ReleaseReply};
use crate::session::locks::Outcome;
use crate::session::machine::End;
use crate::session::message::Grant;
use crate::{Error, LossReason, ReleaseError};
use dlock_core::{LockId, Mode, ResourceId};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// A lock's caller, or its guard.
struct Waiter {
    resource: ResourceId,
    place: Option<watch::Sender<Option<u32>>>,
    /// What the guard shares, once there is one.
    cell: Option<Arc<LockCell>>,
    pending: Pending,
}

/// The operation that somebody waits for.
enum Pending {
    None,
    Grant(GrantReply),
    Release(ReleaseReply),
}

/// The callers and guards of one session. Ordered, so that a simulation wakes them the same each time.
#[derive(Default)]
pub(crate) struct Waiters(BTreeMap<LockId, Waiter>);

impl Waiters {
    /// Somebody waits for a new lock.
    pub(crate) fn acquire(
        &mut self,
        lock: LockId,
        resource: ResourceId,
        place: Option<watch::Sender<Option<u32>>>,
        reply: GrantReply,
    ) {
        self.0.insert(lock, Waiter { resource, place, cell: None, pending: Pending::Grant(reply) });
    }

    /// Somebody waits for a conversion.
    pub(crate) fn convert(&mut self, lock: LockId, reply: GrantReply) {
        if let Some(waiter) = self.0.get_mut(&lock) {
            waiter.pending = Pending::Grant(reply);
        }
    }

    /// Nobody waits for the lock's conversion any more. `settled` if nothing of it is under way.
    pub(crate) fn give_up_conversion(&mut self, lock: LockId, settled: bool) {
        if let Some(waiter) = self.0.get_mut(&lock) {
            waiter.pending = Pending::None;
            if let Some(cell) = &waiter.cell {
                cell.conversion_given_up(lock, settled);
            }
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
            Outcome::Granted(grant) => self.granted(lock, grant),
            Outcome::Converted { mode, token } => {
                if let Some(cell) = &waiter.cell {
                    cell.set_held(lock, mode, token);
                }
            }
            Outcome::Failed(error) => {
                let over = waiter.cell.is_none() || matches!(waiter.pending, Pending::Release(_));
                waiter.fail(error);
                if over {
                    self.forget(lock);
                }
            }
            Outcome::Absent => self.lost(lock, LossReason::Absent),
            Outcome::Released => {
                if let Pending::Release(reply) = waiter.take() {
                    let _ = reply.send(Ok(()));
                }
                self.forget(lock);
            }
        }
    }

    fn granted(&mut self, lock: LockId, grant: Grant) {
        let Some(waiter) = self.0.get(&lock) else { return };
        let cell = match &waiter.cell {
            Some(cell) => {
                cell.set_held(lock, grant.mode, grant.token);
                cell.clone()
            }
            None => Arc::new(match self.find_shared(&waiter.resource, &grant) {
                Some(held) => held.sharing(),
                None => LockCell::new(grant.mode, grant.token),
            }),
        };
        let Some(waiter) = self.0.get_mut(&lock) else { return };
        waiter.place = None;
        waiter.cell = Some(cell.clone());
        if let Pending::Grant(reply) = waiter.take() {
            // A caller that is gone withdraws the lock by a command of its own.
            let _ = reply.send(Ok(Granted { grant, cell }));
        }
    }

    /// The lock that a re-entrant acquire was granted a share of. Looks at all locks: such acquires are rare.
    fn find_shared(&self, resource: &ResourceId, grant: &Grant) -> Option<&Arc<LockCell>> {
        let mut others =
            self.0.values().filter(|_| grant.holds > 1).filter(|other| other.resource == *resource);
        others.find_map(|other| other.cell.as_ref().filter(|cell| cell.held().1 == grant.token))
    }

    /// Others want this mode of a held lock.
    pub(crate) fn blocking(&mut self, lock: LockId, wanted: Mode) {
        if let Some(cell) = self.0.get(&lock).and_then(|waiter| waiter.cell.as_ref()) {
            cell.set_blocking(wanted);
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
        for cell in self.0.values().filter_map(|waiter| waiter.cell.as_ref()) {
            cell.lose(LossReason::Jeopardy);
        }
    }

    /// The session is about to be closed: guards that are left are told before their locks are let go, and only those
    /// who wait for a release go on waiting.
    pub(crate) fn close(&mut self) {
        self.0.retain(|_, waiter| {
            let releases = matches!(waiter.pending, Pending::Release(_));
            if !releases {
                waiter.end(LossReason::Closed, Error::Closed);
            }
            releases
        });
    }

    /// The session is over.
    pub(crate) fn finish(&mut self, end: &End) {
        for mut waiter in std::mem::take(&mut self.0).into_values() {
            match end {
                End::OpenFailed(error) => waiter.fail(error.clone()),
                End::Closed { .. } => match waiter.take() {
                    Pending::Release(reply) => drop(reply.send(Ok(()))),
                    pending => {
                        waiter.pending = pending;
                        waiter.end(LossReason::Closed, Error::Closed);
                    }
                },
                End::Lost(reason) => waiter.end(*reason, Error::SessionLost { reason: *reason }),
            }
        }
    }
}

/// Guards that are left when the driver goes without an end (its runtime was shut down) have nobody who keeps their
/// lease.
impl Drop for Waiters {
    fn drop(&mut self) {
        self.jeopardy();
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

    /// The session is over: a lock is lost, and who waits for one gets the error.
    fn end(&mut self, reason: LossReason, error: Error) {
        if self.cell.is_some() { self.lose(reason) } else { self.fail(error) }
    }

    fn lose(&mut self, reason: LossReason) {
        if let Some(cell) = &self.cell {
            cell.lose(reason);
        }
        match self.take() {
            Pending::None => {}
            Pending::Grant(reply) => drop(reply.send(Err(Error::LockLost { reason }))),
            Pending::Release(reply) => drop(reply.send(Err(ReleaseError::Lost(reason)))),
        }
    }
}
