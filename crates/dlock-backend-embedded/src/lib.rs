//! dlock's store in the server's own process: in memory, or durable in a data directory.
//!
//! All records are kept in memory and served from there. In memory alone, every call is a short lock and completes at
//! the first poll. In a data directory, one thread takes all commits that wait, decides them in one order, writes
//! them to a log as one batch, syncs it (group commit), and only then makes them visible and answers: what anybody has
//! read or was promised survives `kill -9` and power cuts, as far as the disk tells the truth about what it has synced.
//! When the log has become long, a snapshot of all records takes its place, written beside service.
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
mod checkpoint;
mod committer;
mod directory;
pub mod disk;
mod entry;
mod error;
mod files;
mod frame;
mod kept;
mod log;
mod map;
mod order;
mod pace;
mod records;
mod recovery;
#[cfg(feature = "simulated-disk")]
pub mod simulated;
mod slots;
mod snapshot;
mod state;
mod upkeep;
mod watch;

use async_trait::async_trait;
use committer::Committer;
use directory::DataDirectory;
use disk::Disk;
use dlock_store::{
    AtOnce, Capabilities, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch,
    Write,
};
use futures::StreamExt;
use map::View;
use state::State;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use error::OpenError;
pub use upkeep::Upkeep;

/// The longest value, in bytes; a write with a longer one is refused as [`StoreError::Invalid`].
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// How many writes are sent in one call at best.
const BATCH: usize = 256;

/// A store in this process. Clones are handles to the same one; it is closed when the last is dropped, which waits
/// for a batch that is under way.
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
    /// Blocks while the snapshot and the log are verified and read.
    pub fn open(directory: &Path) -> Result<EmbeddedStore, OpenError> {
        EmbeddedStore::open_with(directory, Upkeep::default())
    }

    /// The store in a data directory, with other bounds than those by default.
    pub fn open_with(directory: &Path, upkeep: Upkeep) -> Result<EmbeddedStore, OpenError> {
        let disk = DataDirectory::open(directory)?;
        EmbeddedStore::open_on(Arc::new(disk), directory, upkeep)
    }

    /// The store on a disk of one's own, which is called by this name: for tests that cut the power.
    pub fn open_on(disk: Arc<dyn Disk>, place: &Path, upkeep: Upkeep) -> Result<EmbeddedStore, OpenError> {
        let (log, map) = recovery::recover(disk, place, upkeep.log_bytes)?;
        let state = Arc::new(State::new(map));
        let committer = Committer::start(Arc::clone(&state), log, upkeep)
            .map_err(|source| OpenError::from_io(place, source))?;
        Ok(EmbeddedStore {
            state,
            committer: Some(Arc::new(committer)),
            exclusive: true,
            place: place.display().to_string().into(),
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
        let volatile = self.committer.is_none();
        Capabilities { guards: true, exclusive: self.exclusive, volatile, batch: BATCH }
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
        self.state.condition().into_iter().collect()
    }

    fn at_once(&self) -> Option<&dyn AtOnce> {
        match self.committer {
            None => Some(&*self.state),
            Some(_) => None,
        }
    }
}
