//! Nobody counts on a lock while somebody else counts on one of an incompatible mode.

use super::spec::compatible;
use super::{Findings, Rule};
use crate::history::{History, Hold};
use std::fmt;

pub(super) fn check(history: &History, findings: &mut Findings) {
    let mut holds: Vec<&Hold> = history.holds.iter().collect();
    holds.sort_by_key(|hold| (hold.from, hold.lock));
    let mut open: Vec<&Hold> = Vec::new();
    for hold in holds {
        open.retain(|other| other.to > hold.from);
        for other in &open {
            let same = other.resource != hold.resource || other.lock == hold.lock;
            if !same && !compatible(other.mode, hold.mode) {
                findings.add(Rule::Exclusion, format!("both at one time:\n  {other}\n  {hold}"));
            }
        }
        open.push(hold);
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hold { client, lock, resource, mode, token, from, to, .. } = self;
        let (from, to) = (from.as_secs_f64(), to.as_secs_f64());
        write!(f, "{from:>11.6} ..{to:>11.6} {client:<7} r{resource} #{lock} {mode} token {token}")
    }
}
