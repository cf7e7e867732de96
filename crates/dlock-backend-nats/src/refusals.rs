//! Refusals that show that the copy is not what the bucket's leader has.
//!
//! Whoever was refused reads again, and expects another message then. When the same one is expected and refused again and
//! again, the consumer that the copy is made of follows a replica that differs from the leader (as those of servers 2.9
//! may after a leader was killed), or somebody has purged the bucket by hand. A new consumer may be with another
//! replica: the copy is made anew until it agrees.

use dlock_store::Key;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// So often in a row, and for so long, the same has to be refused: a marker comes before what it forgets is purged.
const TIMES: u32 = 5;
const AT_LEAST: Duration = Duration::from_secs(3);
/// More records than this are not remembered.
const KEYS_MAX: usize = 4096;

/// What was refused to a handle last, by record.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<HashMap<Key, Refused>>);

struct Refused {
    /// The message that was expected to be the last.
    expected: u64,
    times: u32,
    since: Instant,
}

impl Refusals {
    /// The leader has another last message than this one. True if the copy is to be made anew.
    pub(crate) fn refused(&self, key: &Key, expected: u64, now: Instant) -> bool {
        let mut refusals = self.0.lock();
        if refusals.len() >= KEYS_MAX {
            refusals.clear();
        }
        let refused =
            refusals.entry(key.clone()).or_insert_with(|| Refused { expected, times: 0, since: now });
        if refused.expected != expected {
            *refused = Refused { expected, times: 0, since: now };
        }
        refused.times += 1;
        let disagree = refused.times >= TIMES && now.duration_since(refused.since) >= AT_LEAST;
        if disagree {
            refusals.clear();
        }
        disagree
    }

    /// A record was written.
    pub(crate) fn accepted(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_expected_in_vain_again_and_again_for_a_while_counts() {
        let (refusals, key, start) = (Refusals::default(), Key::new("k").unwrap(), Instant::now());
        let refused =
            |expected, second| refusals.refused(&key, expected, start + Duration::from_secs(second));
        assert!((0..20).all(|_| !refused(7, 0)), "too soon");
        assert!(!refused(8, 4), "others were quicker");
        assert!((5..8).all(|second| !refused(8, second)), "too seldom");
        assert!(refused(8, 8));
        assert!(!refused(8, 9), "the copy is new");
        refusals.accepted(&key);
        assert!(refusals.0.lock().is_empty());
    }
}
