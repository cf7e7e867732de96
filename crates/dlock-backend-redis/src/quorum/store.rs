//! The store itself.

use super::announcements::{Announcements, follow, look_into};
use super::collector;
use super::council::Council;
use super::health;
use super::layout::{Layout, bucket};
use super::listing::{self, From};
use super::member::{Member, Standing};
use super::proposer::{Goal, Hint, Outcome};
use super::register::Tag;
use super::steward;
use crate::VALUE_BYTES_MAX;
use crate::config::{Address, Deployment, Settings};
use crate::connector::Connector;
use crate::error::OpenError;
use crate::fault::Fault;
use crate::watch::Hub;
use async_trait::async_trait;
use dlock_store::{
    Capabilities, Change, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch,
    Write,
};
use foldhash::HashMap;
use futures::StreamExt;
use futures::future::join_all;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// How many writes one call carries best.
const BATCH: usize = 128;
/// Writes of one register wait for each other, and so do those of registers that share a stripe.
const STRIPES: u64 = 4096;
/// How much is remembered in a stripe before it is forgotten.
const HINTS_MAX: usize = 64;
/// How many names a listing asks for at a time, at least and at most.
const CHUNK: (usize, usize) = (16, 512);
/// How often tombstones are looked for.
const COLLECT_INTERVAL: Duration = Duration::from_secs(10);
/// How long the nodes are waited for at the start, in time-outs: each may have to be asked several times.
const PATIENCE: u32 = 5;

/// A store over several independent nodes of Redis. Handles of several processes share it by naming the same nodes, prefix
/// and database. See the [module](super) for what it promises.
pub struct QuorumStore {
    council: Arc<Council>,
    stripes: Vec<Mutex<HashMap<Key, Hint>>>,
    handle: u64,
    writes: AtomicU64,
    hub: Arc<Hub>,
    info: StoreInfo,
    tasks: Vec<JoinHandle<()>>,
}

impl QuorumStore {
    /// Connects, and waits until a majority of the nodes takes part. Must be called within a tokio runtime.
    ///
    /// If none of the nodes was ever part of a quorum, all must be there: they become one.
    pub async fn open(settings: &Settings) -> Result<QuorumStore, OpenError> {
        QuorumStore::open_with(settings, COLLECT_INTERVAL).await
    }

    /// The same, with another pace of removing tombstones.
    pub(crate) async fn open_with(
        settings: &Settings,
        collect_interval: Duration,
    ) -> Result<QuorumStore, OpenError> {
        let Deployment::Quorum { nodes } = &settings.deployment else {
            return Err(OpenError::Unusable {
                place: "redis.addrs".to_owned(),
                why: "the settings are not those of a quorum: write redis.mode = \"quorum\"".to_owned(),
            });
        };
        let place =
            format!("the quorum of {}", nodes.iter().map(Address::to_string).collect::<Vec<_>>().join(", "));
        let connector = Arc::new(Connector::for_data(settings)?);
        let layout = Arc::new(Layout::new(&settings.prefix, settings.db));
        // A node that stands still is given up in time to try again without it.
        let of_node = settings.timeout / 2;
        let members: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(number, address)| {
                let (connector, layout) = (Arc::clone(&connector), Arc::clone(&layout));
                Member::new(number, nodes.len(), address.clone(), connector, layout, of_node)
            })
            .collect();
        let (handle, proposer) = (rand::random_range(1..u64::MAX), rand::random());
        let council = Arc::new(Council::new(members, proposer, settings.timeout));
        let hub = Hub::new(0);
        let announcements = Announcements::new(Arc::clone(&hub), council.majority(), settings.timeout);
        let mut tasks = Tasks::default();
        for member in &council.members {
            tasks.spawn(Arc::clone(member).keep());
            tasks.spawn(follow(Arc::clone(&announcements), Arc::clone(member)));
        }
        tasks.spawn(steward::serve(Arc::clone(&council)));
        tasks.spawn(look_into(announcements, Arc::clone(&council)));
        tasks.spawn(collector::collect(Arc::clone(&council), collect_interval));
        wait_for_majority(&council, &place, settings.timeout * PATIENCE).await?;
        let info = StoreInfo { backend: "redis", place, caveats: health::caveats(&council) };
        Ok(QuorumStore {
            council,
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            handle,
            writes: AtomicU64::new(1),
            hub,
            info,
            tasks: tasks.take(),
        })
    }

    fn stripe(&self, key: &Key) -> &Mutex<HashMap<Key, Hint>> {
        &self.stripes[(bucket(key) % STRIPES) as usize]
    }

    async fn read(&self, key: &Key) -> Result<Record, StoreError> {
        let deadline = Instant::now() + self.council.timeout;
        let (outcome, hint) = self.council.run_until(deadline, key, Goal::Read, None).await;
        if outcome == Outcome::Unsettled {
            return self.finish(deadline, key).await;
        }
        // The next write of this key begins above what was seen. Who writes it now knows better.
        if let (Some(hint), Ok(mut stripe)) = (hint, self.stripe(key).try_lock()) {
            match stripe.get(key) {
                Some(Hint::Promised { ballot, .. }) if matches!(hint, Hint::Seen(round) if round == ballot.round) =>
                    {}
                _ => remember(&mut stripe, key, hint),
            }
        }
        match outcome {
            Outcome::Found(record) => Ok(record),
            _ => Err(self.unavailable()),
        }
    }

    /// A read that finishes what is under way, one at a time, and after this handle's own writes.
    async fn finish(&self, deadline: Instant, key: &Key) -> Result<Record, StoreError> {
        let Ok(mut stripe) = timeout_at(deadline, self.stripe(key).lock()).await else {
            return Err(self.unavailable());
        };
        let hint = stripe.remove(key);
        let (outcome, hint) = self.council.run_until(deadline, key, Goal::Finish, hint).await;
        if let Some(hint) = hint {
            remember(&mut stripe, key, hint);
        }
        match outcome {
            Outcome::Found(record) => Ok(record),
            _ => Err(self.unavailable()),
        }
    }

    async fn write(&self, write: Write) -> Result<Verdict, StoreError> {
        let Write { key, expected, change, guards } = write;
        if !guards.is_empty() {
            let reason = "a quorum has no guards: each record is agreed upon by itself".to_owned();
            return Err(StoreError::Invalid { reason });
        }
        if let Change::Put(value) = &change
            && value.len() > VALUE_BYTES_MAX
        {
            let reason = format!("a value has {} bytes, and the limit is {VALUE_BYTES_MAX}", value.len());
            return Err(StoreError::Invalid { reason });
        }
        let tag = Tag { handle: self.handle, number: self.writes.fetch_add(1, Ordering::Relaxed) };
        let (mut stripe, waited) = match self.stripe(&key).try_lock() {
            Ok(stripe) => (stripe, false),
            Err(_) => match timeout(self.council.timeout, self.stripe(&key).lock()).await {
                Ok(stripe) => (stripe, true),
                Err(_) => return Err(self.unavailable()),
            },
        };
        // Taken out: a promised ballot is used once, even if this call is dropped half-way.
        let hint = match stripe.remove(&key) {
            Some(Hint::Seen(round)) if waited => Some(Hint::Busy(round)),
            hint => hint,
        };
        let goal = Goal::Write { expected: expected.0, change, tag };
        let (outcome, hint) = self.council.run(&key, goal, hint).await;
        if let Some(hint) = hint {
            remember(&mut stripe, &key, hint);
        }
        match outcome {
            Outcome::Committed(version) => Ok(Verdict::Committed { version }),
            Outcome::Conflict(current) => Ok(Verdict::Conflict { current: Some(current) }),
            Outcome::Ambiguous => Err(StoreError::Ambiguous {
                reason: "not every node that may have taken the write has said whether it has".to_owned(),
            }),
            Outcome::Unavailable
            | Outcome::Unsettled
            | Outcome::Found(_)
            | Outcome::Collected
            | Outcome::NotCollected => Err(self.unavailable()),
        }
    }

    fn unavailable(&self) -> StoreError {
        let (seated, of, majority) =
            (self.council.seated(), self.council.members.len(), self.council.majority());
        let reason = if seated < majority {
            format!("{seated} of {of} nodes take part, and {majority} are needed")
        } else {
            format!("no majority of {of} nodes has agreed within {:?}", self.council.timeout)
        };
        StoreError::Unavailable { reason }
    }
}

fn remember(stripe: &mut HashMap<Key, Hint>, key: &Key, hint: Hint) {
    if stripe.len() >= HINTS_MAX && !stripe.contains_key(key) {
        stripe.clear();
    }
    stripe.insert(key.clone(), hint);
}

/// Ends its tasks when it is dropped, until they are taken.
#[derive(Default)]
struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(task));
    }

    fn take(mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn wait_for_majority(council: &Council, place: &str, patience: Duration) -> Result<(), OpenError> {
    let deadline = Instant::now() + patience;
    while council.seated() < council.majority() {
        if Instant::now() >= deadline {
            return Err(not_usable(council, place));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut seen: HashMap<String, &Member> = HashMap::default();
    for member in &council.members {
        let Some(seat) = member.seat() else { continue };
        if let Some(other) = seen.insert(seat.token.clone(), member) {
            let (one, two) = (&other.address, &member.address);
            let why = format!("{one} and {two} are the same node: name each once in redis.addrs");
            return Err(OpenError::Unusable { place: place.to_owned(), why });
        }
    }
    let formations: std::collections::BTreeSet<_> =
        council.members.iter().filter_map(|member| Some(member.seat()?.formation.clone())).collect();
    if formations.len() > 1 {
        let why = "the nodes are of different quorums: correct redis.addrs".to_owned();
        return Err(OpenError::Unusable { place: place.to_owned(), why });
    }
    Ok(())
}

fn not_usable(council: &Council, place: &str) -> OpenError {
    let mut unreached = 0;
    let mut told = Vec::new();
    for member in &council.members {
        let standing = member.standing();
        unreached += usize::from(matches!(standing, Standing::Down(Fault::Unreached(_))));
        told.push(match standing {
            Standing::Down(fault) => format!("{fault:?}"),
            standing => format!("{} is {}", member.address, standing.name()),
        });
    }
    let why = format!("a majority is needed, and all of them if it is the first time: {}", told.join("; "));
    if unreached == council.members.len() {
        return OpenError::Unreachable { place: place.to_owned(), why };
    }
    OpenError::Unusable { place: place.to_owned(), why }
}

impl fmt::Debug for QuorumStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuorumStore").field("place", &self.info.place).finish_non_exhaustive()
    }
}

impl Drop for QuorumStore {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.hub.close();
    }
}

#[async_trait]
impl Store for QuorumStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { guards: false, exclusive: false, volatile: false, batch: BATCH }
    }

    fn info(&self) -> StoreInfo {
        self.info.clone()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.read(key).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        join_all(writes.into_iter().map(|write| self.write(write))).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let mut from = match after {
            Some(after) if after.as_str() >= prefix => From::After(after.to_string()),
            _ => From::At(prefix.to_owned()),
        };
        let mut records = Vec::new();
        loop {
            let chunk = (limit + 1).saturating_sub(records.len()).clamp(CHUNK.0, CHUNK.1);
            let found = listing::names(&self.council, prefix, &from, chunk).await?;
            let read = join_all(found.names.iter().map(|key| self.read(key))).await;
            for (key, record) in found.names.into_iter().zip(read) {
                let record = record?;
                if record.value().is_some() {
                    records.push((key, record));
                }
            }
            if records.len() > limit {
                records.truncate(limit);
                return Ok(Page { records, more: true });
            }
            match found.next {
                Some(next) => from = next,
                None => return Ok(Page { records, more: false }),
            }
        }
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        let watching = self.hub.watch(scope);
        let patience = self.council.timeout;
        match tokio::time::timeout(patience, self.hub.complete()).await {
            Ok(()) => {
                watching.begin();
                Ok(watching.boxed())
            }
            Err(_) => {
                let reason = format!("a majority of nodes could not be subscribed to within {patience:?}");
                Err(StoreError::Unavailable { reason })
            }
        }
    }

    async fn health(&self) -> Vec<Condition> {
        health::conditions(&self.council)
    }
}

#[cfg(test)]
mod tests;
