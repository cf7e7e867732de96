//! What came of it, as Markdown.

use crate::idle::Kept;
use crate::sample::{Drained, Sample};
use crate::visitors::Visited;
use dlock_suites::LoadReport;
use std::fmt;

/// The time is told in so many parts of equal length: the first is for warming up.
pub(crate) const PARTS: u32 = 6;
/// How many samples each part has.
pub(crate) const SAMPLES: u32 = 10;
/// What does not grow by more from the second part to the last is flat. Allocators keep some of what they were given,
/// and what visitors hold at a moment goes up and down.
const GROWTH: f64 = 1.1;
/// How many errors are shown.
const SHOWN_MAX: usize = 5;

pub(crate) struct Report {
    pub(crate) title: String,
    pub(crate) samples: Vec<Sample>,
    pub(crate) grants_by_load: usize,
    pub(crate) load: LoadReport,
    pub(crate) visited: Visited,
    pub(crate) kept: Kept,
    pub(crate) drained: Drained,
}

/// A figure of a sample.
type Figure = (&'static str, fn(&Sample) -> f64);

const FIGURES: [Figure; 6] = [
    ("memory of all servers, MiB", |sample| sample.resident_bytes as f64 / f64::from(1 << 20)),
    ("descriptors", |sample| sample.descriptors as f64),
    ("threads", |sample| sample.threads as f64),
    ("tasks", |sample| sample.tasks as f64),
    ("sessions in the store", |sample| sample.sessions as f64),
    ("resources in the store", |sample| sample.resources as f64),
];

impl Report {
    /// Nothing grew, nothing was lost, nothing was left behind.
    pub(crate) fn is_flat(&self) -> bool {
        let grown = FIGURES.iter().any(|(_, figure)| {
            let means = self.means(*figure);
            means.last() > means.get(1).map(|mean| mean * GROWTH).as_ref()
        });
        let left = self.drained.last.sessions + self.drained.last.resources;
        !grown && left == 0 && self.kept.lost == 0 && self.load.violations.is_empty()
    }

    /// The figure's mean in each part.
    fn means(&self, figure: fn(&Sample) -> f64) -> Vec<f64> {
        let parts = self.samples.chunks(SAMPLES as usize);
        parts.map(|part| part.iter().map(figure).sum::<f64>() / part.len() as f64).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { title, samples, load, visited, kept, drained, .. } = self;
        writeln!(f, "### {title}\n")?;
        let ends = samples.chunks(SAMPLES as usize).filter_map(|part| part.last());
        let ends: Vec<String> =
            ends.map(|end| format!("to {:.0} min", end.at.as_secs_f64() / 60.0)).collect();
        writeln!(f, "| | {} |\n|---|{}", ends.join(" | "), "---:|".repeat(ends.len()))?;
        for (name, figure) in FIGURES {
            let means: Vec<String> = self.means(figure).iter().map(|mean| format!("{mean:.0}")).collect();
            writeln!(f, "| {name} | {} |", means.join(" | "))?;
        }
        writeln!(f, "\n| | |\n|---|---:|")?;
        writeln!(f, "| locks granted without a pause | {} |", self.grants_by_load)?;
        writeln!(f, "| visitors' sessions | {} |", visited.sessions)?;
        writeln!(f, "| visitors' locks | {} |", visited.locks)?;
        writeln!(f, "| visitors who were told of an error | {} |", visited.errors.values().sum::<u64>())?;
        writeln!(f, "| idle sessions | {} |", kept.sessions)?;
        writeln!(f, "| their heartbeats | {} |", kept.heartbeats)?;
        writeln!(f, "| idle sessions lost | {} |", kept.lost)?;
        writeln!(f, "| other sessions lost | {} |", load.lost_sessions.len())?;
        writeln!(f, "| violations | {} |", load.violations.len())?;
        writeln!(f, "| minutes until the store was empty | {:.1} |", drained.took.as_secs_f64() / 60.0)?;
        writeln!(
            f,
            "| sessions and resources left behind | {} and {} |",
            drained.last.sessions, drained.last.resources
        )?;
        writeln!(f, "\nIn the end: {}", drained.last)?;
        for (error, count) in visited.errors.iter().take(SHOWN_MAX) {
            writeln!(f, "\n{count} times: {error}")?;
        }
        for violation in load.violations.iter().take(SHOWN_MAX) {
            writeln!(f, "\n{violation}")?;
        }
        Ok(())
    }
}
