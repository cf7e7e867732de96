//! What is sent, when, and sent again.

use super::{Goal, InFlight, Lock, Locks, Outcome};
use crate::session::message::{Claim, Grant, Outgoing, REQUEST_BYTES_MAX, Request, RequestId};
use dlock_core::resource::ValueUpdate;
use dlock_core::{LockId, Mode, ResourceId, Timestamp, Token};
use foldhash::fast::FixedState;
use std::collections::{HashMap, HashSet, VecDeque};

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
        if let (Goal::Convert(ask), Some(held)) = (&operation.goal, state.held)
            && !held.mode.at_or_below(ask.mode)
            && !writes_value(&ask.value)
        {
            let kept = held.mode.meet(ask.mode);
            operation.down_to = Some(operation.down_to.map_or(kept, |mode| mode.meet(kept)));
        }
        let query = matches!(operation.goal, Goal::Verify | Goal::Confirm { .. });
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
            Goal::Verify | Goal::Confirm { .. } => Request::Query { lock, resource },
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
            let sent = operation.is_some_and(|operation| operation.request.is_some() || operation.resent);
            match operation.map(|operation| &operation.goal) {
                // One that nobody has heard of yet ends what is held: it must find it.
                Some(Goal::Withdraw | Goal::Release(_)) if sent || state.held.is_none() => return None,
                Some(Goal::Acquire(_)) if !sent => return None,
                _ => {}
            }
            Some(Claim {
                lock: *lock,
                resource: state.resource.clone(),
                token: state.held.map(|held| held.token),
                mode: state.held.map(|held| {
                    operation.and_then(|o| o.down_to).map_or(held.mode, |mode| mode.meet(held.mode))
                }),
                waiting: operation.and_then(|operation| operation.request),
            })
        };
        let mut claims: Vec<Claim> = self.locks.iter().filter_map(claim).collect();
        claims.sort_unstable_by_key(|claim| claim.lock);
        self.lower_shared(&mut claims);
        let fitting = claims.iter().take_while(|claim| {
            let left = room_bytes.checked_sub(claim.bytes());
            room_bytes = left.unwrap_or(0);
            left.is_some()
        });
        let count = fitting.count();
        claims.truncate(count);
        claims
    }

    /// A conversion downwards concerns all that share the lock.
    fn lower_shared(&self, claims: &mut [Claim]) {
        let mut lowered: HashMap<(ResourceId, Token), Mode, FixedState> = HashMap::default();
        for claim in &*claims {
            let operation = self.locks.get(&claim.lock).and_then(|state| state.operation.as_ref());
            if let (Some(token), Some(down_to)) = (claim.token, operation.and_then(|o| o.down_to)) {
                let lowest = lowered.entry((claim.resource.clone(), token)).or_insert(down_to);
                *lowest = lowest.meet(down_to);
            }
        }
        if lowered.is_empty() {
            return;
        }
        for claim in claims {
            if let (Some(token), Some(mode)) = (claim.token, claim.mode)
                && let Some(down_to) = lowered.get(&(claim.resource.clone(), token))
            {
                claim.mode = Some(mode.meet(*down_to));
            }
        }
    }

    /// The session has a new link: what had no answer on the old one is sent again, in the same order, and before
    /// what was never sent.
    pub(crate) fn resend_all(&mut self) {
        let (mut urgent, mut asking) = (VecDeque::new(), VecDeque::new());
        let mut sent: Vec<(RequestId, InFlight)> = self.in_flight.drain().collect();
        sent.sort_unstable_by_key(|(request, _)| *request);
        for (request, InFlight { lock, .. }) in sent {
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
        let state = self.locks.get(&lock).filter(|state| state.operation.is_none())?;
        state.held.filter(|held| held.token != grant.token)?;
        self.set_held(lock, grant);
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

/// Whether a conversion leaves something in the value block: the service says that it is done only when that is in its store,
/// and whoever reads it there finds the conversion done.
fn writes_value(value: &ValueUpdate) -> bool {
    matches!(value, ValueUpdate::Write(block) if !block.is_empty())
}
