//! dlock's store in the server's own process: in memory, or durable in a data directory.
//!
//! All records are kept in memory and served from there. In memory alone, every call is a short lock and completes at
//! the first poll. In a data directory, one thread takes all commits that wait, decides them in one order, writes
//! them to a [redb](https://docs.rs/redb) database in one transaction that is on disk when it returns (group
//! commit), and only then makes them visible and answers: what anybody has read or was promised survives `kill -9`
//! and power cuts, as far as the disk tells the truth about what it has written.
//!
//! It needs no runtime: its futures run on any executor.
//!
//! ```
//! use dlock_backend_embedded::EmbeddedStore;
//! use dlock_store::{Key, Store};
//!
//! # futures::executor::block_on(async {
//! let store = EmbeddedStore::in_memory();
//! let record = store.get(&Key::new("session/1")?).await?;
//! assert_eq!(record.value(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
#![forbid(unsafe_code)]

mod batch;
mod committer;
mod directory;
mod disk;
mod error;
mod map;
mod state;
mod watch;

use async_trait::async_trait;
use committer::Committer;
use disk::Disk;
use dlock_store::{
    AtOnce, Capabilities, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch, Write,
};
use futures::StreamExt;
use map::{Map, View};
use state::State;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use error::OpenError;

/// The longest value, in bytes; a write with a longer one is refused as [`StoreError::Invalid`].
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// How many writes are sent in one call at best.
const BATCH: usize = 256;

/// A store in this process. Clones are handles to the same one; it is closed when the last is dropped, which waits
/// for a transaction that is under way.
#[derive(Clone)]
pub struct EmbeddedStore {
    state: Arc<State>,
    /// None in memory.
    committer: Option<Arc<Committer>>,
    exclusive: bool,
    place: Arc<str>,
}

impl EmbeddedStore {
    /// A store in memory, for one engine. Nothing survives the process.
    pub fn in_memory() -> EmbeddedStore {
        EmbeddedStore { state: Arc::default(), committer: None, exclusive: true, place: "in memory".into() }
    }

    /// A store in memory whose clones may serve several engines in this process: for tests of many servers.
    pub fn in_memory_shared() -> EmbeddedStore {
        EmbeddedStore { exclusive: false, ..EmbeddedStore::in_memory() }
    }

    /// The store in a data directory, which is made if there is none. Only one process can have it open.
    ///
    /// Blocks while the database is verified and read.
    pub fn open(directory: &Path) -> Result<EmbeddedStore, OpenError> {
        let (disk, map) = Disk::open(directory)?;
        EmbeddedStore::start(disk, map, &directory.display().to_string())
    }

    /// The store in a database on a storage backend of one's own: for tests that cut the power.
    ///
    /// A power cut before the first call of this has returned may leave behind what is no database yet, and is then
    /// [`OpenError::Corrupt`]; in a directory that can't happen.
    pub fn open_with_backend(backend: impl redb::StorageBackend) -> Result<EmbeddedStore, OpenError> {
        let place = "a storage backend";
        let (disk, map) = Disk::open_with_backend(backend, place)?;
        EmbeddedStore::start(disk, map, place)
    }

    fn start(disk: Disk, map: Map, place: &str) -> Result<EmbeddedStore, OpenError> {
        let state = Arc::new(State::new(map));
        let committer = Committer::start(Arc::clone(&state), disk)
            .map_err(|source| OpenError::Io { place: place.to_owned(), source })?;
        Ok(EmbeddedStore {
            state,
            committer: Some(Arc::new(committer)),
            exclusive: true,
            place: place.into(),
        })
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("place", &self.place).finish_non_exhaustive()
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
        self.state.read(|map| map.record(key))
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        match &self.committer {
            None => self.state.commit(writes),
            Some(committer) => committer.commit(writes).await,
        }
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.state.read(|map| map.list(prefix, after, limit))
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        Ok(self.state.watch(scope)?.boxed())
    }

    async fn health(&self) -> Vec<Condition> {
        self.state.broken().into_iter().collect()
    }

    fn at_once(&self) -> Option<&dyn AtOnce> {
        match self.committer {
            None => Some(&*self.state),
            Some(_) => None,
        }
    }
}
