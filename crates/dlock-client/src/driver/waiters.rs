//! Who waits for what: turns the machine's effects into answers for callers and marks on guards.

use crate::driver::cell::LockCell;
use crate::driver::command::{GrantReply, Granted, ReleaseReply};
use crate::session::locks::Outcome;
use crate::session::machine::End;
use crate::session::message::Grant;
use crate::{Error, LossReason, ReleaseError};
use dlock_core::{LockId, Mode, ResourceId, Timestamp};
use foldhash::fast::FixedState;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
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
    /// Nobody waits any more for a release that took too long.
    Release(Option<ReleaseReply>),
}

/// How many entries for releases may be out of date before they are looked through.
const RELEASES_SLACK: usize = 1024;

/// The callers and guards of one session. Where it goes through all of them it does so in the order of their locks, so
/// that a simulation wakes them the same each time.
#[derive(Default)]
pub(crate) struct Waiters {
    locks: HashMap<LockId, Waiter, FixedState>,
    /// When whoever waits for a release is told that there was no answer, in this order. May name locks whose release was
    /// answered since.
    releases: VecDeque<(Timestamp, LockId)>,
}

impl Waiters {
    /// Somebody waits for a new lock.
    pub(crate) fn acquire(
        &mut self,
        lock: LockId,
        resource: ResourceId,
        place: Option<watch::Sender<Option<u32>>>,
        reply: GrantReply,
    ) {
        self.locks.insert(lock, Waiter { resource, place, cell: None, pending: Pending::Grant(reply) });
    }

    /// Somebody waits for a conversion.
    pub(crate) fn convert(&mut self, lock: LockId, reply: GrantReply) {
        if let Some(waiter) = self.locks.get_mut(&lock) {
            waiter.pending = Pending::Grant(reply);
        }
    }

    /// Nobody waits for the lock's conversion any more. `settled` if nothing of it is under way.
    pub(crate) fn give_up_conversion(&mut self, lock: LockId, settled: bool) {
        if let Some(waiter) = self.locks.get_mut(&lock) {
            waiter.pending = Pending::None;
            if let Some(cell) = &waiter.cell {
                cell.conversion_given_up(lock, settled);
            }
        }
    }

    /// The guard is gone; somebody may wait for its release, until then.
    pub(crate) fn release(&mut self, lock: LockId, reply: Option<ReleaseReply>, until: Timestamp) {
        match reply {
            Some(reply) => {
                if let Some(waiter) = self.locks.get_mut(&lock) {
                    waiter.pending = Pending::Release(Some(reply));
                    self.releases.push_back((until, lock));
                }
            }
            None => self.forget(lock),
        }
    }

    /// When [`Waiters::handle_timeout`] is to be called next.
    pub(crate) fn next_timeout(&mut self) -> Option<Timestamp> {
        while let Some((_, lock)) = self.releases.front() {
            if self.awaits_release(*lock) {
                // One without an answer keeps those behind it, which may have had theirs.
                if self.releases.len() > 2 * self.locks.len() + RELEASES_SLACK {
                    let locks = &self.locks;
                    self.releases.retain(|(_, lock)| locks.get(lock).is_some_and(Waiter::awaits_release));
                }
                return self.releases.front().map(|(at, _)| *at);
            }
            self.releases.pop_front();
        }
        None
    }

    /// Tells those that have waited for the whole `timeout` of a release. It goes on.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp, timeout: Duration) {
        while let Some((at, lock)) = self.releases.front().copied()
            && at <= now
        {
            self.releases.pop_front();
            if let Some(Waiter { pending: Pending::Release(reply), .. }) = self.locks.get_mut(&lock) {
                tell(reply.take(), Err(ReleaseError::Unconfirmed { timeout }));
            }
        }
    }

    fn awaits_release(&self, lock: LockId) -> bool {
        self.locks.get(&lock).is_some_and(Waiter::awaits_release)
    }

    /// All locks, in their order.
    fn in_order(&self) -> Vec<LockId> {
        let mut locks: Vec<LockId> = self.locks.keys().copied().collect();
        locks.sort_unstable();
        locks
    }

    /// Neither a caller nor a guard is left.
    pub(crate) fn forget(&mut self, lock: LockId) {
        self.locks.remove(&lock);
    }

    /// What came of an operation.
    pub(crate) fn outcome(&mut self, lock: LockId, outcome: Outcome) {
        let Some(waiter) = self.locks.get_mut(&lock) else { return };
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
                let over = waiter.cell.is_none() || waiter.is_releasing();
                waiter.fail(error);
                if over {
                    self.forget(lock);
                }
            }
            Outcome::Absent => self.lost(lock, LossReason::Absent),
            Outcome::Released => {
                if let Pending::Release(reply) = waiter.take() {
                    tell(reply, Ok(()));
                }
                self.forget(lock);
            }
        }
    }

    fn granted(&mut self, lock: LockId, grant: Grant) {
        let Some(waiter) = self.locks.get(&lock) else { return };
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
        let Some(waiter) = self.locks.get_mut(&lock) else { return };
        waiter.place = None;
        waiter.cell = Some(cell.clone());
        if let Pending::Grant(reply) = waiter.take() {
            // A caller that is gone withdraws the lock by a command of its own.
            let _ = reply.send(Ok(Granted { grant, cell }));
        }
    }

    /// The lock that a re-entrant acquire was granted a share of. Looks at all locks: such acquires are rare.
    fn find_shared(&self, resource: &ResourceId, grant: &Grant) -> Option<&Arc<LockCell>> {
        if grant.holds <= 1 {
            return None;
        }
        let shared = self.locks.iter().filter_map(|(lock, other)| {
            let cell = other.cell.as_ref().filter(|cell| cell.held().1 == grant.token)?;
            (other.resource == *resource).then_some((*lock, cell))
        });
        shared.min_by_key(|(lock, _)| *lock).map(|(_, cell)| cell)
    }

    /// Others want this mode of a held lock.
    pub(crate) fn blocking(&mut self, lock: LockId, wanted: Mode) {
        if let Some(cell) = self.locks.get(&lock).and_then(|waiter| waiter.cell.as_ref()) {
            cell.set_blocking(wanted);
        }
    }

    /// A lock is lost.
    pub(crate) fn lost(&mut self, lock: LockId, reason: LossReason) {
        if let Some(mut waiter) = self.locks.remove(&lock) {
            waiter.lose(reason);
        }
    }

    /// The lease has run out: all that is held counts as lost. What is not granted yet may still be.
    pub(crate) fn jeopardy(&mut self) {
        for lock in self.in_order() {
            if let Some(cell) = self.locks.get(&lock).and_then(|waiter| waiter.cell.as_ref()) {
                cell.lose(LossReason::Jeopardy);
            }
        }
    }

    /// The session is about to be closed: guards that are left are told before their locks are let go, and only those
    /// who wait for a release go on waiting.
    pub(crate) fn close(&mut self) {
        for lock in self.in_order() {
            if !self.locks.get(&lock).is_some_and(Waiter::is_releasing)
                && let Some(mut waiter) = self.locks.remove(&lock)
            {
                waiter.end(LossReason::Closed, Error::Closed);
            }
        }
    }

    /// The session is over.
    pub(crate) fn finish(&mut self, end: &End) {
        for lock in self.in_order() {
            let Some(mut waiter) = self.locks.remove(&lock) else { continue };
            match end {
                End::OpenFailed(error) => waiter.fail(error.clone()),
                End::Closed { .. } => match waiter.take() {
                    Pending::Release(reply) => tell(reply, Ok(())),
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
    fn is_releasing(&self) -> bool {
        matches!(self.pending, Pending::Release(_))
    }

    fn awaits_release(&self) -> bool {
        matches!(self.pending, Pending::Release(Some(_)))
    }

    fn take(&mut self) -> Pending {
        std::mem::replace(&mut self.pending, Pending::None)
    }

    fn fail(&mut self, error: Error) {
        // Whoever does not listen any more has no use for the answer.
        match self.take() {
            Pending::None => {}
            Pending::Grant(reply) => drop(reply.send(Err(error))),
            Pending::Release(reply) => tell(reply, Err(ReleaseError::Refused(error))),
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
            Pending::Release(reply) => tell(reply, Err(ReleaseError::Lost(reason))),
        }
    }
}

/// Tells whoever waits for a release, if anybody still does.
fn tell(reply: Option<ReleaseReply>, result: Result<(), ReleaseError>) {
    if let Some(reply) = reply {
        // Whoever does not listen any more has no use for the answer.
        let _ = reply.send(result);
    }
}
