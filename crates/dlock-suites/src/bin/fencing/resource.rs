//! The protected resource, a stand-in for storage: a counter that is read and written, and the fence before it.

use dlock_core::{Fence, StaleToken, Token};

/// When tokens are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The resource takes what comes.
    Never,
    /// A read may come with any token, and leaves no trace: not enough, as the runs show.
    Writes,
    /// As it should be.
    ReadsAndWrites,
}

/// What came of the writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Acknowledged: each has counted one further, as far as its client knows.
    pub(crate) written: u64,
    /// Came after another client had read, and so had the lock.
    pub(crate) late: u64,
    /// Refused for their token, late ones.
    pub(crate) late_refused: u64,
    /// Refused for their token though nobody else had read: there should be none.
    pub(crate) wrongly_refused: u64,
    /// What the counter says.
    pub(crate) counter: u64,
}

impl Tally {
    /// Acknowledged, and not counted.
    pub(crate) fn lost(&self) -> u64 {
        self.written - self.counter
    }
}

/// A counter under a lock.
#[derive(Debug)]
pub(crate) struct Resource {
    check: Check,
    fence: Fence,
    /// Who has read last. Whether a write is late is told by this, and not by its token.
    reader: Option<usize>,
    tally: Tally,
}

impl Resource {
    pub(crate) fn new(check: Check) -> Resource {
        Resource { check, fence: Fence::default(), reader: None, tally: Tally::default() }
    }

    /// The counter, for a client that is about to change it.
    pub(crate) fn read(&mut self, client: usize, token: Token) -> Result<u64, StaleToken> {
        if self.check == Check::ReadsAndWrites {
            self.fence.admit(token)?;
        }
        self.reader = Some(client);
        Ok(self.tally.counter)
    }

    /// Replaces the counter.
    pub(crate) fn write(&mut self, client: usize, token: Token, value: u64) -> Result<(), StaleToken> {
        let is_late = self.reader != Some(client);
        self.tally.late += u64::from(is_late);
        if self.check != Check::Never
            && let Err(stale) = self.fence.admit(token)
        {
            let refused =
                if is_late { &mut self.tally.late_refused } else { &mut self.tally.wrongly_refused };
            *refused += 1;
            return Err(stale);
        }
        self.tally.written += 1;
        self.tally.counter = value;
        Ok(())
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }
}
