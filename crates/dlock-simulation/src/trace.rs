//! What happened in a run, line by line: hashed, so that two runs can be compared, and kept for people who look at one.

use crate::world::Time;
use std::fmt::{self, Write};

/// How a run's lines are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Only their hash.
    Hash,
    /// All of them.
    Lines,
}

/// The lines of a run.
#[derive(Debug)]
pub struct Trace {
    keep: Keep,
    hash: u64,
    count: u64,
    line: String,
    lines: Vec<String>,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace::new(Keep::Hash)
    }
}

impl Trace {
    /// An empty one.
    pub(crate) fn new(keep: Keep) -> Trace {
        Trace { keep, hash: 0xcbf2_9ce4_8422_2325, count: 0, line: String::new(), lines: Vec::new() }
    }

    pub(crate) fn note(&mut self, now: Time, who: &str, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string does not fail.
        let _ = write!(self.line, "{:>13.6} {who:<9} {what}", now.as_secs_f64());
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.count += 1;
        if self.keep == Keep::Lines {
            self.lines.push(self.line.clone());
        }
    }

    /// The hash of all lines (FNV-1a, 64 bits): the same for the same run.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The lines, if they were kept: the moment in seconds, who, and what.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
