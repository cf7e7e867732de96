//! dlock's store in the server's own process: in memory, or durable in a data directory.
//!
//! All records are kept in memory and served from there. In memory alone, a commit is a short lock and completes at
//! the first poll. In a data directory, one thread takes all commits that wait, decides them in one order, writes
//! them to a [redb](https://docs.rs/redb) database in one transaction that is on disk when it returns (group
//! commit), and only then makes them visible and answers: what anybody has read or was promised survives `kill -9`
//! and power cuts, as far as the disk tells the truth about what it has written.
#![forbid(unsafe_code)]

mod committer;
mod disk;
mod error;
mod map;
mod watch;

use async_trait::async_trait;
use committer::Committer;
use disk::Disk;
use dlock_store::{
    Capabilities, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch, Write,
};
use map::{Decided, Decider, Map};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use watch::Watchers;

pub use error::OpenError;

/// How many writes are sent in one call at best.
const BATCH: usize = 256;

/// What the handles of a store share.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) map: Mutex<Map>,
    pub(crate) watchers: Watchers,
    /// Why nothing can be written any more.
    pub(crate) broken: Mutex<Option<Condition>>,
}

impl State {
    /// Makes decided writes visible, all at once, and announces them.
    pub(crate) fn apply(&self, map: &mut Map, decided: Vec<Decided>) {
        let watched = !self.watchers.is_empty();
        for write in decided {
            let key = watched.then(|| write.key.clone());
            map.apply(write);
            if let Some(key) = key {
                self.watchers.announce(&key, &map.get(&key));
            }
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        match &*self.broken.lock() {
            Some(condition) => Err(StoreError::Unavailable { reason: condition.message.clone() }),
            None => Ok(()),
        }
    }
}

/// A store in this process. Clones are handles to the same one.
#[derive(Clone)]
pub struct EmbeddedStore {
    state: Arc<State>,
    committer: Option<Arc<Committer>>,
    exclusive: bool,
    place: Arc<str>,
}

impl EmbeddedStore {
    /// A store in memory, for one engine. Nothing survives the process.
    pub fn in_memory() -> EmbeddedStore {
        let place = "in memory".into();
        EmbeddedStore { state: Arc::default(), committer: None, exclusive: true, place }
    }

    /// A store in memory whose clones may serve several engines in this process: for tests of many servers.
    pub fn in_memory_shared() -> EmbeddedStore {
        EmbeddedStore { exclusive: false, ..EmbeddedStore::in_memory() }
    }

    /// The store in a data directory, which is made if there is none. Only one process can have it open.
    pub fn open(directory: &Path) -> Result<EmbeddedStore, OpenError> {
        let disk = Disk::open(directory)?;
        EmbeddedStore::start(disk, directory.display().to_string().into())
    }

    /// The store in a database on a storage backend of one's own: for tests that cut the power.
    pub fn open_with_backend(backend: impl redb::StorageBackend) -> Result<EmbeddedStore, OpenError> {
        let place = "a storage backend";
        let disk = Disk::open_with_backend(backend)?;
        EmbeddedStore::start(disk, place.into())
    }

    fn start(disk: Disk, place: Arc<str>) -> Result<EmbeddedStore, OpenError> {
        let map = Mutex::new(disk.load()?);
        let state = Arc::new(State { map, ..State::default() });
        let committer = Committer::start(Arc::clone(&state), disk)?;
        Ok(EmbeddedStore { state, committer: Some(Arc::new(committer)), exclusive: true, place })
    }

    fn commit_in_memory(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        let mut map = self.state.map.lock();
        let mut decider = Decider::new(&map);
        let verdicts = writes.into_iter().map(|write| Ok(decider.decide(write))).collect();
        let decided = decider.decided;
        self.state.apply(&mut map, decided);
        verdicts
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { guards: true, exclusive: self.exclusive, batch: BATCH }
    }

    fn info(&self) -> StoreInfo {
        let caveats = match self.committer {
            Some(_) => Vec::new(),
            None => {
                vec!["locks are lost when this process ends: give a data directory to keep them".to_owned()]
            }
        };
        StoreInfo { backend: "embedded", place: self.place.to_string(), caveats }
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.state.check()?;
        Ok(self.state.map.lock().get(key))
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        match &self.committer {
            None => self.commit_in_memory(writes),
            Some(committer) => committer.commit(writes).await,
        }
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.state.check()?;
        Ok(self.state.map.lock().list(prefix, after, limit))
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        self.state.check()?;
        Ok(self.state.watchers.watch(scope))
    }

    async fn health(&self) -> Vec<Condition> {
        self.state.broken.lock().iter().cloned().collect()
    }
}
