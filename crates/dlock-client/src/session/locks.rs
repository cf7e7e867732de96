//! The locks of a session: what is held, what is asked for, and what is still to be sent or answered.
//!
//! Each lock has at most one *operation*: what the client wants of it at present. An acquire that is given up becomes
//! a withdrawal; a conversion that is given up, a cancellation; a held lock that is let go, a release. An operation is
//! sent again after a reconnect until it is answered, always with the same lock id, which makes it idempotent: an
//! acquire never takes a second lock, and a release is never forgotten.

use super::message::{Claim, Grant, Outgoing, Patience, REQUEST_BYTES_MAX, Request, RequestId};
use crate::Error;
use dlock_core::resource::ValueUpdate;
use dlock_core::{LockId, Mode, ResourceId, Timestamp, Token};
use dlock_runtime::Entropy;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

/// How often an operation that somebody waits for is tried while the service answers that it is unavailable.
const ATTEMPTS_MAX: u32 = 8;
/// The pause before the second attempt; doubled for each later one, up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two attempts, unless the service asks for more.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a caller is ready to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitUntil {
    /// Not at all.
    Try,
    /// As long as the session lives.
    Forever,
    /// Until then, on this client's clock.
    Deadline(Timestamp),
}

impl WaitUntil {
    /// What is left of it, as it is sent: the service measures on its own clock.
    fn patience(self, now: Timestamp) -> Patience {
        match self {
            WaitUntil::Try => Patience::Try,
            WaitUntil::Forever => Patience::Forever,
            WaitUntil::Deadline(deadline) => Patience::For(deadline.since(now)),
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
    /// Undo the acquire, whatever has become of it.
    Withdraw,
    Release(ValueUpdate),
}

impl Goal {
    /// Whether it gives something back: then it must not wait behind requests that wait for just that.
    fn is_urgent(&self) -> bool {
        match self {
            Goal::Acquire(_) | Goal::Convert(_) | Goal::Verify => false,
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
}

#[derive(Debug)]
struct Lock {
    resource: ResourceId,
    held: Option<Held>,
    operation: Option<Operation>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    token: Token,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    lock: LockId,
    /// Answered once, also if the lock waits.
    query: bool,
}

/// All locks of one session.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    locks: HashMap<LockId, Lock>,
    /// Requests without a final answer on the current link, in the order in which they were sent.
    in_flight: BTreeMap<RequestId, InFlight>,
    last_request: u64,
    /// Locks whose operation is to be sent: those that give back, and the others. May name locks that have changed
    /// their mind since.
    urgent: VecDeque<LockId>,
    asking: VecDeque<LockId>,
    /// Operations to be tried again later.
    retries: BTreeSet<(Timestamp, LockId)>,
}

/// An answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Queued { ahead: u32 },
    Granted(Grant),
    Released,
    Cancelled,
    Failed(Error),
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
            Some(Operation { goal: Goal::Release(_) | Goal::Withdraw, .. }) => {}
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
        let Some(state) = self.locks.get_mut(&lock).filter(|state| state.held.is_some()) else {
            return false;
        };
        match &mut state.operation {
            // One operation in flight per lock: the new conversion waits until the old one is known to be over.
            Some(Operation { goal: Goal::CancelConversion { then }, .. }) => *then = Some(ask),
            _ => self.set_goal(lock, Goal::Convert(ask)),
        }
        true
    }

    /// Gives up a conversion. No outcome follows but [`Outcome::Converted`].
    pub(crate) fn cancel_conversion(&mut self, lock: LockId) {
        let Some(state) = self.locks.get_mut(&lock) else { return };
        match &mut state.operation {
            Some(Operation { goal: Goal::Convert(_), request: None, resent: false, .. }) => {
                state.operation = None
            }
            Some(Operation { goal: Goal::Convert(_), .. }) => {
                self.set_goal(lock, Goal::CancelConversion { then: None });
            }
            Some(Operation { goal: Goal::CancelConversion { then }, .. }) => *then = None,
            _ => {}
        }
    }

    /// Lets a held lock go; false if there is no such lock.
    pub(crate) fn release(&mut self, lock: LockId, value: ValueUpdate) -> bool {
        if self.locks.get(&lock).is_none_or(|state| state.held.is_none()) {
            return false;
        }
        self.set_goal(lock, Goal::Release(value));
        true
    }

    /// Gives back all that is held or wanted. No outcome follows but for releases that were asked for before.
    pub(crate) fn leave_all(&mut self) {
        let locks: Vec<LockId> = self.locks.keys().copied().collect();
        for lock in locks {
            self.withdraw(lock);
        }
    }

    /// Forgets a lock that was lost; false if there is no such lock.
    pub(crate) fn forget(&mut self, lock: LockId) -> bool {
        self.locks.remove(&lock).is_some()
    }

    /// Has an acquire asked for once more, a little later, without counting it as a failure.
    pub(crate) fn postpone(&mut self, request: RequestId, now: Timestamp, entropy: &Entropy) {
        let Some(InFlight { lock, .. }) = self.in_flight.remove(&request) else { return };
        if let Some(operation) = self.locks.get_mut(&lock).and_then(|state| state.operation.as_mut()) {
            operation.request = None;
            operation.resent = true;
            self.retries.insert((now + entropy.jitter(RETRY_PAUSE), lock));
        }
    }

    fn set_goal(&mut self, lock: LockId, goal: Goal) {
        let queue = if goal.is_urgent() { &mut self.urgent } else { &mut self.asking };
        queue.push_back(lock);
        if let Some(state) = self.locks.get_mut(&lock) {
            state.operation = Some(Operation { goal, request: None, resent: false, failures: 0 });
        }
    }
}

/// Sending.
impl Locks {
    /// Takes the next requests to be sent: as many as have room in `room_bytes`, and never more than leaves `window`
    /// without an answer.
    ///
    /// What gives back goes before what asks, and has a part of the window to itself: else a client that fills the
    /// window with requests that wait for its own lock could never let that lock go.
    pub(crate) fn take_requests(
        &mut self,
        now: Timestamp,
        window: usize,
        mut room_bytes: usize,
        messages: &mut Vec<Outgoing>,
    ) {
        let reserve = (window / 8).max(1);
        while room_bytes >= REQUEST_BYTES_MAX {
            let room = window.saturating_sub(self.in_flight.len());
            let (queue, urgent) = match room {
                _ if room > 0 && !self.urgent.is_empty() => (&mut self.urgent, true),
                _ if room > reserve && !self.asking.is_empty() => (&mut self.asking, false),
                _ => break,
            };
            let Some(lock) = queue.pop_front() else { break };
            if let Some((id, request)) = self.send(lock, urgent, now) {
                room_bytes = room_bytes.saturating_sub(request.bytes());
                messages.push(Outgoing::Request(id, request));
            }
        }
    }

    /// A new id.
    pub(crate) fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    /// The greatest id used.
    pub(crate) fn last_request(&self) -> RequestId {
        RequestId(self.last_request)
    }

    /// The request for a lock's operation, unless it has changed its mind since it was queued.
    fn send(&mut self, lock: LockId, urgent: bool, now: Timestamp) -> Option<(RequestId, Request)> {
        let state = self.locks.get_mut(&lock)?;
        let operation = state.operation.as_mut()?;
        if operation.request.is_some() || operation.goal.is_urgent() != urgent {
            return None;
        }
        let request = RequestId(self.last_request + 1);
        self.last_request = request.0;
        operation.request = Some(request);
        let query = matches!(operation.goal, Goal::Verify);
        self.in_flight.insert(request, InFlight { lock, query });
        let resource = state.resource.clone();
        let body = match &operation.goal {
            Goal::Acquire(ask) => Request::Acquire {
                lock,
                resource,
                mode: ask.mode,
                patience: ask.wait.patience(now),
                reentrant: ask.reentrant,
                report_position: ask.report_position,
            },
            Goal::Convert(ask) => Request::Convert {
                lock,
                resource,
                mode: ask.mode,
                patience: ask.wait.patience(now),
                value: ask.value.clone(),
            },
            Goal::CancelConversion { .. } => Request::Cancel { lock, resource, release_if_granted: false },
            Goal::Verify => Request::Query { lock, resource },
            Goal::Withdraw => Request::Cancel { lock, resource, release_if_granted: true },
            Goal::Release(value) => Request::Release { lock, resource, value: value.clone() },
        };
        Some((request, body))
    }

    /// What a new home should know: all that is held or may be waiting, unless it is on its way out, as far as there is
    /// room for it. What is left out is found again by later requests, which name its resource.
    pub(crate) fn claims(&self, mut room_bytes: usize) -> Vec<Claim> {
        let claim = |(lock, state): (&LockId, &Lock)| {
            let operation = state.operation.as_ref();
            match operation.map(|operation| &operation.goal) {
                Some(Goal::Withdraw | Goal::Release(_)) => return None,
                Some(Goal::Acquire(_)) if operation.is_some_and(|o| o.request.is_none() && !o.resent) => {
                    return None;
                }
                _ => {}
            }
            Some(Claim {
                lock: *lock,
                resource: state.resource.clone(),
                token: state.held.map(|held| held.token),
                waiting: operation.and_then(|operation| operation.request),
            })
        };
        let mut claims: Vec<Claim> = self.locks.iter().filter_map(claim).collect();
        claims.sort_by_key(|claim| claim.lock);
        let fitting = claims.iter().take_while(|claim| {
            let left = room_bytes.checked_sub(claim.bytes());
            room_bytes = left.unwrap_or(0);
            left.is_some()
        });
        let count = fitting.count();
        claims.truncate(count);
        claims
    }

    /// The session has a new link: what had no answer on the old one is sent again, in the same order, and before
    /// what was never sent.
    pub(crate) fn resend_all(&mut self) {
        let (mut urgent, mut asking) = (VecDeque::new(), VecDeque::new());
        for (request, InFlight { lock, .. }) in std::mem::take(&mut self.in_flight) {
            let Some(operation) = self.locks.get_mut(&lock).and_then(|state| state.operation.as_mut()) else {
                continue;
            };
            if operation.request == Some(request) {
                operation.request = None;
                operation.resent = true;
                if operation.goal.is_urgent() { &mut urgent } else { &mut asking }.push_back(lock);
            }
        }
        urgent.append(&mut self.urgent);
        asking.append(&mut self.asking);
        (self.urgent, self.asking) = (urgent, asking);
    }

    /// A held lock is recorded at the new home. Says so if it is held otherwise than was known: the answer to a
    /// conversion that somebody gave up was lost.
    pub(crate) fn confirm(&mut self, lock: LockId, grant: &Grant) -> Option<Outcome> {
        let state = self.locks.get_mut(&lock).filter(|state| state.operation.is_none())?;
        let held = state.held.as_mut().filter(|held| held.token != grant.token)?;
        held.token = grant.token;
        Some(Outcome::Converted { mode: grant.mode, token: grant.token })
    }

    /// Asks how the held locks stand of which nothing else is asked and nothing is `known`.
    pub(crate) fn verify_all_but(&mut self, known: &HashSet<LockId>) {
        let unknown = |(lock, state): (&LockId, &Lock)| {
            let asked = state.held.is_some() && state.operation.is_none() && !known.contains(lock);
            asked.then_some(*lock)
        };
        let mut unknown: Vec<LockId> = self.locks.iter().filter_map(unknown).collect();
        unknown.sort_unstable();
        for lock in unknown {
            self.set_goal(lock, Goal::Verify);
        }
    }

    /// When the next operation is to be tried again.
    pub(crate) fn next_retry(&self) -> Option<Timestamp> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// Queues the operations whose pause is over.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((at, lock)) = self.retries.first().copied().filter(|(at, _)| *at <= now) {
            self.retries.remove(&(at, lock));
            if let Some(operation) = self.locks.get(&lock).and_then(|state| state.operation.as_ref()) {
                if operation.goal.is_urgent() { &mut self.urgent } else { &mut self.asking }.push_back(lock);
            }
        }
    }
}

/// Being answered.
impl Locks {
    /// Takes the answer to a request, and says what comes of it for whom.
    pub(crate) fn answer(
        &mut self,
        request: RequestId,
        answer: Answer,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Option<(LockId, Outcome)> {
        let InFlight { lock, query } = *self.in_flight.get(&request)?;
        if query || !matches!(answer, Answer::Queued { .. }) {
            self.in_flight.remove(&request);
        }
        let state = self.locks.get_mut(&lock)?;
        let operation = state.operation.as_mut()?;
        if operation.request != Some(request) {
            return self.answer_superseded(lock, answer);
        }
        if let Answer::Failed(error) = &answer
            && error.is_transient()
        {
            operation.request = None;
            operation.resent = true;
            operation.failures += 1;
            if operation.goal.is_urgent() || operation.failures < ATTEMPTS_MAX {
                let pause = error.retry_after().unwrap_or_default().max(retry_pause(operation.failures));
                self.retries.insert((now + entropy.jitter(pause), lock));
                return None;
            }
        }
        let outcome = match (&mut operation.goal, answer) {
            (Goal::Acquire(_) | Goal::Convert(_), Answer::Queued { ahead }) => {
                Some(Outcome::Queued { ahead })
            }
            (Goal::Verify, Answer::Queued { .. }) => {
                state.operation = None;
                None
            }
            (_, Answer::Queued { .. }) => None,
            (Goal::Acquire(_) | Goal::Convert(_), Answer::Granted(grant)) => {
                state.held = Some(Held { token: grant.token });
                state.operation = None;
                Some(Outcome::Granted(grant))
            }
            (Goal::Acquire(_), Answer::Failed(error)) => {
                if error.is_transient() {
                    // Nobody knows whether it took the lock: see to it that it does not keep it.
                    self.set_goal(lock, Goal::Withdraw);
                } else {
                    self.locks.remove(&lock);
                }
                Some(Outcome::Failed(error))
            }
            (Goal::Acquire(_), Answer::Released | Answer::Cancelled) => {
                self.locks.remove(&lock);
                Some(Outcome::Failed(Error::protocol("the service withdrew an acquire that nobody gave up")))
            }
            (Goal::Convert(_), Answer::Failed(error)) => {
                state.operation = None;
                if error.is_transient() {
                    self.set_goal(lock, Goal::CancelConversion { then: None });
                }
                Some(Outcome::Failed(error))
            }
            (Goal::Convert(_), Answer::Released | Answer::Cancelled) => {
                state.operation = None;
                Some(Outcome::Failed(Error::protocol(
                    "the service cancelled a conversion that nobody gave up",
                )))
            }
            (Goal::CancelConversion { then }, answer) => {
                let then = then.take();
                state.operation = None;
                if let Some(ask) = then {
                    self.set_goal(lock, Goal::Convert(ask));
                }
                self.answer_superseded(lock, answer).map(|(_, outcome)| outcome)
            }
            (Goal::Verify, Answer::Failed(Error::NotFound { .. })) => {
                self.locks.remove(&lock);
                Some(Outcome::Absent)
            }
            (Goal::Verify, answer) => {
                state.operation = None;
                self.answer_superseded(lock, answer).map(|(_, outcome)| outcome)
            }
            (Goal::Withdraw, _) => {
                self.locks.remove(&lock);
                None
            }
            (Goal::Release(_), Answer::Released | Answer::Cancelled) => {
                self.locks.remove(&lock);
                Some(Outcome::Released)
            }
            // The first sending of this release has worked, and only its answer was lost.
            (Goal::Release(_), Answer::Failed(Error::NotFound { .. })) if operation.resent => {
                self.locks.remove(&lock);
                Some(Outcome::Released)
            }
            (Goal::Release(_), Answer::Failed(error)) => {
                if matches!(error, Error::NotFound { .. }) {
                    self.locks.remove(&lock);
                } else {
                    // It is the value block that was refused: let go without it.
                    state.held = None;
                    self.set_goal(lock, Goal::Withdraw);
                }
                Some(Outcome::Failed(error))
            }
            (Goal::Release(_), Answer::Granted(_)) => {
                self.set_goal(lock, Goal::Withdraw);
                Some(Outcome::Failed(Error::protocol("the service answered a release with a grant")))
            }
        };
        outcome.map(|outcome| (lock, outcome))
    }

    /// An answer that tells how a conversion went which somebody gave up: done in spite of that, or not.
    fn answer_superseded(&mut self, lock: LockId, answer: Answer) -> Option<(LockId, Outcome)> {
        let held = self.locks.get_mut(&lock)?.held.as_mut()?;
        match answer {
            Answer::Granted(grant) => {
                held.token = grant.token;
                Some((lock, Outcome::Converted { mode: grant.mode, token: grant.token }))
            }
            _ => None,
        }
    }

    /// Whether the request is an acquire that somebody waits for.
    pub(crate) fn is_acquire(&self, request: RequestId) -> bool {
        let sent =
            self.in_flight.get(&request).and_then(|sent| self.locks.get(&sent.lock)?.operation.as_ref());
        sent.is_some_and(|o| o.request == Some(request) && matches!(o.goal, Goal::Acquire(_)))
    }

    /// Whether the lock is held, as far as is known.
    pub(crate) fn is_held(&self, lock: LockId) -> bool {
        self.locks.get(&lock).is_some_and(|state| state.held.is_some())
    }

    /// Whether nothing is held, wanted or on its way out.
    pub(crate) fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }
}

fn retry_pause(failures: u32) -> Duration {
    RETRY_PAUSE_MAX.min(RETRY_PAUSE * 2u32.saturating_pow(failures.saturating_sub(1)))
}
