//! What all parts of an engine share.

use crate::config::{EngineConfig, Mastering};
use crate::directory::Directory;
use crate::engine::Health;
use crate::generation::StoreState;
use crate::home::Home;
use crate::io::IoFuture;
use crate::shard::Shards;
use crate::timers::Timers;
use dlock_core::coordinator::Rules;
use dlock_core::lease::{MemberLease, MemberObserver};
use dlock_core::{MemberId, ResourceId, SessionId, Timestamp};
use dlock_runtime::Environment;
use dlock_store::{Capabilities, Store};
use foldhash::HashMap;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Counts since the start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) grants: AtomicU64,
    pub(crate) releases: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) from_memory: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }
}

/// The state of an engine.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) capabilities: Capabilities,
    pub(crate) environment: Environment,
    pub(crate) config: EngineConfig,
    /// Which resources may be mastered.
    pub(crate) mastering: Mastering,
    pub(crate) member: MemberId,
    /// That of `store_state`, for a quick look.
    pub(crate) generation: AtomicU16,
    pub(crate) store_state: Mutex<StoreState>,
    pub(crate) shards: Shards,
    /// Sessions at home here. Lock order: a shard, then this, then a home's own lock.
    pub(crate) homes: RwLock<HashMap<SessionId, Arc<Home>>>,
    pub(crate) directory: Mutex<Directory>,
    pub(crate) lease: Mutex<MemberLease>,
    pub(crate) observer: Mutex<MemberObserver>,
    pub(crate) timers: Timers,
    pub(crate) draining: AtomicBool,
    /// A session has come from a server that may master resources; this one may be configured otherwise.
    pub(crate) peers_master: AtomicBool,
    /// How many follow what becomes of resources.
    pub(crate) followers: AtomicUsize,
    /// Set for ever by [`crate::Engine::shutdown`].
    pub(crate) stopped: AtomicBool,
    pub(crate) stop: CancellationToken,
    pub(crate) health: watch::Sender<Health>,
    pub(crate) counters: Counters,
    pub(crate) io: mpsc::UnboundedSender<IoFuture>,
}

impl Shared {
    pub(crate) fn now(&self) -> Timestamp {
        self.environment.clock.now()
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        self.environment.clock.unix_ms()
    }

    pub(crate) fn rules(&self, resource: &ResourceId, period: &mut Option<Option<u64>>) -> Rules {
        let covered = self.mastering.covers(resource);
        let masters = covered && self.may_master() && !self.is_followed();
        Rules {
            generation: self.generation.load(Ordering::Relaxed),
            guards: self.capabilities.guards,
            exclusive: self.capabilities.exclusive,
            member: self.member,
            masters,
            master_after: self.config.master_after,
            peers_master: covered || self.peers_master.load(Ordering::Relaxed),
            period: if masters { *period.get_or_insert_with(|| self.period()) } else { None },
        }
    }

    /// The session, if it is at home here.
    pub(crate) fn home(&self, session: SessionId) -> Option<Arc<Home>> {
        self.homes.read().get(&session).cloned()
    }

    /// Forgets all resources on which nothing is under way.
    pub(crate) fn forget_resources(&self) {
        for shard in self.shards.iter() {
            let shard = &mut *shard.lock();
            shard.slots.retain(|_, slot| !slot.coordinator.is_quiet() || slot.coordinator.is_master());
            shard.contended.retain(|resource| shard.slots.contains_key(resource));
        }
    }

    /// All sessions that are at home here, by id: what is done for each in turn is done in the same order in each
    /// run of a simulation.
    pub(crate) fn all_homes(&self) -> Vec<Arc<Home>> {
        let mut homes: Vec<Arc<Home>> = self.homes.read().values().cloned().collect();
        homes.sort_unstable_by_key(|home| home.id);
        homes
    }

    /// Whether this server may commit and acknowledge: it isn't stopped, and the others can't take it for dead yet.
    pub(crate) fn check_may_act(&self) -> Result<(), String> {
        if self.stopped.load(Ordering::Acquire) {
            return Err("this server has stopped".to_owned());
        }
        let now = self.now();
        if !self.lease.lock().may_act(now) {
            return Err("its own lease was not renewed in time".to_owned());
        }
        if self.store_state.lock().stands_still(now) {
            return Err(
                "the store has gone back in time, and what it forgot may still be counted on".to_owned()
            );
        }
        Ok(())
    }
}
