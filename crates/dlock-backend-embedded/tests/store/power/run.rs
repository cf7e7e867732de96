//! One seed: a store that is opened, written and cut off, again and again.

use super::model::Model;
use dlock_backend_embedded::disk::Disk;
use dlock_backend_embedded::simulated::SimulatedDisk;
use dlock_backend_embedded::{EmbeddedStore, Upkeep};
use dlock_store::{Key, Store};
use futures::executor::block_on;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const CUTS: usize = 5;
/// The longest that a store lives, in calls of the disk that change something.
const CALLS_MAX: u64 = 200;
/// The most of them while a store is opened.
const OPENING_CALLS_MAX: u64 = 8;
/// How soon a store tries to mend what is broken.
const MEND_INTERVAL: Duration = Duration::from_micros(200);
/// Far longer than that takes, in such intervals.
const PATIENCE: u32 = 100_000;

/// How often the cuts came where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) cuts: usize,
    /// How many calls of the last disk have changed something.
    pub(super) calls: u64,
    /// While the store was opened.
    pub(super) opening: usize,
    /// While a snapshot was written.
    pub(super) snapshots: usize,
    /// While a segment was begun.
    pub(super) switches: usize,
    /// After a full disk or a failed sync, before service went on.
    pub(super) mending: usize,
    /// The process was killed, and the machine stayed up.
    pub(super) restarts: usize,
    /// A call's outcome was not known.
    pub(super) unknown: usize,
}

impl std::ops::Add for Seen {
    type Output = Seen;

    fn add(self, other: Seen) -> Seen {
        Seen {
            cuts: self.cuts + other.cuts,
            calls: other.calls,
            opening: self.opening + other.opening,
            snapshots: self.snapshots + other.snapshots,
            switches: self.switches + other.switches,
            mending: self.mending + other.mending,
            restarts: self.restarts + other.restarts,
            unknown: self.unknown + other.unknown,
        }
    }
}

/// A store's life on a disk.
pub(super) struct Run {
    random: StdRng,
    disk: SimulatedDisk,
    /// What the store has for it.
    access: Arc<dyn Disk>,
    model: Model,
    upkeep: Upkeep,
}

impl Run {
    pub(super) fn new(seed: u64, access: impl FnOnce(SimulatedDisk) -> Arc<dyn Disk>) -> Run {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = SimulatedDisk::default();
        // One that is short makes a snapshot every few batches, one that is long makes none.
        let log_bytes = 1 << random.random_range(11..16);
        let upkeep = Upkeep { log_bytes, snapshots_beside: false, mend_interval: MEND_INTERVAL };
        Run { random, access: access(disk.clone()), disk, model: Model::new(), upkeep }
    }

    /// What is wrong, if anything is.
    pub(super) fn go(mut self, seen: &mut Seen) -> Result<(), String> {
        for _ in 0..CUTS {
            if self.random.random_range(0..4) == 0 {
                self.disk.cut_after(self.random.random_range(1..=OPENING_CALLS_MAX));
            }
            if let Some(store) = self.open()? {
                self.model.check(&store)?;
                self.disk.cut_after(self.random.random_range(1..=CALLS_MAX));
                self.live(&store, seen)?;
            } else {
                seen.opening += 1;
            }
            self.cut(seen)?;
        }
        let store = self.open()?.ok_or("the power is cut, and nobody cut it")?;
        self.model.check(&store)
    }

    /// None if the power was cut meanwhile.
    fn open(&self) -> Result<Option<EmbeddedStore>, String> {
        match EmbeddedStore::open_on(Arc::clone(&self.access), Path::new("disk"), self.upkeep) {
            Ok(store) => Ok(Some(store)),
            Err(_) if self.disk.is_cut() => Ok(None),
            Err(error) => Err(format!("not opened after a cut: {error}")),
        }
    }

    /// Until the power is cut.
    fn live(&mut self, store: &EmbeddedStore, seen: &mut Seen) -> Result<(), String> {
        while !self.disk.is_cut() {
            match self.random.random_range(0..100) {
                0 => self.disk.fill(self.random.random_range(1..6)),
                1 => self.disk.fail_sync_after(self.random.random_range(0..4)),
                _ => {}
            }
            if self.model.write(store, &mut self.random)? {
                // What else the store does after a batch is done before it takes the next call.
                block_on(store.commit(Vec::new()));
                continue;
            }
            self.served_again(store)?;
            if !self.disk.is_cut() {
                self.model.check(store)?;
            } else if !self.model.was_cut() {
                seen.mending += 1;
            }
        }
        Ok(())
    }

    /// Returns when the store serves again, or never will.
    fn served_again(&self, store: &EmbeddedStore) -> Result<(), String> {
        let key = Key::new("key 0").unwrap();
        for _ in 0..PATIENCE {
            if self.disk.is_cut() || block_on(store.get(&key)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(MEND_INTERVAL);
        }
        Err(format!("it does not serve again: {:?}", block_on(store.health())))
    }

    fn cut(&mut self, seen: &mut Seen) -> Result<(), String> {
        let names = self.disk.names().map_err(|error| error.to_string())?;
        let drafts = |kind: &str| names.iter().any(|name| name.starts_with(kind) && name.ends_with(".new"));
        seen.cuts += 1;
        seen.calls = self.disk.calls();
        seen.snapshots += usize::from(drafts("snapshot-"));
        seen.switches += usize::from(drafts("log-"));
        seen.unknown += usize::from(self.model.is_unsure());
        if self.random.random_range(0..4) == 0 {
            seen.restarts += 1;
            self.disk.restart_process();
        } else {
            self.disk.cycle_power(&mut self.random);
        }
        Ok(())
    }
}
