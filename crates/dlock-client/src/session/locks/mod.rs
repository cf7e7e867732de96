//! The locks of a session: what is held, what is asked for, and what is still to be sent or answered.
//!
//! Each lock has at most one *operation*: what the client wants of it at present. An acquire that is given up becomes
//! a withdrawal; a conversion that is given up, a cancellation; a held lock that is let go, a release. An operation is
//! sent again after a reconnect until it is answered, always with the same lock id, which makes it idempotent: an
//! acquire never takes a second lock, and a release is never forgotten.

mod answers;
mod sending;

pub(crate) use answers::Answer;

use super::message::{Grant, Patience, RequestId};
use crate::Error;
use dlock_core::resource::ValueUpdate;
use dlock_core::{LockId, Mode, ResourceId, Timestamp, Token};
use foldhash::fast::FixedState;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// How many entries of queues may be out of date before they are looked through.
const QUEUE_SLACK: usize = 1024;

/// How long a caller is ready to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitUntil {
    /// Not at all.
    Try,
    /// As long as the session lives.
    Forever,
    /// Until then, on this client's clock.
    Deadline {
        /// When it is over.
        end: Timestamp,
        /// From when on it may be over on the clock of a server.
        earliest: Timestamp,
    },
}

impl WaitUntil {
    /// Until then. Clocks of servers are faster by less than a tenth.
    pub(crate) fn deadline(begin: Timestamp, wait: Duration) -> WaitUntil {
        WaitUntil::Deadline { end: begin + wait, earliest: begin + wait / 10 * 9 }
    }

    /// What is left of it, as it is sent: the service measures on its own clock.
    fn patience(self, now: Timestamp) -> Patience {
        match self {
            WaitUntil::Try => Patience::Try,
            WaitUntil::Forever => Patience::Forever,
            WaitUntil::Deadline { end, .. } => Patience::For(end.since(now)),
        }
    }
}

/// A new lock that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcquireAsk {
    pub(crate) resource: ResourceId,
    pub(crate) mode: Mode,
    pub(crate) wait: WaitUntil,
    pub(crate) reentrant: bool,
    pub(crate) report_position: bool,
}

/// Another mode that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConvertAsk {
    pub(crate) mode: Mode,
    pub(crate) wait: WaitUntil,
    pub(crate) value: ValueUpdate,
}

/// What comes of the operations, for those who wait for them.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The acquire or the conversion is done.
    Granted(Grant),
    /// A conversion that was given up is done nevertheless: the lock's mode and token have changed.
    Converted { mode: Mode, token: Token },
    /// The acquire or conversion waits.
    Queued { ahead: u32 },
    /// The acquire, the conversion or the release failed. Only the first and the last end the lock.
    Failed(Error),
    /// The lock is released.
    Released,
    /// The lock is not recorded (any more).
    Absent,
}

#[derive(Clone, Debug)]
enum Goal {
    Acquire(AcquireAsk),
    Convert(ConvertAsk),
    /// Stop the conversion; a new one may follow.
    CancelConversion {
        then: Option<ConvertAsk>,
    },
    /// Look whether a held lock is recorded.
    Verify,
    /// Look whether a conversion was done that was sent more than once, and then refused as what it gives up is not
    /// held.
    Confirm {
        mode: Mode,
        refusal: Error,
    },
    /// Undo the acquire, whatever has become of it.
    Withdraw,
    Release(ValueUpdate),
}

impl Goal {
    /// Whether it gives something back: then it must not wait behind requests that wait for just that.
    fn is_urgent(&self) -> bool {
        match self {
            Goal::Acquire(_) | Goal::Convert(_) | Goal::Verify | Goal::Confirm { .. } => false,
            Goal::CancelConversion { .. } | Goal::Withdraw | Goal::Release(_) => true,
        }
    }
}

#[derive(Debug)]
struct Operation {
    goal: Goal,
    /// As what it is on its way, where it is.
    request: Option<RequestId>,
    /// Whether it was sent before, so that it may have had its effect already.
    resent: bool,
    /// How often the service answered that it is unavailable.
    failures: u32,
    /// What the held lock certainly has left (the meet of both modes), where a conversion was sent that does not only go up, and
    /// has no answer yet; also if it was given up since.
    down_to: Option<Mode>,
}

#[derive(Debug)]
struct Lock {
    resource: ResourceId,
    held: Option<Held>,
    operation: Option<Operation>,
}

impl Lock {
    /// Whether it is being let go: nothing else may be asked of it.
    fn is_leaving(&self) -> bool {
        let goal = self.operation.as_ref().map(|operation| &operation.goal);
        matches!(goal, Some(Goal::Release(_) | Goal::Withdraw))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    token: Token,
    mode: Mode,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    lock: LockId,
    /// Answered once, also if the lock waits.
    query: bool,
}

/// All locks of one session. What goes through all of them does so in their order, so that a simulation runs the same
/// each time.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    locks: HashMap<LockId, Lock, FixedState>,
    /// Requests without a final answer on the current link.
    in_flight: HashMap<RequestId, InFlight, FixedState>,
    last_request: u64,
    /// Locks whose operation is to be sent: those that give back, and the others. May name locks that have changed
    /// their mind since.
    urgent: VecDeque<LockId>,
    asking: VecDeque<LockId>,
    /// Operations to be tried again later.
    retries: BTreeSet<(Timestamp, LockId)>,
}

impl Locks {
    /// Asks for a new lock.
    pub(crate) fn acquire(&mut self, lock: LockId, ask: AcquireAsk) {
        let resource = ask.resource.clone();
        self.locks.insert(lock, Lock { resource, held: None, operation: None });
        self.set_goal(lock, Goal::Acquire(ask));
    }

    /// Gives up an acquire, or a lock that was just granted to it: nobody is there to take it. No outcome follows.
    pub(crate) fn withdraw(&mut self, lock: LockId) {
        let Some(state) = self.locks.get(&lock) else { return };
        match &state.operation {
            _ if state.is_leaving() => {}
            _ if state.held.is_some() => self.set_goal(lock, Goal::Release(ValueUpdate::Keep)),
            Some(Operation { goal: Goal::Acquire(_), request: None, resent: false, .. }) => {
                self.locks.remove(&lock);
            }
            Some(Operation { goal: Goal::Acquire(_), .. }) => self.set_goal(lock, Goal::Withdraw),
            _ => {}
        }
    }

    /// Asks for another mode of a held lock; false if there is no such lock.
    pub(crate) fn convert(&mut self, lock: LockId, ask: ConvertAsk) -> bool {
        let Some(state) =
            self.locks.get_mut(&lock).filter(|state| state.held.is_some() && !state.is_leaving())
        else {
            return false;
        };
        match &mut state.operation {
            // One operation in flight per lock: the new conversion waits until the old one is known to be over.
            Some(Operation { goal: Goal::CancelConversion { then }, .. }) => *then = Some(ask),
            _ => self.set_goal(lock, Goal::Convert(ask)),
        }
        true
    }

    /// Gives up a conversion. False if nothing of it is under way; else [`Outcome::Converted`] will say how the lock is
    /// held, unless it is lost.
    pub(crate) fn cancel_conversion(&mut self, lock: LockId) -> bool {
        let Some(state) = self.locks.get_mut(&lock) else { return false };
        match &mut state.operation {
            Some(Operation { goal: Goal::Convert(_), request: None, resent: false, .. }) => {
                state.operation = None;
                false
            }
            Some(Operation { goal: Goal::Convert(_) | Goal::Confirm { .. }, .. }) => {
                self.set_goal(lock, Goal::CancelConversion { then: None });
                true
            }
            Some(Operation { goal: Goal::CancelConversion { then }, .. }) => {
                *then = None;
                true
            }
            _ => false,
        }
    }

    /// Lets a held lock go; false if there is no such lock.
    pub(crate) fn release(&mut self, lock: LockId, value: ValueUpdate) -> bool {
        let Some(state) = self.locks.get(&lock).filter(|state| state.held.is_some()) else { return false };
        // A session that is about to be closed has let it go already.
        if !state.is_leaving() {
            self.set_goal(lock, Goal::Release(value));
        }
        true
    }

    /// Whether the lock is wanted, held or on its way out.
    pub(crate) fn contains(&self, lock: LockId) -> bool {
        self.locks.contains_key(&lock)
    }

    /// Gives back a lock that the session is said to hold, and that nobody here knows of: its release was forgotten by a
    /// store that was restored. No outcome follows.
    pub(crate) fn disown(&mut self, lock: LockId, resource: ResourceId) {
        self.locks.insert(lock, Lock { resource, held: None, operation: None });
        self.set_goal(lock, Goal::Withdraw);
    }

    /// Gives back all that is held or wanted. No outcome follows but for releases that were asked for before.
    pub(crate) fn leave_all(&mut self) {
        let mut locks: Vec<LockId> = self.locks.keys().copied().collect();
        locks.sort_unstable();
        for lock in locks {
            self.withdraw(lock);
        }
    }

    /// Forgets a lock that was lost; false if there is no such lock.
    pub(crate) fn forget(&mut self, lock: LockId) -> bool {
        self.locks.remove(&lock).is_some()
    }

    /// Whether the request is an acquire that somebody waits for.
    pub(crate) fn is_acquire(&self, request: RequestId) -> bool {
        let sent =
            self.in_flight.get(&request).and_then(|sent| self.locks.get(&sent.lock)?.operation.as_ref());
        sent.is_some_and(|o| o.request == Some(request) && matches!(o.goal, Goal::Acquire(_)))
    }

    /// Whether a grant says more than that a lock is held as is known, or less: then claims that were made before it did not
    /// tell of it.
    pub(crate) fn is_news(&self, request: RequestId, grant: &Grant) -> bool {
        let Some(state) = self.in_flight.get(&request).and_then(|sent| self.locks.get(&sent.lock)) else {
            return false;
        };
        // A conversion downwards keeps the token.
        !state.held.is_some_and(|held| held.token == grant.token && grant.mode.at_or_below(held.mode))
    }

    /// Whether the lock is held, as far as is known.
    pub(crate) fn is_held(&self, lock: LockId) -> bool {
        self.locks.get(&lock).is_some_and(|state| state.held.is_some())
    }

    /// Whether the lock's release was sent before, without an answer: then its disappearance is that answer.
    pub(crate) fn may_be_released(&self, lock: LockId) -> bool {
        let operation = self.locks.get(&lock).and_then(|state| state.operation.as_ref());
        operation.is_some_and(|operation| operation.resent && matches!(operation.goal, Goal::Release(_)))
    }

    /// Whether nothing is held, wanted or on its way out.
    pub(crate) fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    fn set_goal(&mut self, lock: LockId, goal: Goal) {
        let queue = if goal.is_urgent() { &mut self.urgent } else { &mut self.asking };
        // Without a server nothing is taken out, and callers that come and go leave their marks.
        if queue.len() > 2 * self.locks.len() + QUEUE_SLACK {
            queue.retain(|lock| self.locks.contains_key(lock));
        }
        queue.push_back(lock);
        if let Some(state) = self.locks.get_mut(&lock) {
            let down_to = state.operation.as_ref().and_then(|operation| operation.down_to);
            state.operation = Some(Operation { goal, request: None, resent: false, failures: 0, down_to });
        }
    }
}
