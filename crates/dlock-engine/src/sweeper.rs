//! What keeps an engine tidy: looks at those who wait, forgets resources that nobody uses, and goes through the
//! store for what the dead left behind.

use crate::directory::read_active;
use crate::keys;
use crate::shard::Input;
use crate::shared::Shared;
use crate::tell::purge;
use dlock_core::resource::{Queued, Resource};
use dlock_core::{ResourceId, SessionId, Timestamp};
use dlock_store::{Change, Key, Record, StoreError, Verdict, Version, Write};
use foldhash::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often unused resources are looked at.
const COLLECT_INTERVAL: Duration = Duration::from_secs(1);
/// A waiter is looked at this often, jittered: a lost wake-up costs latency, never liveness.
const RECHECK_INTERVAL: Duration = Duration::from_millis(1500);
/// In each of so many rounds of these looks, what this server masters is read, too: nobody else may write it but to ask for it, and
/// a wake-up that says so may be lost.
const MASTERED_ROUNDS: u64 = 8;
/// How long an ended session's record tells why it ended.
pub(crate) const TOMBSTONE_AGE: Duration = Duration::from_secs(600);

/// Looks at resources with waiters, and tells new places in their queues.
pub(crate) async fn run_rechecks(shared: Arc<Shared>) {
    for round in 1_u64.. {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.environment.clock.sleep(shared.environment.entropy.jitter(RECHECK_INTERVAL)) => {}
        }
        shared.recheck().await;
        if round.is_multiple_of(MASTERED_ROUNDS) {
            shared.look_at_mastered();
        }
    }
}

/// Forgets what nobody uses.
pub(crate) async fn run_collector(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.environment.clock.sleep(COLLECT_INTERVAL) => {}
        }
        shared.collect();
    }
}

/// Goes through the whole store, slowly.
pub(crate) async fn run_sweeps(shared: Arc<Shared>) {
    let mut sweep = Sweep::default();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.environment.clock.sleep(shared.environment.entropy.jitter(shared.config.sweep_interval)) => {}
        }
        if let Err(error) = shared.sweep(&mut sweep).await {
            tracing::warn!(%error, "a sweep was broken off");
        }
    }
}

/// What one sweep remembers for the next.
#[derive(Default)]
struct Sweep {
    /// Unused resources with the version at which they were.
    unused: HashMap<ResourceId, Version>,
    /// Ended sessions, since when they are known to be.
    tombstones: HashMap<SessionId, Timestamp>,
}

impl Shared {
    async fn recheck(self: &Arc<Self>) {
        let mut contended: Vec<ResourceId> = Vec::new();
        for shard in self.shards.iter() {
            contended.extend(shard.lock().contended.iter().cloned());
        }
        contended.sort_unstable(); // the set's own order is another one in each process
        for resource in contended {
            let foreign = self.look_at_waiters(&resource);
            if !self.capabilities.exclusive || self.is_in_doubt(&resource) {
                self.feed(vec![(resource.clone(), Input::Recheck)]);
            }
            let ended = self.find_ended(foreign).await;
            if !ended.is_empty() {
                self.feed(vec![(resource, purge(ended))]);
            }
        }
    }

    fn is_in_doubt(&self, resource: &ResourceId) -> bool {
        self.shards.of(resource).slots.get(resource).is_some_and(|slot| slot.coordinator.is_in_doubt())
    }

    /// Tells waiters their places; returns the sessions on the resource that are not at home here.
    fn look_at_waiters(&self, resource: &ResourceId) -> Vec<SessionId> {
        let shard = self.shards.of(resource);
        let settled = shard.slots.get(resource).and_then(|slot| slot.coordinator.settled());
        let Some(settled) = settled else { return Vec::new() };
        for (ahead, entry) in settled.queue().enumerate() {
            if let Some(home) = self.home(entry.key.session) {
                let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
                home.moved_up(Queued { key: entry.key, ahead, held: entry.held });
            }
        }
        self.foreign_sessions(settled)
    }

    /// Forgets resources that nobody used for a while, or the oldest of too many.
    fn collect(self: &Arc<Self>) {
        let tick = self.timers.next_tick();
        let age = self.config.idle_resource_age.as_secs().max(1);
        let mut inputs = Vec::new();
        for shard in self.shards.iter() {
            let shard = &mut *shard.lock();
            let looks = shard.unused.len();
            for _ in 0..looks {
                let Some((resource, listed)) = shard.unused.pop_front() else { break };
                let unused = shard.unused.len();
                let Some(slot) = shard.slots.get_mut(&resource) else { continue };
                let known = slot.coordinator.settled().filter(|_| slot.coordinator.is_quiet());
                let is_old = |used: u64| tick.saturating_sub(used) > age;
                let too_many = unused >= self.unused_max(known);
                if !is_old(listed) && !too_many {
                    shard.unused.push_front((resource, listed));
                    break; // those behind it were listed later
                }
                if !is_old(slot.used) && !too_many {
                    // Used again since: it must not keep those behind it from being looked at.
                    let used = slot.used;
                    shard.unused.push_back((resource, used));
                    continue;
                }
                slot.listed = false;
                let quiet = slot.coordinator.is_quiet();
                let Some(known) = known else {
                    if quiet && slot.coordinator.latest().is_none() {
                        shard.slots.remove(&resource); // another server masters it
                    }
                    continue;
                };
                if slot.coordinator.is_master() && !known.is_collectable() {
                    inputs.push((resource, Input::GiveBack));
                } else if known.is_collectable() {
                    inputs.push((resource, Input::Collect));
                } else if self.may_forget(known) {
                    shard.slots.remove(&resource);
                }
            }
            shard.shrink();
        }
        self.feed(inputs);
    }

    /// How many unused resources a shard may remember before the oldest goes, if it is like this one. What is held in a store of
    /// our own is read again without asking anybody; but one that nobody holds would be deleted, and that is a write.
    fn unused_max(&self, oldest: Option<&Resource>) -> usize {
        let is_held = oldest.is_some_and(|resource| !resource.is_collectable());
        let cheap = is_held && self.capabilities.exclusive;
        if cheap { self.config.idle_resources_max / 10 } else { self.config.idle_resources_max }
    }

    /// Whether a resource in use need not be kept in memory: it can be read again when somebody here asks. Others may change
    /// it meanwhile where the store is shared, and those who hold or wait here have to be told of that.
    fn may_forget(&self, resource: &Resource) -> bool {
        let told = if self.capabilities.exclusive {
            !resource.queued_modes().is_empty()
        } else {
            self.has_local(resource)
        };
        !told
    }

    fn has_local(&self, resource: &Resource) -> bool {
        let homes = self.homes.read();
        resource.sessions().any(|session| homes.contains_key(&session))
    }

    async fn sweep(self: &Arc<Self>, sweep: &mut Sweep) -> Result<(), StoreError> {
        self.sweep_resources(sweep).await?;
        self.sweep_sessions(sweep).await?;
        self.sweep_moving().await?;
        self.sweep_members().await
    }

    async fn sweep_resources(self: &Arc<Self>, sweep: &mut Sweep) -> Result<(), StoreError> {
        let before = std::mem::take(&mut sweep.unused);
        let mut after: Option<Key> = None;
        loop {
            let page = self.list(keys::RESOURCES, after.as_ref()).await?;
            for (key, record) in &page.records {
                let Some(resource) = keys::parse_resource(key) else { continue };
                if let Some(version) = self.sweep_resource(&resource, record, &before).await {
                    sweep.unused.insert(resource, version);
                }
            }
            after = page.records.last().map(|(key, _)| key.clone());
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Purges the ended from a record; deletes one that was unused at the last sweep, and still is. Returns the
    /// version of one that is unused.
    async fn sweep_resource(
        self: &Arc<Self>,
        id: &ResourceId,
        record: &Record,
        before: &HashMap<ResourceId, Version>,
    ) -> Option<Version> {
        let resource = match Resource::decode(record.value()?) {
            Ok(resource) => resource,
            Err(error) => {
                tracing::error!(resource = %id, %error, "a resource's record can't be read");
                return None;
            }
        };
        if let Some(master) = resource.master() {
            self.sweep_mastered(id, master.member);
            return None;
        }
        if !resource.is_collectable() {
            let ended = self.find_ended(self.foreign_sessions(&resource)).await;
            if !ended.is_empty() {
                self.feed(vec![(id.clone(), purge(ended))]);
            }
            return None;
        }
        if before.get(id) != Some(&record.version) || self.check_may_act().is_err() {
            return Some(record.version);
        }
        let remembered = self.shards.of(id).slots.contains_key(id);
        if !remembered {
            let write = Write {
                key: keys::resource(id),
                expected: record.version,
                change: Change::Delete { floor: resource.last_token().get() },
                guards: Default::default(),
            };
            if let Err(error) = self.commit_one(write).await {
                tracing::debug!(resource = %id, %error, "an unused record was not collected");
            }
        }
        None
    }

    /// Deletes the records of sessions that ended a while ago.
    async fn sweep_sessions(self: &Arc<Self>, sweep: &mut Sweep) -> Result<(), StoreError> {
        let before = std::mem::take(&mut sweep.tombstones);
        let mut after: Option<Key> = None;
        loop {
            let page = self.list(keys::SESSIONS, after.as_ref()).await?;
            let now = self.now();
            for (key, record) in &page.records {
                let Some(session) = keys::parse_session(key) else { continue };
                if !matches!(read_active(record), Ok(None)) {
                    continue;
                }
                let since = before.get(&session).copied().unwrap_or(now);
                if now.since(since) >= TOMBSTONE_AGE && self.check_may_act().is_ok() {
                    self.delete(key.clone(), record.version).await?;
                } else {
                    sweep.tombstones.insert(session, since);
                }
            }
            after = page.records.last().map(|(key, _)| key.clone());
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Deletes the notes of sessions that were on their way when they ended.
    async fn sweep_moving(self: &Arc<Self>) -> Result<(), StoreError> {
        for (key, record) in self.list_all(keys::MOVING).await? {
            let Some(session) = keys::parse_moving(&key) else { continue };
            let ended = matches!(read_active(&self.get(&keys::session(session)).await?), Ok(None));
            if ended && self.check_may_act().is_ok() {
                self.delete(key, record.version).await?;
            }
        }
        Ok(())
    }

    /// Deletes the records of members that have been dead for long.
    async fn sweep_members(self: &Arc<Self>) -> Result<(), StoreError> {
        let now = self.now();
        for (key, record) in self.list_all(keys::MEMBERS).await? {
            let Some(member) = keys::parse_member(&key) else { continue };
            let dead_since = self.observer.lock().dead_since(member);
            if dead_since.is_some_and(|since| now.since(since) >= TOMBSTONE_AGE)
                && self.check_may_act().is_ok()
            {
                self.delete(key, record.version).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn delete(&self, key: Key, expected: Version) -> Result<Verdict, StoreError> {
        let change = Change::Delete { floor: 0 };
        self.commit_one(Write { key, expected, change, guards: Default::default() }).await
    }
}
