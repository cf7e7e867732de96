//! The checker: judges a history by what the contract promises, and by nothing of dlock's own code.

mod exclusion;
mod linear;
mod spec;
#[cfg(test)]
mod tests;
mod tokens;

use crate::history::{History, Operation};
use std::fmt;

/// What a run must not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Two clients counted on locks of incompatible modes at one time.
    Exclusion,
    /// A later grant had no greater token than an earlier conflicting one.
    Tokens,
    /// No order of the operations explains what the clients were told: a grant or release that was acknowledged is lost,
    /// a value block is not that of the last write, or a *try* was refused for nothing.
    Linearizability,
    /// Somebody waits without an end, though nothing is broken any more; or a lock can't be had though nobody holds it.
    Liveness,
    /// A register that checks tokens lost an update.
    LostUpdate,
    /// A client was told what makes no sense: an answer that the protocol does not allow, or a refusal without a reason.
    Complaint,
    /// Something panicked.
    Panic,
}

/// That a rule is broken, and how.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// What was seen, for people.
    pub description: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.description)
    }
}

/// What the checker found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Broken rules.
    pub violations: Vec<Violation>,
    /// Resources whose history is so ambiguous that the search for an order of it was given up.
    pub inconclusive: usize,
}

/// Judges a history. `sequential` to search for an order of the operations, too: not for stores that go back in time.
/// Where servers have `mastered` resources, an empty value block may be marked as not valid without a reason.
pub fn check(history: &History, resources: usize, sequential: bool, mastered: bool) -> Findings {
    let mut findings = Findings::default();
    exclusion::check(history, &mut findings);
    tokens::check(history, &mut findings);
    if sequential {
        for resource in 0..resources {
            linear::check(history, resource, mastered, &mut findings);
        }
    }
    findings
}

impl Findings {
    pub(crate) fn add(&mut self, rule: Rule, description: String) {
        self.violations.push(Violation { rule, description });
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { client, resource, lock, ask, invoked, completed, answer, .. } = self;
        write!(f, "{:>11.6}", invoked.as_secs_f64())?;
        match completed {
            Some(completed) => write!(f, " ..{:>11.6}", completed.as_secs_f64())?,
            None => f.write_str(" ..          -")?,
        }
        write!(f, " {client:<7} r{resource} #{lock} {ask:?} -> {answer:?}")
    }
}
