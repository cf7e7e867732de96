//! The runs as a table, and whether they show what they should.

use crate::resource::{Check, Tally};
use std::fmt;

pub(crate) const HEAD: &str = "| tokens checked | holders stopped | writes | late writes | of them refused | acknowledged | counted | updates lost |\n|---|---:|---:|---:|---:|---:|---:|---:|";

/// A run.
pub(crate) struct Row {
    pub(crate) check: Check,
    pub(crate) pauses: usize,
    pub(crate) tally: Tally,
}

impl Row {
    /// Every stopped holder wrote late. Unchecked, each of these writes costs an update at least, its own or another's;
    /// checked, each is refused, and nothing is lost.
    pub(crate) fn is_as_claimed(&self) -> bool {
        let Row { check, pauses, tally } = self;
        let pauses = *pauses as u64;
        // Holders are stopped in turn before and after the next one's read.
        let (after_a_write, before_a_write) = (pauses.div_ceil(2), pauses / 2);
        tally.late >= pauses
            && match check {
                Check::Never => tally.late_refused == 0 && tally.lost() >= pauses,
                Check::Writes => tally.late_refused >= after_a_write && tally.lost() >= before_a_write,
                Check::ReadsAndWrites => {
                    tally.late_refused == tally.late && tally.wrongly_refused == 0 && tally.lost() == 0
                }
            }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { written, late, late_refused, wrongly_refused, counter } = self.tally;
        let check = match self.check {
            Check::Never => "never",
            Check::Writes => "by writes only",
            Check::ReadsAndWrites => "by reads and writes",
        };
        let asked = written + late_refused + wrongly_refused;
        write!(
            f,
            "| {check} | {} | {asked} | {late} | {late_refused} | {written} | {counter} | **{}** |",
            self.pauses,
            self.tally.lost()
        )
    }
}
