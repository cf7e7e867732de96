//! The store as each simulated server sees it: far away, at times slow, unavailable, cut off or ambiguous.
//!
//! The records themselves are in dlock's own store in memory. Everything that happens to a call on its way is allowed by
//! the contract (`dlock-store`), unless a [`Bug`] is planted; beyond the contract, wake-ups are lost without a word, which
//! has to cost latency only.

use crate::bug::Bug;
use crate::network::{Latency, Machine, Network};
use crate::world::World;
use async_trait::async_trait;
use dlock_backend_embedded::EmbeddedStore;
use dlock_core::LockKey;
use dlock_core::record::{MovingRecord, RecordError};
use dlock_core::resource::Resource;
use dlock_core::session::SessionRecord;
use dlock_store::{
    Capabilities, Change, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict,
    Version, Watch, WatchEvent, Write,
};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use rand::RngExt;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;

/// How much later than reported a write may still be applied.
const LATE_MAX: Duration = Duration::from_secs(8);
/// How long a store's client waits for an answer before it says that there is none. Beyond the engine's own patience
/// at times.
const DRIVER_TIMEOUT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(7));

/// How probable it is that something goes wrong with one call, or with one wake-up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct StoreFaults {
    /// A call is refused; nothing is done.
    pub(crate) unavailable: f64,
    /// A write's outcome is reported as unknown: it is applied, or not, or later.
    pub(crate) ambiguous: f64,
    /// A wake-up is lost.
    pub(crate) lost_watch: f64,
    /// A watch is interrupted, and says so when it goes on.
    pub(crate) broken_watch: f64,
}

/// What becomes of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Normal,
    Unavailable,
    /// Applied, and reported as unknown.
    Applied,
    /// Not applied, and reported as unknown.
    Lost,
    /// Reported as unknown, and applied then.
    Late(Duration),
}

struct Watcher {
    scope: Scope,
    machine: Machine,
    events: mpsc::UnboundedSender<WatchEvent>,
    /// Events were missed: it is to be told so.
    missed: bool,
    last_at: Duration,
}

struct Inner {
    records: EmbeddedStore,
    /// All writes that were applied, in order: what a copy of the past is made of.
    log: Vec<Write>,
    watchers: Vec<Watcher>,
    faults: StoreFaults,
    bug: Option<Bug>,
    /// For the planted bugs: what was there before the last writes, what a machine last heard, invented versions.
    before: HashMap<Key, (Duration, Record)>,
    heard: BTreeMap<(Machine, Key), Record>,
    invented: u64,
}

/// The one store of a simulation. Clones are the same.
#[derive(Clone)]
pub(crate) struct Cluster {
    world: Arc<World>,
    network: Network,
    /// Where it is in the network.
    machine: Machine,
    latency: Latency,
    guards: bool,
    inner: Arc<Mutex<Inner>>,
}

impl Cluster {
    /// How long a message to or from it takes: longer than usual now and then where the network's do.
    fn latency(&self) -> Duration {
        let spikes = if self.network.has_spikes() { self.latency.spikes } else { 0.0 };
        Latency { spikes, ..self.latency }.draw(&self.world)
    }
}

impl Cluster {
    pub(crate) fn new(
        network: &Network,
        world: &Arc<World>,
        machine: Machine,
        latency: Latency,
        guards: bool,
        bug: Option<Bug>,
    ) -> Cluster {
        let inner = Inner {
            records: EmbeddedStore::in_memory_shared(),
            log: Vec::new(),
            watchers: Vec::new(),
            faults: StoreFaults::default(),
            bug,
            before: HashMap::new(),
            heard: BTreeMap::new(),
            invented: 1 << 60,
        };
        let inner = Arc::new(Mutex::new(inner));
        Cluster { world: world.clone(), network: network.clone(), machine, latency, guards, inner }
    }

    /// The store as seen from a machine.
    pub(crate) fn from(&self, machine: Machine) -> SimulatedStore {
        SimulatedStore { cluster: self.clone(), machine }
    }

    /// What goes wrong from now on.
    pub(crate) fn set_faults(&self, faults: StoreFaults) {
        self.inner.lock().faults = faults;
    }

    /// How many writes were applied so far.
    pub(crate) fn writes(&self) -> usize {
        self.inner.lock().log.len()
    }

    /// Goes back to what was there after the first `writes` writes, versions and all.
    pub(crate) fn restore(&self, writes: usize) {
        let mut inner = self.inner.lock();
        inner.log.truncate(writes);
        inner.records = EmbeddedStore::in_memory_shared();
        for write in &inner.log {
            // As it was applied before, so it is again.
            let _ = done(inner.records.commit(vec![write.clone()]));
        }
        for watcher in &mut inner.watchers {
            watcher.missed = true;
        }
        drop(inner);
        self.world.note("store", format_args!("restored to write {writes}"));
        self.resume_watches();
    }

    /// Watches that missed something say so, where they can.
    pub(crate) fn resume_watches(&self) {
        let mut inner = self.inner.lock();
        for at in 0..inner.watchers.len() {
            self.tell(&mut inner, at, None);
        }
    }

    /// The resources' records as they are, for people.
    pub(crate) fn describe_resources(&self) -> String {
        let inner = self.inner.lock();
        let page = done(inner.records.list("r/", None, 100));
        let mut text = String::new();
        for (key, record) in page.map(|page| page.records).unwrap_or_default() {
            let Some(bytes) = record.value() else { continue };
            let (version, content) = (record.version.0, describe(&key, bytes));
            let _ = write!(text, "\n  record {key} version {version}: {content}");
        }
        text
    }

    /// Reads for a machine.
    fn read(&self, machine: Machine, key: &Key) -> Result<Record, StoreError> {
        let inner = &mut *self.inner.lock();
        let record = done(inner.records.get(key))?;
        let resource = key.as_str().starts_with("r/");
        match inner.bug {
            Some(Bug::StoreReadsStale) if resource => {
                let recent = |(at, before): &(Duration, Record)| {
                    (self.world.now().saturating_sub(*at) < Duration::from_secs(1)).then(|| before.clone())
                };
                let stale = inner.before.get(key).and_then(recent).filter(|_| self.world.chance(0.3));
                Ok(stale.unwrap_or(record))
            }
            Some(Bug::LostWakeupNoRecheck) if resource => {
                Ok(inner.heard.entry((machine, key.clone())).or_insert(record).clone())
            }
            _ => Ok(record),
        }
    }

    /// Applies a write for a machine, and wakes those who watch.
    pub(crate) fn apply(&self, machine: Machine, mut write: Write) -> Result<Verdict, StoreError> {
        let inner = &mut *self.inner.lock();
        let key = write.key.clone();
        let (resource, session) = (key.as_str().starts_with("r/"), key.as_str().starts_with("s/"));
        match inner.bug {
            Some(Bug::StoreLosesWrites) if resource && self.world.chance(0.05) => return lie(inner),
            // The first of its writes is real, so that the others know the member.
            Some(Bug::MemberLeaseNeverEnds)
                if machine == 1
                    && key.as_str().starts_with("m/")
                    && done(inner.records.get(&key))?.value().is_some() =>
            {
                return lie(inner);
            }
            Some(Bug::StoreIgnoresVersions) if resource => {
                write.expected = done(inner.records.get(&key))?.version;
            }
            Some(Bug::ExpiryNotBoundToEpoch) if session => {
                write.expected = done(inner.records.get(&key))?.version;
            }
            Some(Bug::StoreIgnoresGuards) => write.guards.clear(),
            Some(Bug::StoreForgetsFloor) => {
                if let Change::Delete { floor } = &mut write.change {
                    *floor = 0;
                }
            }
            Some(Bug::StoreReadsStale) => {
                let before = done(inner.records.get(&key))?;
                inner.before.insert(key.clone(), (self.world.now(), before));
            }
            _ => {}
        }
        if !self.guards && !write.guards.is_empty() {
            return Err(StoreError::Invalid { reason: "this store has no guards".to_owned() });
        }
        let answers = done(inner.records.commit(vec![write.clone()]));
        let verdict = answers.into_iter().next().unwrap_or_else(|| Err(no_answer()))?;
        let content = match (&verdict, &write.change) {
            (Verdict::Committed { .. }, Change::Put(value)) => describe(&key, &value.to_bytes()),
            _ => String::new(),
        };
        self.world.note(
            "store",
            format_args!("{machine} {key} {} {} {content}", write.expected.0, shown(&verdict)),
        );
        match &verdict {
            Verdict::Committed { .. } => {
                inner.log.push(write);
                let record = done(inner.records.get(&key))?;
                if inner.bug == Some(Bug::LostWakeupNoRecheck) {
                    inner.heard.insert((machine, key.clone()), record.clone());
                }
                for at in 0..inner.watchers.len() {
                    if inner.watchers[at].scope.contains(&key) {
                        self.tell(inner, at, Some((&key, &record)));
                    }
                }
            }
            Verdict::Conflict { .. } if inner.bug == Some(Bug::LostWakeupNoRecheck) => {
                let record = done(inner.records.get(&key))?;
                inner.heard.insert((machine, key.clone()), record);
            }
            Verdict::Conflict { .. } | Verdict::GuardFailed { .. } => {}
        }
        Ok(verdict)
    }

    /// Sends a change to a watcher, or that it may have missed some; or neither.
    fn tell(&self, inner: &mut Inner, at: usize, change: Option<(&Key, &Record)>) {
        let faults = inner.faults;
        let no_wakeup = inner.bug == Some(Bug::LostWakeupNoRecheck);
        let watcher = &mut inner.watchers[at];
        let cut = !self.network.passes(self.machine, watcher.machine);
        watcher.missed |= cut && change.is_some();
        watcher.missed |= self.world.chance(faults.broken_watch);
        let event = match change {
            _ if cut || no_wakeup => return,
            _ if watcher.missed => WatchEvent::Resync,
            None => return,
            Some(_) if self.world.chance(faults.lost_watch) => return,
            Some((key, record)) => {
                let record = self.world.chance(0.5).then(|| record.clone());
                WatchEvent::Changed { key: key.clone(), record }
            }
        };
        watcher.missed = false;
        let delay = self.latency();
        watcher.last_at = watcher.last_at.max(self.world.now() + delay);
        let events = watcher.events.clone();
        // A watch that was dropped has nobody to be told.
        self.world.at(watcher.last_at, move || drop(events.send(event)));
    }

    fn fate(&self) -> Fate {
        let faults = self.inner.lock().faults;
        self.world.roll(|dice| {
            if faults.unavailable > 0.0 && dice.random_bool(faults.unavailable) {
                Fate::Unavailable
            } else if faults.ambiguous > 0.0 && dice.random_bool(faults.ambiguous) {
                match dice.random_range(0..3) {
                    0 => Fate::Applied,
                    1 => Fate::Lost,
                    _ => Fate::Late(crate::world::between(dice, Duration::ZERO, LATE_MAX)),
                }
            } else {
                Fate::Normal
            }
        })
    }
}

/// The result of a call of the store in memory, which completes at once.
fn done<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("the store in memory answers at the first poll")
}

/// Says that a write is committed that is not.
fn lie(inner: &mut Inner) -> Result<Verdict, StoreError> {
    inner.invented += 1;
    Ok(Verdict::Committed { version: Version(inner.invented) })
}

fn no_answer() -> StoreError {
    StoreError::Unavailable { reason: "no answer from the simulated store".to_owned() }
}

fn unknown() -> StoreError {
    StoreError::Ambiguous { reason: "no answer from the simulated store".to_owned() }
}

/// A record in short: of a session its epoch, home and state; of a resource who holds it, and who waits.
fn describe(key: &Key, bytes: &[u8]) -> String {
    let unreadable = |error: RecordError| error.to_string();
    match key.as_str().split('/').next() {
        Some("s") => SessionRecord::decode(bytes).map_or_else(unreadable, describe_session),
        Some("r") => Resource::decode(bytes).map_or_else(unreadable, describe_resource),
        Some("v") => MovingRecord::decode(bytes).map_or_else(unreadable, |moving| {
            moving.former.iter().map(|member| format!("from {:.4} ", member.to_string())).collect()
        }),
        _ => String::new(),
    }
}

fn describe_session(record: SessionRecord) -> String {
    format!("{:?} at {:.4} {:?}", record.epoch, record.owner.to_string(), record.state)
}

fn describe_resource(resource: Resource) -> String {
    let name = |key: LockKey| format!("{:.4}#{}", key.session.to_string(), key.lock.0);
    let mut text = String::new();
    for holder in resource.holders() {
        let _ = write!(text, "{} {} {}, ", name(holder.key), holder.mode, holder.token);
    }
    for waiting in resource.queue() {
        let _ = write!(text, "{} waits for {}, ", name(waiting.key), waiting.mode);
    }
    if let Some(master) = resource.master() {
        let recalled = if master.recalled { ", recalled" } else { "" };
        let _ = write!(text, "mastered by {:.4} since {}{recalled}", master.member.to_string(), master.mark);
        for holder in resource.recovered().iter().flat_map(Resource::holders) {
            let _ = write!(text, ", claimed by {} {}", name(holder.key), holder.mode);
        }
    }
    text
}

fn shown(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Committed { version } => format!("-> {}", version.0),
        Verdict::Conflict { .. } => "conflict".to_owned(),
        Verdict::GuardFailed { key } => format!("guard {key} failed"),
    }
}

/// The store as seen from one machine.
#[derive(Clone)]
pub(crate) struct SimulatedStore {
    cluster: Cluster,
    machine: Machine,
}

impl SimulatedStore {
    /// Sends a call to the store and its result back. Without an answer, `silence` is the result after a while.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Cluster) -> T + Send + 'static,
        silence: T,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        let (cluster, machine) = (self.cluster.clone(), self.machine);
        let world = cluster.world.clone();
        let patience = world.between(DRIVER_TIMEOUT.0, DRIVER_TIMEOUT.1);
        let there = cluster.latency();
        world.clone().after(there, move || {
            if !cluster.network.passes(machine, cluster.machine) {
                return cluster.world.after(patience, move || drop(reply.send(silence)));
            }
            let result = call(&cluster);
            let back = cluster.latency();
            let world = cluster.world.clone();
            world.after(back, move || {
                if cluster.network.passes(cluster.machine, machine) {
                    drop(reply.send(result));
                } else {
                    cluster.world.after(patience, move || drop(reply.send(silence)));
                }
            });
        });
        match answer.await {
            Ok(result) => result,
            // The world has ended, and this task with it.
            Err(_) => std::future::pending().await,
        }
    }

    fn unavailable(&self) -> bool {
        let faults = self.cluster.inner.lock().faults;
        faults.unavailable > 0.0 && self.cluster.world.chance(faults.unavailable)
    }
}

#[async_trait]
impl Store for SimulatedStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { guards: self.cluster.guards, exclusive: false, volatile: false, batch: 64 }
    }

    fn info(&self) -> StoreInfo {
        StoreInfo { backend: "simulated", place: "in the simulation".to_owned(), caveats: Vec::new() }
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        let (key, machine, unavailable) = (key.clone(), self.machine, self.unavailable());
        let read = move |cluster: &Cluster| {
            if unavailable { Err(no_answer()) } else { cluster.read(machine, &key) }
        };
        self.call(read, Err(no_answer())).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        // A call meets one fate as a rule, and each of its writes another one at times.
        let shared = self.cluster.fate();
        let each = self.cluster.world.chance(0.2);
        let fates: Vec<Fate> =
            writes.iter().map(|_| if each { self.cluster.fate() } else { shared }).collect();
        let machine = self.machine;
        let silence = vec![Err(unknown()); writes.len()];
        let call = move |cluster: &Cluster| -> Vec<Result<Verdict, StoreError>> {
            let apply = |(write, fate): (Write, Fate)| match fate {
                Fate::Normal => cluster.apply(machine, write),
                Fate::Unavailable => Err(no_answer()),
                Fate::Applied => cluster.apply(machine, write).and(Err(unknown())),
                Fate::Lost => Err(unknown()),
                Fate::Late(delay) => {
                    let late = cluster.clone();
                    cluster.world.after(delay, move || drop(late.apply(machine, write)));
                    Err(unknown())
                }
            };
            writes.into_iter().zip(fates).map(apply).collect()
        };
        self.call(call, silence).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let (prefix, after, unavailable) = (prefix.to_owned(), after.cloned(), self.unavailable());
        let list = move |cluster: &Cluster| {
            if unavailable {
                return Err(no_answer());
            }
            let inner = cluster.inner.lock();
            done(inner.records.list(&prefix, after.as_ref(), limit))
        };
        self.call(list, Err(no_answer())).await
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        let (machine, unavailable) = (self.machine, self.unavailable());
        let watch = move |cluster: &Cluster| {
            if unavailable {
                return Err(no_answer());
            }
            let (events, receiver) = mpsc::unbounded_channel();
            let watcher = Watcher { scope, machine, events, missed: false, last_at: Duration::ZERO };
            let mut inner = cluster.inner.lock();
            inner.watchers.retain(|watcher| !watcher.events.is_closed());
            inner.watchers.push(watcher);
            Ok(UnboundedReceiverStream::new(receiver))
        };
        Ok(self.call(watch, Err(no_answer())).await?.boxed())
    }

    async fn health(&self) -> Vec<Condition> {
        Vec::new()
    }
}
