//! The embedded store's power is cut under an engine: no grant and no release that was acknowledged is lost.

use crate::world::{Client, name, open_with};
use dlock_backend_embedded::simulated::SimulatedDisk;
use dlock_backend_embedded::{EmbeddedStore, Upkeep};
use dlock_core::lease::LeaseTerms;
use dlock_core::session::EndReason;
use dlock_core::{Mode, SessionId, Token};
use dlock_engine::{Engine, EngineConfig};
use dlock_runtime::Environment;
use futures::future::{Either, join_all, select};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// How many cuts there are, if not [`CUTS_VARIABLE`].
const CUTS: u64 = 10_000;
const CUTS_VARIABLE: &str = "DLOCK_ENGINE_POWER_CUTS";
/// How often one disk's power is cut.
const CUTS_PER_SEED: u64 = 10;
const RESOURCES: u64 = 12;
const CLIENTS: usize = 4;
/// The longest that an engine lives, in calls of the disk that change something.
const CALLS_MAX: u64 = 120;
/// So long that no session ends by itself.
const TTL: Duration = Duration::from_secs(600);

/// What is known of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Held(Token),
    /// It had this token.
    Released(Token),
    /// Nobody has heard whether it was granted.
    Asked,
    /// Nobody has heard whether it was released.
    Releasing(Token),
}

/// All locks that were ever asked for, by session and number.
type Locks = BTreeMap<(SessionId, u64), (u64, Known)>;

fn resource(number: u64) -> String {
    format!("resource {number}")
}

/// One client takes and releases locks until the power is cut; what it was told.
async fn live(client: Client, disk: &SimulatedDisk, mut random: StdRng) -> Locks {
    let mut locks = Locks::new();
    for lock in 1.. {
        let number = random.random_range(0..RESOURCES);
        let mode = if random.random() { Mode::Exclusive } else { Mode::ProtectedRead };
        let key = (client.session.id(), lock);
        locks.insert(key, (number, Known::Asked));
        match until_cut(disk, client.try_lock(lock, &resource(number), mode)).await {
            None => return locks,
            Some(Err(_)) => {
                locks.remove(&key);
            }
            Some(Ok(grant)) => {
                locks.insert(key, (number, Known::Held(grant.token)));
            }
        }
        let held: Vec<_> = locks.iter().filter_map(|(key, (number, known))| match known {
            Known::Held(token) => Some((*key, *number, *token)),
            _ => None,
        });
        if held.is_empty() || random.random_range(0..3) == 0 {
            continue;
        }
        let (key, number, token) = held[random.random_range(0..held.len())];
        locks.insert(key, (number, Known::Releasing(token)));
        match until_cut(disk, client.release(key.1)).await {
            None => return locks,
            Some(reply) => {
                reply.unwrap();
                locks.insert(key, (number, Known::Released(token)));
            }
        }
    }
    locks
}
