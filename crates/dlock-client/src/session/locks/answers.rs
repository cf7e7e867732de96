//! What the service's answers come to.

use super::{AcquireAsk, Goal, Held, InFlight, Locks, Operation, Outcome, WaitUntil};
use crate::session::message::{Grant, RequestId};
use crate::{Error, LossReason};
use dlock_core::resource::ValueUpdate;
use dlock_core::{LockId, Mode, Timestamp};
use dlock_runtime::Entropy;
use std::time::Duration;

/// How often an operation that somebody waits for is tried while the service answers that it is unavailable.
const ATTEMPTS_MAX: u32 = 8;
/// The pause before the second attempt; doubled for each later one, up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two attempts, unless the service asks for more.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// An answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Queued { ahead: u32 },
    Granted(Grant),
    Released,
    Cancelled,
    Failed(Error),
}

impl Operation {
    /// What an answer means. A wait that its former home has ended, with a write that came late, looks to the new home as if
    /// somebody had revoked it.
    fn understand(&self, answer: Answer, now: Timestamp) -> Answer {
        match (&self.goal, answer) {
            (
                Goal::Acquire(AcquireAsk { wait: WaitUntil::Deadline { earliest, .. }, .. }),
                Answer::Failed(Error::LockLost { reason: LossReason::Revoked }),
            ) if self.resent && *earliest <= now => Answer::Failed(Error::WaitTimeout),
            (_, answer) => answer,
        }
    }
}

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
        let operation = self.locks.get_mut(&lock)?.operation.as_mut()?;
        let answer = operation.understand(answer, now);
        let outcome = if operation.request != Some(request) {
            // The lock's operation was given up in the meantime, and another one is under way.
            self.sync(lock, answer)
        } else if self.tried_again(lock, &answer, now, entropy) {
            None
        } else {
            match &self.locks.get(&lock)?.operation.as_ref()?.goal {
                Goal::Acquire(_) => self.acquire_answered(lock, answer),
                Goal::Convert(_) => self.conversion_answered(lock, answer),
                Goal::CancelConversion { .. } => self.cancellation_answered(lock, answer),
                Goal::Verify => self.verification_answered(lock, answer),
                Goal::Confirm { mode, refusal } => {
                    let (mode, refusal) = (*mode, refusal.clone());
                    self.confirmation_answered(lock, mode, refusal, answer)
                }
                Goal::Withdraw => self.withdrawal_answered(lock, &answer),
                Goal::Release(_) => self.release_answered(lock, answer),
            }
        };
        outcome.map(|outcome| (lock, outcome))
    }

    /// Has an operation tried again later that the service could not serve: always if it gives something back, a few
    /// times if somebody waits for it.
    fn tried_again(&mut self, lock: LockId, answer: &Answer, now: Timestamp, entropy: &Entropy) -> bool {
        let (Answer::Failed(error), Some(operation)) = (answer, self.operation(lock)) else { return false };
        if !error.is_transient() {
            return false;
        }
        operation.request = None;
        operation.resent = true;
        operation.failures += 1;
        if !operation.goal.is_urgent() && operation.failures >= ATTEMPTS_MAX {
            return false;
        }
        let pause = error.retry_after().unwrap_or_default().max(retry_pause(operation.failures));
        self.retries.insert((now + entropy.jitter(pause), lock));
        true
    }

    fn acquire_answered(&mut self, lock: LockId, answer: Answer) -> Option<Outcome> {
        match answer {
            Answer::Queued { ahead } => Some(Outcome::Queued { ahead }),
            Answer::Granted(grant) => self.granted(lock, grant),
            Answer::Failed(error) => {
                if error.is_transient() {
                    // Nobody knows whether it took the lock: see to it that it does not keep it.
                    self.set_goal(lock, Goal::Withdraw);
                } else {
                    self.locks.remove(&lock);
                }
                Some(Outcome::Failed(error))
            }
            Answer::Released | Answer::Cancelled => {
                self.locks.remove(&lock);
                Some(Outcome::Failed(Error::protocol("the service withdrew an acquire that nobody gave up")))
            }
        }
    }

    fn conversion_answered(&mut self, lock: LockId, answer: Answer) -> Option<Outcome> {
        match answer {
            Answer::Queued { ahead } => Some(Outcome::Queued { ahead }),
            Answer::Granted(grant) => self.granted(lock, grant),
            Answer::Failed(error) => {
                let operation = self.operation(lock)?;
                match &operation.goal {
                    _ if error.is_transient() => self.set_goal(lock, Goal::CancelConversion { then: None }),
                    Goal::Convert(ask) if operation.resent && ask.value != ValueUpdate::Keep => {
                        let mode = ask.mode;
                        self.set_goal(lock, Goal::Confirm { mode, refusal: error });
                        return None;
                    }
                    _ => drop(self.done(lock)),
                }
                Some(Outcome::Failed(error))
            }
            Answer::Released | Answer::Cancelled => {
                self.done(lock);
                Some(Outcome::Failed(Error::protocol(
                    "the service cancelled a conversion that nobody gave up",
                )))
            }
        }
    }

    /// When the lock has the mode that was asked for, the first sending of the conversion was done: it was a later one
    /// that could not write the value block any more.
    fn confirmation_answered(
        &mut self,
        lock: LockId,
        mode: Mode,
        refusal: Error,
        answer: Answer,
    ) -> Option<Outcome> {
        match answer {
            Answer::Granted(grant) if grant.mode == mode => self.granted(lock, grant),
            Answer::Failed(error) if error.is_transient() => {
                self.conversion_answered(lock, Answer::Failed(error))
            }
            _ => {
                self.done(lock);
                Some(Outcome::Failed(refusal))
            }
        }
    }

    fn cancellation_answered(&mut self, lock: LockId, answer: Answer) -> Option<Outcome> {
        if matches!(answer, Answer::Queued { .. }) {
            return None;
        }
        if let Some(Operation { goal: Goal::CancelConversion { then: Some(ask) }, .. }) = self.done(lock) {
            self.set_goal(lock, Goal::Convert(ask));
        }
        self.sync(lock, answer)
    }

    fn verification_answered(&mut self, lock: LockId, answer: Answer) -> Option<Outcome> {
        if matches!(answer, Answer::Failed(Error::NotFound { .. })) {
            self.locks.remove(&lock);
            return Some(Outcome::Absent);
        }
        self.done(lock);
        self.sync(lock, answer)
    }

    fn withdrawal_answered(&mut self, lock: LockId, answer: &Answer) -> Option<Outcome> {
        if !matches!(answer, Answer::Queued { .. }) {
            self.locks.remove(&lock);
        }
        None
    }

    fn release_answered(&mut self, lock: LockId, answer: Answer) -> Option<Outcome> {
        let resent = self.operation(lock).is_some_and(|operation| operation.resent);
        match answer {
            Answer::Queued { .. } => None,
            Answer::Released | Answer::Cancelled => {
                self.locks.remove(&lock);
                Some(Outcome::Released)
            }
            Answer::Failed(error @ Error::NotFound { .. }) => {
                self.locks.remove(&lock);
                // The first sending of this release has worked, and only its answer was lost.
                Some(if resent { Outcome::Released } else { Outcome::Failed(error) })
            }
            Answer::Failed(error) => {
                // It is what was to be done with the value block that was refused: let go without it.
                self.set_goal(lock, Goal::Withdraw);
                Some(Outcome::Failed(error))
            }
            Answer::Granted(_) => {
                self.set_goal(lock, Goal::Withdraw);
                Some(Outcome::Failed(Error::protocol("the service answered a release with a grant")))
            }
        }
    }

    fn granted(&mut self, lock: LockId, grant: Grant) -> Option<Outcome> {
        self.done(lock);
        self.set_held(lock, &grant);
        Some(Outcome::Granted(grant))
    }

    /// A grant that nobody waits for tells how the lock is held: a conversion was done in spite of having been given
    /// up, or had been before its answer was lost.
    fn sync(&mut self, lock: LockId, answer: Answer) -> Option<Outcome> {
        let Answer::Granted(grant) = answer else { return None };
        self.locks.get(&lock)?.held?;
        self.set_held(lock, &grant);
        Some(Outcome::Converted { mode: grant.mode, token: grant.token })
    }

    /// The lock is held like this, and so are those that share it.
    pub(super) fn set_held(&mut self, lock: LockId, grant: &Grant) {
        let held = Held { token: grant.token, mode: grant.mode };
        let Some(state) = self.locks.get_mut(&lock) else { return };
        let before = state.held.replace(held);
        // This looks at all locks: those that are shared are rare.
        if let Some(before) = before.filter(|before| *before != held && grant.holds > 1) {
            let resource = state.resource.clone();
            for other in self.locks.values_mut().filter(|other| other.resource == resource) {
                if let Some(shared) = other.held.as_mut().filter(|shared| shared.token == before.token) {
                    *shared = held;
                }
            }
        }
    }

    fn operation(&mut self, lock: LockId) -> Option<&mut Operation> {
        self.locks.get_mut(&lock)?.operation.as_mut()
    }

    /// The lock's operation has come to its end.
    fn done(&mut self, lock: LockId) -> Option<Operation> {
        self.locks.get_mut(&lock)?.operation.take()
    }

    /// Takes a request for one without an answer, and has it asked again as soon as anything may be sent.
    pub(crate) fn ask_again(&mut self, request: RequestId) {
        let Some(InFlight { lock, .. }) = self.in_flight.remove(&request) else { return };
        // Where the lock's operation was given up in the meantime, the one that followed will be answered.
        let asks = |operation: &&mut Operation| operation.request == Some(request);
        if let Some(operation) = self.operation(lock).filter(asks) {
            operation.request = None;
            operation.resent = true;
            if operation.goal.is_urgent() { &mut self.urgent } else { &mut self.asking }.push_back(lock);
        }
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
}

fn retry_pause(failures: u32) -> Duration {
    RETRY_PAUSE_MAX.min(RETRY_PAUSE * 2u32.saturating_pow(failures.saturating_sub(1)))
}
