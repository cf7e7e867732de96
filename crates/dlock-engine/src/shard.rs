//! The resources in memory, divided into shards that don't wait for each other.

use crate::ticket::{RequestTicket, Ticket};
use dlock_core::ResourceId;
use dlock_core::coordinator::{CommitResult, Coordinator, Loaded, SessionGuard};
use dlock_core::resource::Command;
use foldhash::{HashMap, HashSet};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::hash::BuildHasher;

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
}

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
pub(crate) struct Shards {
    shards: Box<[Mutex<ShardInner>]>,
    hasher: foldhash::fast::FixedState,
}

impl Shards {
    pub(crate) fn new(count: usize) -> Shards {
        let shards = (0..count.max(1)).map(|_| Mutex::default()).collect();
        Shards { shards, hasher: foldhash::fast::FixedState::with_seed(0x0064_6c6f_636b) }
    }

    /// The shard of a resource, locked.
    pub(crate) fn of(&self, resource: &ResourceId) -> MutexGuard<'_, ShardInner> {
        let index = self.hasher.hash_one(resource) as usize % self.shards.len();
        self.shards[index].lock()
    }

    /// Each shard in turn.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mutex<ShardInner>> {
        self.shards.iter()
    }

    /// How many resources are in memory.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().slots.len()).sum()
    }
}

impl ShardInner {
    /// The resource's slot, new if it has none.
    pub(crate) fn slot(&mut self, resource: &ResourceId) -> &mut Slot {
        // Not `entry`: it would clone the name for every command.
        if !self.slots.contains_key(resource) {
            let slot = Slot { coordinator: Coordinator::new(), used: 0, listed: false };
            self.slots.insert(resource.clone(), slot);
        }
        self.slots.get_mut(resource).expect("it was just inserted")
    }

    /// After a step: drops what is empty, lists what nobody uses, and notes whether it needs rechecks.
    pub(crate) fn tidy(&mut self, resource: &ResourceId) {
        let Some(slot) = self.slots.get_mut(resource) else { return };
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
        if slot.coordinator.latest().is_none() {
            self.slots.remove(resource); // its entry in `unused`, if any, is skipped when it comes up
        } else if !slot.listed {
            slot.listed = true;
            self.unused.push_back((resource.clone(), slot.used));
        }
    }
}
