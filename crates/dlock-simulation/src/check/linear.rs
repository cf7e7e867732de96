//! Whether some order of the operations explains all answers: the search of Wing and Gong, with a memory of what was tried
//! (Lowe). Each operation takes effect at one moment between its invocation and its answer; one without an answer, then or
//! later or never.
//!
//! What a request without an answer may have left in the queue, or as a lock that nobody knows of, is not searched for:
//! it can only keep others from their locks, which then have a reason to be refused.

use super::spec::{State, Step, compatible, writes};
use super::{Findings, Rule};
use crate::history::{Answer, Ask, History, Operation};
use crate::world::Time;
use std::collections::HashSet;
use std::fmt::Write;

/// How many states are looked at before a search is given up.
const STATES_MAX: usize = 100_000;

/// A step that was taken, or may have been, between two moments.
struct Event {
    step: Step,
    from: Time,
    /// None for one that need not happen at all.
    to: Option<Time>,
}

pub(super) fn check(history: &History, resource: usize, mastered: bool, findings: &mut Findings) {
    let operations: Vec<&Operation> =
        history.operations.iter().filter(|operation| operation.resource == resource).collect();
    let mut events = events(history, resource, &operations);
    if mastered {
        events.retain(|event| !matches!(event.step, Step::Read { value: 0, .. }));
    }
    let mut search = Search {
        events: &events,
        tried: HashSet::new(),
        done: vec![0; events.len().div_ceil(64)],
        deepest: (0, vec![0; events.len().div_ceil(64)], State::new()),
        depth: 0,
    };
    match search.run(&State::new()) {
        Some(true) => {}
        Some(false) => findings.add(Rule::Linearizability, search.explanation(resource, &operations)),
        None => findings.inconclusive += 1,
    }
}

fn events(history: &History, resource: usize, operations: &[&Operation]) -> Vec<Event> {
    let mut events = Vec::new();
    for operation in operations {
        let (lock, from, answered) = (operation.lock, operation.invoked, operation.completed);
        let mut add = |step, to| events.push(Event { step, from, to });
        match (operation.ask, operation.answer) {
            (Ask::Acquire { .. }, Answer::Granted { mode, token, value }) => {
                add(Step::Grant { lock, mode, token }, answered);
                if let Some((value, valid)) = value {
                    add(Step::Read { lock, value, valid }, answered);
                }
            }
            (Ask::Convert { value: written, .. }, Answer::Granted { mode, token, value }) => {
                add(Step::Convert { lock, mode, token: Some(token), value: written }, answered);
                if let Some((value, valid)) = value {
                    add(Step::Read { lock, value, valid }, answered);
                }
            }
            (Ask::Acquire { mode, .. }, Answer::Unknown) if writes(mode) => add(Step::Spoil, None),
            (Ask::Convert { mode, value, .. }, Answer::Unknown) => {
                add(Step::Convert { lock, mode, token: None, value }, None);
            }
            (Ask::Release { value }, Answer::Released) => add(Step::Release { lock, value }, answered),
            (Ask::Release { value }, Answer::Unknown) => {
                add(Step::Release { lock, value }, None);
                if value.is_some() {
                    // A guard that is lost lets go what may be left of its lock, and writes nothing.
                    add(Step::Release { lock, value: None }, None);
                }
            }
            (Ask::Acquire { mode, .. } | Ask::Convert { mode, .. }, Answer::WouldBlock)
                if !has_reason(operation, operations) =>
            {
                add(Step::Refuse { lock, mode }, answered);
            }
            _ => {}
        }
    }
    let released = |lock| {
        operations.iter().any(|operation| operation.lock == lock && operation.answer == Answer::Released)
    };
    for operation in operations {
        let Answer::Granted { .. } = operation.answer else { continue };
        if matches!(operation.ask, Ask::Acquire { .. }) && !released(operation.lock) {
            // It may go with its session as soon as nobody counts on it.
            let holds = history.holds.iter().filter(|hold| hold.lock == operation.lock);
            let from = holds.map(|hold| hold.to).max().unwrap_or(operation.invoked);
            events.push(Event { step: Step::Vanish { lock: operation.lock }, from, to: None });
        }
    }
    debug_assert!(history.holds.iter().all(|hold| hold.resource != resource || hold.from <= hold.to));
    events.sort_by_key(|event| (event.to.unwrap_or(Time::MAX), event.from));
    events
}

/// Whether a *try* may have been refused because of a request that is not searched for: one that waited at the time, or
/// one without an answer.
fn has_reason(refused: &Operation, operations: &[&Operation]) -> bool {
    operations.iter().any(|other| {
        let waits = match other.ask {
            Ask::Acquire { mode, try_only, .. } | Ask::Convert { mode, try_only, .. } => {
                // In the queue it is in everybody's way; held, only in that of incompatible modes.
                let (Ask::Acquire { mode: wanted, .. } | Ask::Convert { mode: wanted, .. }) = refused.ask
                else {
                    return false;
                };
                !try_only || !compatible(mode, wanted)
            }
            Ask::Release { .. } => false,
        };
        let before = refused.completed.is_none_or(|end| other.invoked <= end);
        let lasts =
            other.answer == Answer::Unknown || other.completed.is_none_or(|end| end >= refused.invoked);
        !std::ptr::eq(*other, refused) && waits && before && lasts
    })
}

struct Search<'a> {
    events: &'a [Event],
    tried: HashSet<(Vec<u64>, State)>,
    /// A bit for each event that has happened.
    done: Vec<u64>,
    depth: usize,
    /// The longest order found, and where it leads.
    deepest: (usize, Vec<u64>, State),
}

impl Search<'_> {
    fn is_done(&self, at: usize) -> bool {
        self.done[at / 64] & (1 << (at % 64)) != 0
    }

    fn flip(&mut self, at: usize) {
        self.done[at / 64] ^= 1 << (at % 64);
    }

    /// Whether the rest can happen from here; `None` when that takes too long to say.
    fn run(&mut self, state: &State) -> Option<bool> {
        if self.tried.len() >= STATES_MAX {
            return None;
        }
        // Those that must happen come first, by their ends: what has not begun at the first one's end comes after it.
        let Some(first) =
            self.events.iter().enumerate().position(|(at, e)| e.to.is_some() && !self.is_done(at))
        else {
            return Some(true);
        };
        let end = self.events[first].to.unwrap_or(Time::MAX);
        if self.depth > self.deepest.0 {
            self.deepest = (self.depth, self.done.clone(), state.clone());
        }
        if !self.tried.insert((self.done.clone(), state.clone())) {
            return Some(false);
        }
        for at in first..self.events.len() {
            let event = &self.events[at];
            if self.is_done(at) || event.from > end {
                continue;
            }
            let Some(next) = state.after(&event.step) else { continue };
            self.flip(at);
            self.depth += usize::from(event.to.is_some());
            let found = self.run(&next);
            self.depth -= usize::from(event.to.is_some());
            self.flip(at);
            if found != Some(false) {
                return found;
            }
        }
        Some(false)
    }

    /// What can't be explained, with what was going on around it.
    fn explanation(&self, resource: usize, operations: &[&Operation]) -> String {
        let (_, done, state) = &self.deepest;
        let is_done = |at: usize| done[at / 64] & (1 << (at % 64)) != 0;
        let stuck = self.events.iter().enumerate().find(|(at, e)| e.to.is_some() && !is_done(*at));
        let Some((_, stuck)) = stuck else { return format!("no order of r{resource} found") };
        let end = stuck.to.unwrap_or(Time::MAX);
        let mut text = format!("no order explains r{resource}: {:?} can't happen", stuck.step);
        // Writing to a string does not fail.
        let _ = write!(text, "\n  in the state {state:?}\n  the operations around it:");
        let near = Time::from_secs(10);
        for operation in operations {
            let held = state.holders.iter().any(|(lock, _)| *lock == operation.lock);
            let recent = operation.completed.is_none_or(|at| at + near >= stuck.from);
            if operation.invoked <= end && (recent || held) {
                let _ = write!(text, "\n  {operation}");
            }
        }
        text
    }
}
