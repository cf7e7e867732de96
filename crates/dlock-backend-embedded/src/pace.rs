//! For how long a batch waits for more.
//!
//! Who was answered just now often has the next write. If a batch takes the first of them alone, all others wait for two
//! syncs, and the disk does half of what it could. So a batch waits until it has as many writes as the last one had, unless
//! nobody comes for a while: a part of the time that the disk takes anyway.

use std::time::{Duration, Instant};

/// A batch waits for at most one part, of so many, of the time that the last one took.
const PATIENCE_PARTS: u32 = 2;
/// It waits no longer when nobody has come for one part, of so many.
const QUIET_PARTS: u32 = 16;
/// It waits no longer than this in any case.
const PATIENCE_MAX: Duration = Duration::from_millis(5);

/// What the last batch was like.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pace {
    writes: usize,
    took: Duration,
}

#[allow(clippy::disallowed_methods)] // it decides when to write, and nothing of what is stored
impl Pace {
    /// A batch had so many writes.
    pub(crate) fn had(&mut self, writes: usize) {
        self.writes = writes;
    }

    /// The disk took so long for it.
    pub(crate) fn took(&mut self, took: Duration) {
        self.took = took;
    }

    /// The next batch begins to wait.
    pub(crate) fn begin(&self) -> Wait {
        let now = Instant::now();
        Wait { pace: *self, since: now, last_came: now, somebody_came: false }
    }
}

/// A batch that waits.
pub(crate) struct Wait {
    pace: Pace,
    since: Instant,
    last_came: Instant,
    somebody_came: bool,
}

#[allow(clippy::disallowed_methods)] // as above
impl Wait {
    /// Somebody has come. The clock is not looked at for each.
    pub(crate) fn somebody_came(&mut self) {
        self.somebody_came = true;
    }

    /// Whether it waits no longer, with so many writes.
    pub(crate) fn is_over(&mut self, writes: usize) -> bool {
        writes >= self.pace.writes || self.is_over_at(Instant::now())
    }

    fn is_over_at(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.somebody_came) {
            self.last_came = now;
        }
        let patience = (self.pace.took / PATIENCE_PARTS).min(PATIENCE_MAX);
        now - self.since >= patience || now - self.last_came >= self.pace.took / QUIET_PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_as_many_as_before_while_they_come() {
        let pace = Pace { writes: 10, took: Duration::from_millis(8) };
        assert!(pace.begin().is_over(10), "as many as before");
        let mut wait = pace.begin();
        let at = |wait: &Wait, micros| wait.since + Duration::from_micros(micros);
        for micros in [300, 600, 900] {
            wait.somebody_came();
            assert!(!wait.is_over_at(at(&wait, micros)), "somebody came");
        }
        assert!(!wait.is_over_at(at(&wait, 1300)));
        assert!(wait.is_over_at(at(&wait, 1400)), "nobody came for half a millisecond");
        wait.somebody_came();
        assert!(wait.is_over_at(at(&wait, 4000)), "half of what the disk takes");
    }
}
