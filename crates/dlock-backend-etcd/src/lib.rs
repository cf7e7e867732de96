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
mod client;
mod compaction;
mod config;
mod error;
mod health;
mod layout;
mod transaction;
mod watch;

use async_trait::async_trait;
use batch::Batcher;
use client::Connected;
use dlock_store::{
    Capabilities, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Version, Watch,
    Write,
};
use etcd_client::GetOptions;
use layout::Layout;
use std::sync::Arc;

pub use config::{CompactionConfig, EtcdConfig, Password, TlsConfig};
pub use error::OpenError;

/// A handle onto an etcd cluster. Clones share its connections.
#[derive(Clone)]
pub struct EtcdStore {
    shared: Arc<Shared>,
}

struct Shared {
    connected: Connected,
    layout: Layout,
    batcher: Arc<Batcher>,
    _compaction: Option<compaction::Compaction>,
}

impl EtcdStore {
    /// Connects, and asks the server who it is. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When a setting is no good, or no endpoint answers within the connect timeout.
    pub async fn connect(config: &EtcdConfig) -> Result<EtcdStore, OpenError> {
        let connected = Connected::new(config).await?;
        let layout = Layout::new(config.prefix());
        let batcher = Arc::new(Batcher::new(connected.client.clone(), layout.clone()));
        let compaction = compaction::start(config, connected.client.clone());
        let shared = Shared { connected, layout, batcher, _compaction: compaction };
        Ok(EtcdStore { shared: Arc::new(shared) })
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { guards: true, exclusive: false, batch: transaction::WRITES_MAX }
    }

    fn info(&self) -> StoreInfo {
        self.shared.connected.info()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        let (client, layout) = (&self.shared.connected.client, &self.shared.layout);
        let answer = client.kv_client().txn(transaction::read(layout, key)).await.map_err(error::of_read)?;
        transaction::record(&answer.op_responses())
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        self.shared.batcher.commit(writes).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let layout = &self.shared.layout;
        let (from, to) = layout.range(prefix, after);
        let options = GetOptions::new().with_range(to).with_limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let mut client = self.shared.connected.client.kv_client();
        let mut answer = client.get(from, Some(options)).await.map_err(error::of_read)?;
        let more = answer.more();
        let records = answer.take_kvs().into_iter().map(|found| {
            let version = layout::present(found.mod_revision());
            let key = layout.key_of(found.key())?;
            let (_, value) = found.into_key_value();
            Ok((key, Record { version, content: dlock_store::Content::Present(value.into()) }))
        });
        Ok(Page { records: records.collect::<Result<_, StoreError>>()?, more })
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        watch::watch(self.shared.connected.client.clone(), self.shared.layout.clone(), scope).await
    }

    async fn health(&self) -> Vec<Condition> {
        health::look(&self.shared.connected).await
    }
}

impl std::fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdStore").field("place", &self.info().place).finish()
    }
}

/// What a version says: a revision, and whether of a value or of an absence.
fn is_absence(version: Version) -> bool {
    version.0 % 2 == 1
}
