//! The embedded store's power is cut under an engine: no grant and no release that was acknowledged is lost.

use crate::world::{Client, name, open_with};
use dlock_backend_embedded::simulated::SimulatedDisk;
use dlock_backend_embedded::{EmbeddedStore, Upkeep};
use dlock_core::lease::LeaseTerms;
use dlock_core::session::EndReason;
use dlock_core::{Mode, SessionId, Token};
use dlock_engine::{Caller, Engine, EngineConfig, RequestError};
use dlock_runtime::Environment;
use futures::future::{Either, join_all, select};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Nobody has heard whether it was granted.
    Asked,
    Held(Token),
    /// Nobody has heard whether it was released, or its session ended.
    Leaving(Token),
    Released(Token),
    /// Its session was ended.
    Ended(Token),
}

/// All locks that were ever asked for, by session and number, with the number of their resource.
type Locks = BTreeMap<(SessionId, u64), (u64, Known)>;

fn resource(number: u64) -> String {
    format!("resource {number}")
}

/// The answer, unless the power is cut first.
async fn until_cut<T>(disk: &SimulatedDisk, call: impl Future<Output = T>) -> Option<T> {
    let cut = async {
        while !disk.is_cut() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    match select(pin!(call), pin!(cut)).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}

/// One client takes and releases locks until the power is cut; what it was told.
async fn work(client: Client, disk: &SimulatedDisk, mut random: StdRng) -> Locks {
    let mut locks = Locks::new();
    for lock in 1.. {
        let number = random.random_range(0..RESOURCES);
        let mode = if random.random() { Mode::Exclusive } else { Mode::ProtectedRead };
        let key = (client.session.id(), lock);
        locks.insert(key, (number, Known::Asked));
        match until_cut(disk, client.try_lock(lock, &resource(number), mode)).await {
            Some(Ok(grant)) => {
                locks.insert(key, (number, Known::Held(grant.token)));
            }
            Some(Err(RequestError::Refused(_))) => {
                locks.remove(&key);
            }
            Some(Err(error)) => {
                assert!(disk.is_cut(), "{error}");
                break;
            }
            None => break,
        }
        let held: Vec<_> = locks.iter().filter_map(held).collect();
        if held.is_empty() || random.random_range(0..3) == 0 {
            continue;
        }
        let (key, number, token) = held[random.random_range(0..held.len())];
        locks.insert(key, (number, Known::Leaving(token)));
        match until_cut(disk, client.release(key.1)).await {
            Some(Ok(_)) => {
                locks.insert(key, (number, Known::Released(token)));
            }
            Some(Err(error)) => {
                assert!(disk.is_cut(), "{error}");
                break;
            }
            None => break,
        }
    }
    locks
}

fn held(
    (key, (number, known)): (&(SessionId, u64), &(u64, Known)),
) -> Option<((SessionId, u64), u64, Token)> {
    match known {
        Known::Held(token) => Some((*key, *number, *token)),
        _ => None,
    }
}

/// Compares what is there with what clients were told; what they were not told is known from now on.
async fn check(engine: &Engine, locks: &mut Locks) {
    for number in 0..RESOURCES {
        let id = name(&resource(number));
        let view = engine.resource(&id).await.unwrap();
        for holder in &view.holders {
            let known = locks.get(&(holder.key.session, holder.key.lock.0));
            assert!(known.is_some_and(|(of, _)| *of == number), "nobody asked for {holder:?}");
        }
        for (key, (_, known)) in locks.iter_mut().filter(|(_, (of, _))| *of == number) {
            let holder = view.holders.iter().find(|holder| (holder.key.session, holder.key.lock.0) == *key);
            let token = holder.map(|holder| holder.token);
            let counts = match token {
                Some(token) => engine.check_token(&id, token).await.unwrap().held,
                None => false,
            };
            *known = match *known {
                Known::Asked => match token {
                    Some(token) => Known::Held(token),
                    None => continue,
                },
                Known::Held(granted) => {
                    assert!(
                        counts && token == Some(granted),
                        "granted with {granted:?}, and it is {holder:?}"
                    );
                    Known::Held(granted)
                }
                Known::Leaving(granted) if counts => Known::Held(granted),
                Known::Leaving(granted) if token.is_some() => Known::Ended(granted),
                Known::Leaving(granted) => Known::Released(granted),
                Known::Released(granted) => {
                    assert_eq!(token, None, "{granted:?} was released");
                    Known::Released(granted)
                }
                Known::Ended(granted) => {
                    assert!(!counts, "the session of {granted:?} was ended, and it counts");
                    Known::Ended(granted)
                }
            };
            if let Known::Held(token) | Known::Released(token) | Known::Ended(token) = *known {
                assert!(token <= view.last_token, "{token:?} may be granted again");
            }
        }
    }
    locks.retain(|_, (_, known)| *known != Known::Asked);
}

/// Ends half of the sessions that hold locks, which leaves room for others.
async fn end_sessions(engine: &Engine, disk: &SimulatedDisk, locks: &mut Locks, random: &mut StdRng) {
    let sessions: BTreeSet<SessionId> =
        locks.iter().filter_map(held).map(|((session, _), ..)| session).collect();
    for session in sessions.into_iter().filter(|_| random.random()).collect::<Vec<_>>() {
        let ended = until_cut(disk, engine.end_session(session, EndReason::Revoked)).await;
        if !matches!(ended, Some(Ok(()))) {
            assert!(disk.is_cut(), "{ended:?}");
        }
        for (key, (_, known)) in locks.iter_mut() {
            if let Known::Held(token) = *known
                && key.0 == session
            {
                *known =
                    if matches!(ended, Some(Ok(()))) { Known::Ended(token) } else { Known::Leaving(token) };
            }
        }
    }
}

/// An engine's life, until the power is cut.
async fn live(disk: &SimulatedDisk, locks: &mut Locks, random: &mut StdRng) {
    let upkeep = Upkeep { log_bytes: 16 << 10, snapshots_beside: false, ..Upkeep::default() };
    let store = EmbeddedStore::open_on(Arc::new(disk.clone()), Path::new("disk"), upkeep).unwrap();
    let environment = Environment::simulated(random.random(), 1.0);
    let engine = Engine::start(Arc::new(store), environment, EngineConfig::default()).await.unwrap();
    check(&engine, locks).await;
    disk.cut_after(random.random_range(1..=CALLS_MAX));
    end_sessions(&engine, disk, locks, random).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let terms = LeaseTerms::new(TTL, Duration::ZERO).unwrap();
        let caller = Caller::new();
        let opened = until_cut(disk, engine.open_session(open_with(terms), caller.clone())).await;
        let Some(Ok((session, secret))) = opened else {
            assert!(disk.is_cut(), "{:?}", opened.map(|opened| opened.err()));
            return;
        };
        clients.push(Client { session, caller, secret });
    }
    let work = clients.into_iter().map(|client| work(client, disk, StdRng::seed_from_u64(random.random())));
    locks.extend(join_all(work.collect::<Vec<_>>()).await.into_iter().flatten());
}

fn cut_power(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let disk = SimulatedDisk::default();
    let mut locks = Locks::new();
    for _ in 0..CUTS_PER_SEED {
        // The engine's tasks end with their runtime, and the store with them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(&disk, &mut locks, &mut random));
        drop(runtime);
        disk.cycle_power(&mut random);
    }
}

#[test]
fn no_acknowledged_grant_or_release_is_lost() {
    let cuts = std::env::var(CUTS_VARIABLE).ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(CUTS);
    let (threads, seeds) = (2, cuts.div_ceil(CUTS_PER_SEED));
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (thread..seeds).step_by(threads as usize) {
                    let outcome = std::panic::catch_unwind(|| cut_power(seed));
                    assert!(outcome.is_ok(), "seed {seed}");
                }
            });
        }
    });
}
