//! The resources in memory, divided into shards that don't wait for each other.

use crate::ticket::{RequestTicket, Ticket};
use dlock_core::ResourceId;
use dlock_core::coordinator::{CommitResult, Coordinator, Loaded, SessionGuard};
use dlock_core::resource::Command;
use foldhash::{HashMap, HashSet};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::collections::hash_map::Entry;

/// One resource in memory.
pub(crate) struct Slot {
    pub(crate) coordinator: Coordinator<Ticket>,
    /// The tick of its last use.
    pub(crate) used: u64,
    /// It stands in [`ShardInner::unused`].
    pub(crate) listed: bool,
}

/// What can happen to a resource.
pub(crate) enum Input {
    /// A command.
    Submit { ticket: Ticket, command: Command, guard: Option<SessionGuard> },
    /// A *try* that was refused, once more: what stood in its way may have been purged.
    TryAgain { ticket: RequestTicket, command: Command },
    /// Its record was read.
    Loaded(Result<Loaded, String>),
    /// Its commit came back.
    Committed(CommitResult),
    /// Its record was changed, perhaps by another server.
    Changed(Option<Loaded>),
    /// It is time for a look, because somebody waits.
    Recheck,
    /// It is time to forget it, if nobody uses it.
    Collect,
    /// It is time to give it back, if this server masters it.
    GiveBack,
    /// The server that mastered it, and wrote its record with this mark, is dead; and what it knew is `recovered`, or yet to be
    /// claimed.
    MasterDead { mark: u64, recovered: bool },
}

/// For so many resources a shard keeps its memory.
const SLOTS_KEPT: usize = 1024;

/// A shard's content.
#[derive(Default)]
pub(crate) struct ShardInner {
    pub(crate) slots: HashMap<ResourceId, Slot>,
    /// Resources that nobody used when they were listed, with the tick of their last use by then; oldest first.
    pub(crate) unused: VecDeque<(ResourceId, u64)>,
    /// Resources that rechecks look at: somebody is in their queue, or a commit that was given up may still arrive.
    pub(crate) contended: HashSet<ResourceId>,
}

/// All shards.
pub(crate) struct Shards(Box<[Mutex<ShardInner>]>);

impl Shards {
    pub(crate) fn new(count: usize) -> Shards {
        Shards((0..count.max(1)).map(|_| Mutex::default()).collect())
    }

    /// The shard of a resource, locked.
    pub(crate) fn of(&self, resource: &ResourceId) -> MutexGuard<'_, ShardInner> {
        // The table of slots goes by a hash of this one, so that those of one shard are spread over it.
        let index = resource.hash_code() % self.0.len() as u64;
        self.0[index as usize].lock()
    }

    /// Each shard in turn.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mutex<ShardInner>> {
        self.0.iter()
    }

    /// How many resources are in memory.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().slots.len()).sum()
    }
}

impl ShardInner {
    /// Gives back memory after many resources were forgotten.
    pub(crate) fn shrink(&mut self) {
        let wanted = 2 * self.slots.len();
        if self.slots.capacity() > 2 * wanted.max(SLOTS_KEPT) {
            self.slots.shrink_to(wanted);
            self.unused.shrink_to(wanted);
        }
    }

    /// Takes a step of a resource, and then drops what is empty, lists what nobody uses, and notes whether it needs
    /// rechecks. A resource that is not in memory is put there if it is `wanted`, else nothing is done.
    pub(crate) fn step(&mut self, resource: &ResourceId, wanted: bool, step: impl FnOnce(&mut Slot)) {
        let mut entry = match self.slots.entry(resource.clone()) {
            Entry::Occupied(known) => known,
            Entry::Vacant(_) if !wanted => return,
            Entry::Vacant(new) => {
                new.insert_entry(Slot { coordinator: Coordinator::new(), used: 0, listed: false })
            }
        };
        let slot = entry.get_mut();
        step(slot);
        if slot.coordinator.needs_rechecks() {
            if !self.contended.contains(resource) {
                self.contended.insert(resource.clone());
            }
        } else if !self.contended.is_empty() {
            self.contended.remove(resource);
        }
        if !slot.coordinator.is_quiet() {
            return;
        }
        if slot.coordinator.is_forgettable() {
            entry.remove(); // its entry in `unused`, if any, is skipped when it comes up
        } else if !slot.listed {
            slot.listed = true;
            self.unused.push_back((resource.clone(), slot.used));
        }
    }
}
