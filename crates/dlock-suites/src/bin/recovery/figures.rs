//! What was measured, and what was wanted.

use dlock_suites::Backend;
use std::time::Duration;

pub(crate) const HEAD: &str =
    "| store | after | target | times | median | p99 | longest | |\n|---|---|---|---:|---:|---:|---:|---|";

/// A row of the table.
pub(crate) struct Row {
    /// What happened, and what was measured since.
    pub(crate) what: &'static str,
    pub(crate) figures: Figures,
}

/// What is compared with a target.
pub(crate) enum Figures {
    /// All but one of a hundred may take no longer than `target`.
    Times { target: Duration, taken: Vec<Duration> },
    /// No more than `target` of `of`.
    Count { target: f64, found: usize, of: usize },
}

impl Row {
    pub(crate) fn is_met(&self) -> bool {
        match &self.figures {
            Figures::Times { target, taken } => quantile(taken, 0.99) <= *target,
            Figures::Count { target, found, of } => *found as f64 <= target * *of as f64,
        }
    }

    /// As Markdown.
    pub(crate) fn of(&self, backend: Backend) -> String {
        let (what, title) = (self.what, backend.title());
        let met = if self.is_met() { "met" } else { "**not met**" };
        match &self.figures {
            Figures::Times { target, taken } => {
                let of = |share| quantile(taken, share).as_secs_f64();
                format!(
                    "| {title} | {what} | {:.1} s | {} | {:.2} s | {:.2} s | {:.2} s | {met} |",
                    target.as_secs_f64(),
                    taken.len(),
                    of(0.5),
                    of(0.99),
                    of(1.0)
                )
            }
            Figures::Count { target, found, of } => {
                format!("| {title} | {what} | {} % | {of} | | | {found} | {met} |", target * 100.0)
            }
        }
    }
}

/// The shortest time that this share of all does not exceed.
fn quantile(taken: &[Duration], share: f64) -> Duration {
    let mut sorted = taken.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(Duration::MAX)
}
