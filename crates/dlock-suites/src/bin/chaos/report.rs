//! What came of it, as Markdown.

use crate::commands::Ran;
use crate::fault::Fault;
use dlock_suites::LoadReport;
use dlock_suites::history::{self, Violation};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How many violations and errors are shown.
const SHOWN_MAX: usize = 5;

pub(crate) struct Report {
    pub(crate) title: String,
    pub(crate) took: Duration,
    pub(crate) load: LoadReport,
    pub(crate) ran: Ran,
    pub(crate) violations: Vec<Violation>,
    /// How long each fault's end was from the next grants.
    pub(crate) recoveries: BTreeMap<String, Vec<Duration>>,
    /// Whether everybody was served again after each fault.
    pub(crate) unserved: Option<String>,
}

impl Report {
    pub(crate) fn new(
        title: String,
        took: Duration,
        mut load: LoadReport,
        ran: Ran,
        recoveries: BTreeMap<String, Vec<Duration>>,
        unserved: Option<String>,
    ) -> Report {
        let mut violations = std::mem::take(&mut load.violations);
        violations.extend(history::check(&ran.held));
        Report { title, took, load, ran, violations, recoveries, unserved }
    }

    /// Nothing was promised that can't be kept, and service always resumed.
    pub(crate) fn is_safe(&self) -> bool {
        self.violations.is_empty() && self.unserved.is_none() && self.load.grants > 0
    }
}

/// The name under which faults that came together are counted.
pub(crate) fn name(faults: &[Fault]) -> String {
    let mut names: Vec<String> = faults.iter().map(ToString::to_string).collect();
    names.sort();
    names.join(" + ")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { title, took, load, ran, violations, .. } = self;
        writeln!(f, "### {title}\n")?;
        writeln!(f, "| | |\n|---|---:|")?;
        writeln!(f, "| minutes | {:.1} |", took.as_secs_f64() / 60.0)?;
        writeln!(f, "| locks granted through the SDK | {} |", load.grants)?;
        writeln!(f, "| acquires, conversions and releases that failed | {} |", load.errors.len())?;
        writeln!(f, "| guards lost before their release | {} |", load.losses.len())?;
        writeln!(f, "| sessions lost | {} |", load.lost_sessions.len())?;
        writeln!(f, "| commands run under a lock | {} of {} |", ran.held.len(), ran.runs)?;
        writeln!(f, "| commands that did not end well | {} |", ran.failed)?;
        writeln!(f, "| longest time without a grant | {:.1} s |", load.longest_gap.as_secs_f64())?;
        writeln!(f, "| **violations** | **{}** |\n", violations.len())?;
        writeln!(f, "| fault | times | longest until service resumed, from its end |\n|---|---:|---:|")?;
        for (fault, recoveries) in &self.recoveries {
            let longest = recoveries.iter().max().map_or(0.0, Duration::as_secs_f64);
            writeln!(f, "| {fault} | {} | {longest:.1} s |", recoveries.len())?;
        }
        for violation in violations.iter().take(SHOWN_MAX) {
            writeln!(f, "\n{violation}")?;
        }
        if let Some(unserved) = &self.unserved {
            writeln!(f, "\nnot served any more: {unserved}")?;
        }
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        let losses = load.losses.iter().map(|reason| format!("a guard was lost: {reason}"));
        for what in load.errors.iter().cloned().chain(losses) {
            *kinds.entry(what).or_default() += 1;
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (error, count) in kinds.into_iter().take(SHOWN_MAX) {
            writeln!(f, "\n{count} times: {error}")?;
        }
        Ok(())
    }
}
