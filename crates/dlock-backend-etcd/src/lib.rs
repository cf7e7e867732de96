//! dlock's records in etcd (servers 3.4 to 3.6).
//!
//! A record is a key of its own under the prefix. A commit is a transaction on the key's modification revision, and on
//! those of the guarding records; many commits travel in one transaction, each with a verdict of its own
//! ([`EtcdStore`]).
//!
//! *Versions* are etcd's revisions, doubled, odd for an absence. etcd gives every transaction the next revision, for the
//! whole store, so that a later write of a key has a greater one. *Absences* are kept in 1,024 buckets: a deletion
//! rewrites its key's bucket, whose revision is the version of all absences in it, and whose value is their floor.
#![forbid(unsafe_code)]

mod batch;
mod caveats;
mod compaction;
mod config;
mod endpoints;
mod error;
mod health;
mod layout;
mod options;
mod transaction;
mod watch;

use async_trait::async_trait;
use batch::Batcher;
use dlock_store::{
    Capabilities, Condition, Content, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict,
    Version, Watch, Write,
};
use endpoints::{Endpoints, REQUEST_TIMEOUT};
use error::{Failure, Kind};
use etcd_client::{Client, GetOptions, GetResponse, KvClient};
use layout::Layout;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub use config::{CompactionConfig, CompactionMode, EtcdConfig, TlsConfig};
pub use dlock_store::config::Secret;
pub use error::OpenError;

/// A handle onto an etcd cluster. Clones share its connections.
#[derive(Clone)]
pub struct EtcdStore {
    shared: Arc<Shared>,
}

struct Shared {
    endpoints: Arc<Endpoints>,
    layout: Layout,
    batcher: Arc<Batcher>,
    info: StoreInfo,
    _compaction: Option<compaction::Compaction>,
}

impl EtcdStore {
    /// Connects, and asks the members who they are. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When a setting is no good, when no member answers and serves within the connect timeout, or when they let this
    /// client not in.
    pub async fn connect(config: &EtcdConfig) -> Result<EtcdStore, OpenError> {
        compaction::check(&config.compaction)?;
        let layout = Layout::new(config.prefix());
        let endpoints = Arc::new(Endpoints::new(config)?);
        let deadline = Instant::now() + config.connect_timeout();
        // Both may be started at the same time: etcd gets the whole connect timeout to come up and find its leader.
        let mut not_serving = None;
        let status = loop {
            match find(&endpoints, &layout, deadline).await {
                Err(error @ (OpenError::Unreachable { .. } | OpenError::NotServing { .. })) => {
                    let serves_not = matches!(error, OpenError::NotServing { .. });
                    if Instant::now() + RETRY >= deadline {
                        // That a member answered tells more than that its last answer came too late.
                        return Err(if serves_not { error } else { not_serving.unwrap_or(error) });
                    }
                    not_serving = serves_not.then_some(error).or(not_serving);
                    sleep(RETRY).await;
                }
                found => break found?,
            }
        };
        let shared = match config.compaction.mode {
            CompactionMode::Auto => probe_shared(&endpoints, &layout).await?,
            CompactionMode::On | CompactionMode::Off => true,
        };
        let addresses = endpoints.addresses().collect::<Vec<_>>().join(", ");
        let info = StoreInfo {
            backend: "etcd",
            place: format!("{addresses} (etcd {})", status.version()),
            caveats: caveats::caveats(config.compaction.mode, shared, status.version()),
        };
        let batcher = Arc::new(Batcher::new(Arc::clone(&endpoints), layout.clone()));
        let compaction =
            compaction::start(&config.compaction, shared, Arc::clone(&endpoints), layout.clone());
        let shared = Shared { endpoints, layout, batcher, info, _compaction: compaction };
        Ok(EtcdStore { shared: Arc::new(shared) })
    }
}

/// How long to wait at start-up before members that did not serve are asked again.
const RETRY: Duration = Duration::from_millis(200);

async fn find(
    endpoints: &Endpoints,
    layout: &Layout,
    deadline: Instant,
) -> Result<etcd_client::StatusResponse, OpenError> {
    let status = endpoints.find_leader(deadline.min(Instant::now() + REQUEST_TIMEOUT)).await?;
    probe(endpoints, layout).await?;
    Ok(status)
}

/// A read, for what only reads tell: whether there is a majority, and what the user may do.
async fn probe(endpoints: &Endpoints, layout: &Layout) -> Result<(), OpenError> {
    let (from, to) = layout.range("", None);
    let found = has_keys(endpoints, from, to).await;
    found.map(drop).map_err(|failure| not_serving(endpoints, failure))
}

async fn probe_shared(endpoints: &Endpoints, layout: &Layout) -> Result<bool, OpenError> {
    compaction::is_shared(endpoints, layout).await.map_err(|failure| not_serving(endpoints, failure))
}

fn not_serving(endpoints: &Endpoints, failure: Failure) -> OpenError {
    let (endpoint, why) = (endpoints.current_address().to_owned(), failure.reason);
    match (failure.kind, failure.elsewhere) {
        (Kind::Refused, false) => OpenError::Refused { endpoint, why },
        _ => OpenError::NotServing { endpoint, why },
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { guards: true, exclusive: false, volatile: false, batch: transaction::WRITES_MAX }
    }

    fn info(&self) -> StoreInfo {
        self.shared.info.clone()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        let read = transaction::read(&self.shared.layout, key);
        let get = |client: Client| {
            let read = read.clone();
            async move { kv(&client).txn(read).await }
        };
        let answer = self.shared.endpoints.read(get).await.map_err(Failure::of_read)?;
        transaction::record(&answer.op_responses())
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        self.shared.batcher.commit(writes).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let mut page = Page { records: Vec::new(), more: true };
        while page.more && page.records.len() < limit {
            let after = page.records.last().map(|(key, _)| key).or(after);
            let answer = self.range(prefix, after, (limit - page.records.len()).min(RANGE_MAX)).await?;
            page.records.extend(answer.records);
            page.more = answer.more;
        }
        Ok(page)
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        watch::watch(Arc::clone(&self.shared.endpoints), self.shared.layout.clone(), scope).await
    }

    async fn health(&self) -> Vec<Condition> {
        health::look(&self.shared.endpoints).await
    }
}

/// How many records one answer of a listing has at most: they may be large, and etcd does not divide answers.
const RANGE_MAX: usize = 256;

impl EtcdStore {
    async fn range(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let layout = &self.shared.layout;
        let (from, to) = layout.range(prefix, after);
        let options = GetOptions::new().with_range(to).with_limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let answer = get(&self.shared.endpoints, from, options).await;
        let mut answer = answer.map_err(Failure::of_read)?;
        let more = answer.more();
        let records = answer.take_kvs().into_iter().map(|found| {
            let version = layout::present(found.mod_revision());
            let key = layout.key_of(found.key())?;
            let (_, value) = found.into_key_value();
            Ok((key, Record { version, content: Content::Present(value.into()) }))
        });
        Ok(Page { records: records.collect::<Result<_, StoreError>>()?, more })
    }
}

/// The longest answer that is taken: that of a transaction whose every write met another record of the greatest size.
const ANSWER_BYTES_MAX: usize = 256 << 20;

fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX)
}

async fn get(endpoints: &Endpoints, from: Vec<u8>, options: GetOptions) -> Result<GetResponse, Failure> {
    let get = |client: Client| {
        let (from, options) = (from.clone(), options.clone());
        async move { kv(&client).get(from, Some(options)).await }
    };
    endpoints.read(get).await
}

/// Whether there is any key in the range.
async fn has_keys(endpoints: &Endpoints, from: Vec<u8>, to: Vec<u8>) -> Result<bool, Failure> {
    let options = GetOptions::new().with_range(to).with_limit(1).with_keys_only();
    get(endpoints, from, options).await.map(|found| !found.kvs().is_empty())
}

impl std::fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdStore").field("place", &self.shared.info.place).finish()
    }
}

/// What a version says: a revision, and whether of a value or of an absence.
fn is_absence(version: Version) -> bool {
    version.0 % 2 == 1
}
