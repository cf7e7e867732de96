//! Removing the tombstones: what is left of a deleted record is a row in every node, and with one for every name that
//! was ever used the nodes would fill up.
//!
//! A tombstone can be forgotten only by all: if one node kept an older row and the others had none, the older row would
//! be all that is known of the register. So all nodes take part, or nothing is done:
//!
//! 1. *All* accept the tombstone in a new ballot. No older row is left anywhere.
//! 2. *All* raise their bucket's floors to its version, its floor and its round. From then on, whoever has no row
//!    takes part in later rounds only, so that no message from before can bring anything back, and says which versions
//!    and floors may have been used.
//! 3. Each removes its row, unless somebody has asked for a later ballot.
//!
//! Whether a row is there makes no difference from 2 on: a tombstone, or no row and the floors, are the same absence.

use super::council::Council;
use super::proposer::{Goal, Outcome};
use dlock_store::Key;
use futures::future::join_all;
use redis::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How many names are looked at in a sweep, and how many are removed at a time.
const SWEPT: usize = 2048;
const AT_A_TIME: usize = 64;

/// Removes tombstones, for ever. What was dead in one sweep and still is in a later one is removed: a record that is
/// deleted and made anew all the time is left alone, mostly.
pub(super) async fn collect(council: Arc<Council>, interval: Duration) {
    let mut dead: HashSet<Key> = HashSet::new();
    loop {
        tokio::time::sleep(interval.mul_f64(rand::random_range(0.5..1.5))).await;
        if council.seated() < council.members.len() {
            continue;
        }
        let Some(found) = some_dead(&council).await else { continue };
        let ripe: Vec<Key> = found.iter().filter(|key| dead.contains(*key)).cloned().collect();
        let mut collected = 0;
        for some in ripe.chunks(AT_A_TIME) {
            let done = join_all(some.iter().map(|key| council.run(key, Goal::Collect, None))).await;
            collected += done.iter().filter(|(outcome, _)| *outcome == Outcome::Collected).count();
        }
        if collected > 0 {
            tracing::debug!(collected, "tombstones are removed");
        }
        dead = found;
    }
}

/// Names of rows without a value, as some node knows them: by chance, so that handles do not all take the same.
async fn some_dead(council: &Council) -> Option<HashSet<Key>> {
    let number = rand::random_range(0..council.members.len());
    let seat = council.members.get(number)?.seat()?;
    let mut command = redis::cmd("SRANDMEMBER");
    command.arg(&seat.names.dead).arg(SWEPT);
    let names = match seat.line.send(command).await {
        Ok(Value::Array(names) | Value::Set(names)) => names,
        other => {
            tracing::debug!(?other, "the dead are not known");
            return None;
        }
    };
    let key = |name| match name {
        Value::BulkString(name) => Key::new(std::str::from_utf8(&name).ok()?).ok(),
        _ => None,
    };
    Some(names.into_iter().filter_map(key).collect())
}
