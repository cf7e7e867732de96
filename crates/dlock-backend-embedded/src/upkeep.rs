//! What a durable store does besides its writes.

use std::time::Duration;

/// What a durable store does besides its writes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Upkeep {
    /// A snapshot takes the log's place when the log has this length, in bytes, or that of the last snapshot, if that is
    /// longer. Where there is little room on the disk, the log is kept shorter.
    pub log_bytes: u64,
    /// Whether snapshots are written by a thread of their own. Else they are written between the batches, page by page,
    /// which takes longer, but is the same each time: for tests that must be repeatable.
    pub snapshots_beside: bool,
    /// How long after a batch that could not be written, and after each vain attempt to mend that, comes the next attempt.
    pub mend_interval: Duration,
}

impl Default for Upkeep {
    fn default() -> Upkeep {
        Upkeep { log_bytes: 64 << 20, snapshots_beside: true, mend_interval: Duration::from_secs(1) }
    }
}
