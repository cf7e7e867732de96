//! One operation on one register, as a state machine without I/O: asks all acceptors, takes their answers in any order,
//! and says what to ask next or what has come of it.
//!
//! A *read* asks what everybody has. If a majority has accepted the same ballot, its state was chosen, and is the answer.
//! If a majority has no row at all, the register was never used or has been collected. Else something is under way,
//! or was left half-done: if a few more looks don't show it decided, it is *unsettled*, and somebody has to settle it
//! with a ballot of his own. Ballots stand in each other's way, so a handle does that once for all its readers.
//!
//! A *write* prepares a ballot, takes the accepted state of the greatest ballot that a majority has, applies the
//! compare-and-swap to it, and has a majority accept the result. Each acceptance promises the proposer's next ballot
//! as well, so that its next write of the register needs no preparation.
//!
//! **What is said of a write.** A proposal that a minority has accepted may be finished by anybody who meets it, at any
//! later time. So once a proposal was sent that not every node certainly turned down, the write is *suspect*:
//!
//! - *Committed* is said when a majority has accepted the proposal in one ballot, or when the write is among those that
//!   a state names which a majority then accepts.
//! - *Conflict* is said when a majority has accepted, in one ballot, a state that the write does not fit on, and which
//!   shows that the write is not in its history: its version is less than the one that the write would have given, or
//!   it names all writes from that version on, and not this one. (Versions grow along the history; a state names its
//!   last [`WRITES_MAX`](super::register::WRITES_MAX) writes.) Every later ballot meets that majority, so a proposal
//!   that is still about in a lesser ballot is never taken up again.
//! - Else the write may have taken effect and been overwritten, or collected: *ambiguous*. So it is when time runs out
//!   on a suspect write. A write that is not suspect is *unavailable*: nobody has it.

use super::ballot::{Ballot, Epoch};
use super::register::{Answer, Floors, Op, State, Tag, WRITES_MAX};
use dlock_store::{Change, Content, Record, Version};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a read looks at what is under way before it leaves that to be settled.
const LOOKS_MAX: u32 = 4;

/// The ballots of one handle: each is given once.
#[derive(Debug)]
pub(super) struct Rounds {
    proposer: u64,
    last: AtomicU64,
}

impl Rounds {
    pub(super) fn new(proposer: u64) -> Rounds {
        Rounds { proposer, last: AtomicU64::new(0) }
    }

    /// A ballot that was never given, later than the round that was seen.
    fn next(&self, epoch: Epoch, seen: u64) -> Ballot {
        let after = |last: u64| Some(last.max(seen).saturating_add(1));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
        let round = after(last.unwrap_or_else(|last| last)).unwrap_or(u64::MAX);
        Ballot { epoch, round, proposer: self.proposer }
    }
}

/// What is wanted of a register.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    Read,
    /// To read, and finish what is under way if need be.
    Finish,
    /// To read, and to leave nothing under way that could still change what was read.
    Settle,
    Write {
        expected: u64,
        change: Change,
        tag: Tag,
    },
    /// To remove a tombstone, if all nodes take part.
    Collect,
}

/// What a handle remembers of a register, to be quicker the next time. It is used up by that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// The latest round seen.
    Seen(u64),
    /// The same, and that the register is being written: a look comes before a ballot.
    Busy(u64),
    /// A majority has accepted this handle's write, and promised this ballot.
    Promised { ballot: Ballot, version: u64, floor: u64, writes: SmallVec<[(u64, Tag); WRITES_MAX]> },
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Found(Record),
    /// Something is under way: a read can't tell without a ballot.
    Unsettled,
    Committed(Version),
    Conflict(Record),
    Collected,
    /// Not now; nothing depends on it.
    NotCollected,
    /// The write may have taken effect, or may yet.
    Ambiguous,
    /// Nothing was written, and nothing will be.
    Unavailable,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More answers are needed.
    Wait,
    /// More answers may help: call [`Proposer::hurry`] if they don't come soon.
    Linger,
    /// Ask every node this. Answers to what was asked before are of no interest any more.
    Ask(Op),
    /// Somebody is in the way, or too few answer: call [`Proposer::again`] after a while.
    Pause,
    /// There is a later epoch: call [`Proposer::again`] once a majority has joined it.
    Join(Epoch),
    Done(Outcome),
}

/// What is to be said once the state in hand is accepted.
#[derive(Clone, Debug)]
enum Intent {
    /// The write's own proposal.
    Write,
    /// Somebody else's state, which was found.
    Finish(Outcome),
}

#[derive(Debug)]
enum Phase {
    Reading,
    Preparing,
    Accepting { next: Ballot, state: Box<State>, intent: Intent },
    Retiring,
    Removing,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Proposer<'a> {
    rounds: &'a Rounds,
    nodes: usize,
    goal: Goal,
    epoch: Epoch,
    phase: Phase,
    ballot: Ballot,
    /// Of this phase, by node.
    answers: Vec<Option<Answer>>,
    /// The latest round that anybody has promised.
    seen: u64,
    looks: u32,
    /// The least version that a proposal of the write had, once one was sent that somebody may have accepted.
    suspect: Option<u64>,
    hint: Option<Hint>,
}

impl<'a> Proposer<'a> {
    pub(super) fn new(rounds: &'a Rounds, nodes: usize, goal: Goal) -> Proposer<'a> {
        Proposer {
            rounds,
            nodes,
            goal,
            epoch: Epoch(0),
            phase: Phase::Reading,
            ballot: Ballot::ZERO,
            answers: vec![None; nodes],
            seen: 0,
            looks: 0,
            suspect: None,
            hint: None,
        }
    }

    /// What to ask first. Answers count from here on.
    pub(super) fn begin(&mut self, epoch: Epoch, hint: Option<Hint>) -> Op {
        self.epoch = epoch;
        match (hint, &self.goal) {
            (Some(Hint::Promised { ballot, version, floor, writes }), Goal::Write { expected, .. })
                if version == *expected && ballot.epoch == epoch =>
            {
                self.ballot = ballot;
                let state = State { version, floor, writes, value: None, copied: false };
                self.propose(&state)
            }
            (Some(Hint::Promised { ballot: Ballot { round, .. }, .. } | Hint::Busy(round)), _) => {
                self.seen = round;
                self.restart(true)
            }
            (Some(Hint::Seen(round)), _) => {
                self.seen = round;
                self.restart(false)
            }
            (None, _) => self.restart(false),
        }
    }

    /// What to ask after a pause.
    pub(super) fn again(&mut self, epoch: Epoch) -> Op {
        self.epoch = epoch;
        self.restart(true)
    }

    /// A node's answer to what was asked last.
    pub(super) fn answer(&mut self, node: usize, answer: Answer) -> Step {
        match &answer {
            Answer::Refused { round } => self.seen = self.seen.max(*round),
            Answer::OtherEpoch(epoch) if *epoch > self.epoch => {
                let epoch = *epoch;
                self.answers[node] = Some(answer);
                return self.leave(Step::Join(epoch));
            }
            Answer::Found { row, floors } => {
                let promised = row.as_ref().map_or(0, |row| row.promised.round);
                self.seen = self.seen.max(promised).max(floors.round);
            }
            _ => {}
        }
        self.answers[node] = Some(answer);
        let last = self.answers.iter().all(Option::is_some);
        self.judge(last)
    }

    /// No more answers come soon.
    pub(super) fn hurry(&mut self) -> Step {
        self.judge(true)
    }

    /// Whether the sooner it is tried again the better: what became of it is only seen for a while.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.is_some()
    }

    /// The time is up.
    pub(super) fn give_up(mut self) -> Outcome {
        drop(self.leave(Step::Pause));
        match (&self.goal, self.suspect) {
            (Goal::Collect, _) => Outcome::NotCollected,
            (Goal::Write { .. }, Some(_)) => Outcome::Ambiguous,
            _ => Outcome::Unavailable,
        }
    }

    /// What to remember of the register, once it is done.
    pub(super) fn hint(&self) -> Hint {
        self.hint.clone().unwrap_or(Hint::Seen(self.seen.max(self.ballot.round)))
    }

    fn majority(&self) -> usize {
        self.nodes / 2 + 1
    }

    /// How many must agree.
    fn needed(&self) -> usize {
        if matches!(self.goal, Goal::Collect) { self.nodes } else { self.majority() }
    }

    fn ask(&mut self, phase: Phase, op: Op) -> Op {
        self.phase = phase;
        self.answers = vec![None; self.nodes];
        op
    }

    /// Begins with a look or with a ballot. A write that most likely does not fit begins with a look: that is enough to say
    /// so, and a ballot would be in the way of whoever's write does. What is suspect needs a ballot in any case.
    fn restart(&mut self, busy: bool) -> Op {
        let look = match self.goal {
            Goal::Read => true,
            Goal::Finish => self.ballot == Ballot::ZERO,
            Goal::Write { .. } => busy && self.suspect.is_none() && self.looks < LOOKS_MAX,
            Goal::Settle | Goal::Collect => false,
        };
        if look {
            return self.ask(Phase::Reading, Op::Read);
        }
        self.looks = 0;
        self.prepare()
    }

    fn prepare(&mut self) -> Op {
        self.ballot = self.rounds.next(self.epoch, self.seen);
        self.ask(Phase::Preparing, Op::Prepare { ballot: self.ballot })
    }

    /// Leaves a phase that has not come to its end.
    fn leave(&mut self, step: Step) -> Step {
        if let Phase::Accepting { state, intent: Intent::Write, .. } = &self.phase {
            let version = state.version;
            let certainly_not = |answer: &Option<Answer>| {
                matches!(
                    answer,
                    Some(Answer::Refused { .. } | Answer::OtherEpoch(_) | Answer::Failed { unknown: false })
                )
            };
            if !self.answers.iter().all(certainly_not) {
                self.suspect = Some(self.suspect.map_or(version, |suspect| suspect.min(version)));
            }
            // Said once: whoever leaves again has nothing more to add.
            self.phase = Phase::Preparing;
        }
        match (step, &self.goal) {
            (Step::Pause, Goal::Collect) => Step::Done(Outcome::NotCollected),
            (step, _) => step,
        }
    }

    fn count(&self, wanted: impl Fn(&Answer) -> bool) -> usize {
        self.answers.iter().flatten().filter(|answer| wanted(answer)).count()
    }

    /// What follows from the answers so far; `last` if no more are waited for.
    fn judge(&mut self, last: bool) -> Step {
        if matches!(self.phase, Phase::Reading) {
            return self.judge_read(last);
        }
        let agreeing = self.count(|answer| matches!(answer, Answer::Promised { .. } | Answer::Done));
        if agreeing >= self.needed() {
            return self.proceed();
        }
        let refused = self.count(|answer| matches!(answer, Answer::Refused { .. }));
        let missing = self.answers.iter().filter(|answer| answer.is_none()).count();
        if last || agreeing + missing < self.needed() {
            return self.leave(Step::Pause);
        }
        if refused > 0 { Step::Linger } else { Step::Wait }
    }

    fn judge_read(&mut self, last: bool) -> Step {
        let found = || {
            self.answers.iter().flatten().filter_map(|answer| match answer {
                Answer::Found { row, floors } => Some((row.as_ref(), floors)),
                _ => None,
            })
        };
        let accepted = || found().filter_map(|(row, _)| row?.accepted.as_ref());
        if let Some((greatest, state)) = accepted().max_by_key(|(ballot, _)| *ballot) {
            let votes = accepted().filter(|(ballot, state)| ballot == greatest && !state.copied);
            let agreeing = votes.count();
            if agreeing >= self.majority() {
                let record = state.record();
                return self.found(record);
            }
        }
        // Whoever writes next meets one of these, and gives a version that is greater than its floors' and so than the
        // least of them; whatever was collected has left a version on all that is no greater.
        let unused = || found().filter(|(row, _)| row.is_none()).map(|(_, floors)| floors);
        if unused().count() >= self.majority() {
            let version = unused().map(|floors| floors.version).min().unwrap_or_default();
            let floor = unused().map(|floors| floors.floor).max().unwrap_or_default();
            let record = Record { version: Version(version), content: Content::Absent { floor } };
            return self.found(record);
        }
        let answered = found().count();
        if !last {
            return if answered >= self.majority() { Step::Linger } else { Step::Wait };
        }
        if answered < self.majority() {
            return Step::Pause;
        }
        self.looks += 1;
        match self.goal {
            Goal::Read | Goal::Write { .. } if self.looks < LOOKS_MAX => Step::Pause,
            Goal::Read => Step::Done(Outcome::Unsettled),
            _ => {
                self.looks = 0;
                Step::Ask(self.prepare())
            }
        }
    }

    /// A look has shown what was chosen.
    fn found(&mut self, record: Record) -> Step {
        match &self.goal {
            Goal::Write { expected, .. } if record.version == Version(*expected) => Step::Ask(self.prepare()),
            // Nothing was proposed yet: it is not done, and never will be.
            Goal::Write { .. } => Step::Done(Outcome::Conflict(record)),
            _ => Step::Done(Outcome::Found(record)),
        }
    }

    /// As many as are needed have agreed.
    fn proceed(&mut self) -> Step {
        match &self.phase {
            Phase::Reading => Step::Wait,
            Phase::Preparing => self.decide(),
            Phase::Accepting { next, state, intent } => match intent {
                Intent::Write => {
                    let State { version, floor, ref writes, .. } = **state;
                    self.hint =
                        Some(Hint::Promised { ballot: *next, version, floor, writes: writes.clone() });
                    Step::Done(Outcome::Committed(Version(version)))
                }
                Intent::Finish(Outcome::Collected) => {
                    Step::Ask(self.ask(Phase::Retiring, Op::Retire { ballot: self.ballot }))
                }
                Intent::Finish(outcome) => Step::Done(outcome.clone()),
            },
            Phase::Retiring => Step::Ask(self.ask(Phase::Removing, Op::Remove { ballot: self.ballot })),
            Phase::Removing => Step::Done(Outcome::Collected),
        }
    }

    /// A majority has promised the ballot.
    fn decide(&mut self) -> Step {
        let promises: Vec<_> = self
            .answers
            .iter()
            .flatten()
            .filter_map(|answer| match answer {
                Answer::Promised { accepted, floors } => Some((accepted.clone(), *floors)),
                _ => None,
            })
            .collect();
        let base = Base::of(&promises);
        let chosen = base.agreeing >= self.majority();
        let outcome = match &self.goal {
            Goal::Read | Goal::Finish | Goal::Settle => Outcome::Found(base.state.record()),
            Goal::Collect if base.state.value.is_some() => return Step::Done(Outcome::NotCollected),
            Goal::Collect => Outcome::Collected,
            Goal::Write { expected, tag, .. } => match base.state.version_of(*tag) {
                Some(version) => Outcome::Committed(Version(version)),
                None if base.fits(*expected) => {
                    let state = base.state;
                    return Step::Ask(self.propose(&state));
                }
                None if self.suspect.is_some_and(|suspect| !base.names_all_from(suspect)) => {
                    return Step::Done(Outcome::Ambiguous);
                }
                None => Outcome::Conflict(base.state.record()),
            },
        };
        let settles = matches!(self.goal, Goal::Collect | Goal::Settle);
        if chosen && base.is_as_accepted() && self.suspect.is_none() && !settles {
            return Step::Done(outcome);
        }
        let state = base.state;
        // Nobody's next ballot: the register is not this handle's to write.
        let next = self.ballot;
        let phase =
            Phase::Accepting { next, state: Box::new(state.clone()), intent: Intent::Finish(outcome) };
        Step::Ask(self.ask(phase, Op::Accept { ballot: self.ballot, next, state }))
    }

    /// The write's own proposal, on what it fits on.
    fn propose(&mut self, base: &State) -> Op {
        let version = base.version.saturating_add(1);
        let state = match &self.goal {
            Goal::Write { change, tag, .. } => {
                let (floor, value) = match change {
                    Change::Put(value) => (base.floor, Some(value.to_bytes())),
                    Change::Delete { floor } => (base.floor.max(*floor), None),
                };
                State { version, floor, writes: base.writes_with(version, *tag), value, copied: false }
            }
            Goal::Read | Goal::Finish | Goal::Settle | Goal::Collect => base.clone(),
        };
        let next = self.rounds.next(self.epoch, self.ballot.round);
        let phase = Phase::Accepting { next, state: Box::new(state.clone()), intent: Intent::Write };
        let ballot = self.ballot;
        self.ask(phase, Op::Accept { ballot, next, state })
    }
}

/// What a majority that has promised a ballot has accepted before.
struct Base {
    /// The state of the greatest ballot; where it is an absence, its version and floor are the greatest of what it has
    /// itself and what the floors say.
    state: State,
    /// The least version that a read of this absence may have given.
    least: u64,
    /// How many have accepted it, in that ballot.
    agreeing: usize,
}

impl Base {
    fn of(promises: &[(Option<(Ballot, State)>, Floors)]) -> Base {
        let accepted = || promises.iter().filter_map(|(accepted, _)| accepted.as_ref());
        let greatest = accepted().max_by_key(|(ballot, _)| *ballot);
        let highest = promises.iter().map(|(_, floors)| floors.version).max().unwrap_or_default();
        let floor = promises.iter().map(|(_, floors)| floors.floor).max().unwrap_or_default();
        match greatest {
            Some((ballot, state)) => {
                let agreeing = accepted().filter(|(other, state)| other == ballot && !state.copied).count();
                let state = State { copied: false, ..state.clone() };
                let mut base = Base { least: state.version, state, agreeing };
                if base.state.value.is_none() {
                    base.state.version = base.state.version.max(highest);
                    base.state.floor = base.state.floor.max(floor);
                }
                base
            }
            None => {
                let least = promises.iter().map(|(_, floors)| floors.version).min().unwrap_or_default();
                let state =
                    State { version: highest, floor, writes: SmallVec::new(), value: None, copied: false };
                Base { state, least, agreeing: 0 }
            }
        }
    }

    /// Whether nothing was written since this version was read.
    fn fits(&self, expected: u64) -> bool {
        (self.least..=self.state.version).contains(&expected)
    }

    /// Whether a write that gave this version or a later one, and is not named, is certainly not in the history.
    fn names_all_from(&self, version: u64) -> bool {
        self.state.version < version || self.state.writes.last().is_some_and(|(oldest, _)| *oldest <= version)
    }

    /// Whether what was accepted is what is told.
    fn is_as_accepted(&self) -> bool {
        self.least == self.state.version
    }
}

#[cfg(test)]
mod tests;
