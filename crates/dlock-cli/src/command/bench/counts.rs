//! What is counted while it runs.

use crate::exit::{self, Exit};
use dlock_core::Timestamp;
use hdrhistogram::Histogram;
use std::fmt::Display;

/// When it is measured.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
}

impl Window {
    pub(super) fn contains(&self, moment: Timestamp) -> bool {
        (self.begin..self.end).contains(&moment)
    }

    pub(super) fn seconds(&self) -> f64 {
        self.end.since(self.begin).as_secs_f64()
    }
}

/// How long things took, in nanoseconds.
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    /// Up to ten minutes, with three digits.
    pub(super) fn new() -> Result<Latencies, Exit> {
        let histogram = Histogram::new_with_bounds(1, 600_000_000_000, 3);
        histogram.map(Latencies).map_err(|error| Exit::new(exit::FAILURE, error))
    }

    pub(super) fn record(&mut self, from: Timestamp, to: Timestamp) {
        self.0.saturating_record(to.0.saturating_sub(from.0).max(1));
    }

    pub(super) fn add(&mut self, other: &Latencies) {
        // All have the same bounds.
        let _ = self.0.add(&other.0);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// In microseconds.
    pub(super) fn quantile(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// In microseconds.
    pub(super) fn max(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }
}

/// What the workers of a thread count together.
pub(super) struct Counts {
    /// Turns that were done in full.
    pub(super) pairs: u64,
    /// Turns that ended with a refusal, as a *try* does.
    pub(super) refused: u64,
    /// Turns that were due, but which the load was too far behind to begin.
    pub(super) omitted: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    /// The first half of a turn: the acquire, or the conversion upwards.
    pub(super) first: Latencies,
    /// The second half: the release, or the conversion downwards.
    pub(super) second: Latencies,
    /// Both.
    pub(super) whole: Latencies,
    /// From a release sent to the next one's grant received.
    pub(super) hand_over: Latencies,
}

impl Counts {
    pub(super) fn new() -> Result<Counts, Exit> {
        Ok(Counts {
            pairs: 0,
            refused: 0,
            omitted: 0,
            errors: 0,
            first_error: None,
            first: Latencies::new()?,
            second: Latencies::new()?,
            whole: Latencies::new()?,
            hand_over: Latencies::new()?,
        })
    }

    /// A turn from `start`, half-way at `middle`, done at `end`.
    pub(super) fn done(&mut self, [start, middle, end]: [Timestamp; 3]) {
        self.pairs += 1;
        self.first.record(start, middle);
        self.second.record(middle, end);
        self.whole.record(start, end);
    }

    pub(super) fn refused(&mut self, start: Timestamp, end: Timestamp) {
        self.refused += 1;
        self.first.record(start, end);
    }

    pub(super) fn error(&mut self, error: &impl Display) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    pub(super) fn add(&mut self, other: &Counts) {
        self.pairs += other.pairs;
        self.refused += other.refused;
        self.omitted += other.omitted;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        self.first.add(&other.first);
        self.second.add(&other.second);
        self.whole.add(&other.whole);
        self.hand_over.add(&other.hand_over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let mut all = Counts::new().unwrap();
        let mut one = Counts::new().unwrap();
        one.done([Timestamp(1_000), Timestamp(3_000), Timestamp(9_000)]);
        one.refused(Timestamp(0), Timestamp(500));
        one.error(&"no");
        all.add(&one);
        all.add(&one);
        assert_eq!((all.pairs, all.refused, all.errors), (2, 2, 2));
        assert_eq!(all.first_error.as_deref(), Some("no"));
        assert!((all.whole.max() - 8.0).abs() < 0.1 && (all.first.max() - 2.0).abs() < 0.1);
    }
}
