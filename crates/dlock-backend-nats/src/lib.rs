//! dlock's records in a NATS JetStream key-value bucket (servers 2.9 to 2.12).
//!
//! A record is the last message of a subject of its own; a commit is a publication that expects the subject's last
//! sequence, and its version is the message's sequence.
//!
//! *Reads.* JetStream has no linearizable read: a leader that was deposed a moment ago still answers from its own copy.
//! So each handle follows the bucket with an ordered consumer, which delivers only what was agreed upon, in order, and
//! keeps a copy. A read publishes a *barrier*, and answers from the copy once the barrier has come back through the
//! consumer: all that was acknowledged before it has come by then. One barrier serves all reads that wait for it.
//!
//! *Absences.* A deletion is a message too, with a floor. Deletions that are an hour old are collected: a *marker* names
//! a sequence, up to which all deletions are forgotten, and the greatest floor among them; the marker's sequence is the
//! version of all absences without a message. A write that was decided before and arrives after would have to be an hour
//! under way.
//!
//! *The chain.* Each message names its predecessor. If two publications that expected the same predecessor were both
//! accepted, a record is not served any more, and health says so: no lock on it is granted on a guess.
#![forbid(unsafe_code)]

mod barrier;
mod client;
mod collect;
mod config;
mod copy;
mod envelope;
mod error;
mod follow;
mod health;
mod subject;
mod watch;

use async_nats::jetstream::context::PublishAckFuture;
use async_trait::async_trait;
use client::Connected;
use copy::SharedCopy;
use dlock_store::{
    Capabilities, Change, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch,
    Write,
};
use envelope::Envelope;
use futures::future::join_all;
use std::sync::Arc;
use tokio::task::AbortHandle;

pub use config::{NatsConfig, Password, StorageConfig, TlsConfig};
pub use error::OpenError;

/// A handle onto a bucket. Clones share its connection and its copy.
#[derive(Clone)]
pub struct NatsStore {
    shared: Arc<Shared>,
}

struct Shared {
    connected: Connected,
    copy: Arc<SharedCopy>,
    barrier: barrier::Barrier,
    tasks: [AbortHandle; 2],
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl NatsStore {
    /// Connects, makes the bucket if it isn't there, and reads it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When a setting is no good, no server answers within the connect timeout, or the bucket is not as it must be.
    pub async fn connect(config: &NatsConfig) -> Result<NatsStore, OpenError> {
        let connected = Connected::new(config).await?;
        let copy = Arc::new(SharedCopy::default());
        let following = tokio::spawn(follow::run(connected.clone(), copy.clone()));
        let collecting = tokio::spawn(collect::run(connected.clone(), copy.clone()));
        let barrier = barrier::Barrier::new(connected.clone(), copy.clone());
        let tasks = [following.abort_handle(), collecting.abort_handle()];
        let store = NatsStore { shared: Arc::new(Shared { connected, copy, barrier, tasks }) };
        let reading = tokio::time::timeout(config.connect_timeout(), store.shared.barrier.pass());
        let why = match reading.await {
            Ok(Ok(())) => return Ok(store),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the bucket was not read within {:?}", config.connect_timeout()),
        };
        Err(OpenError::Unreachable { endpoints: store.shared.connected.endpoints.clone(), why })
    }

    /// Sends a write, if what it expects can be so.
    async fn send(&self, write: &Write) -> Result<Option<Sent>, StoreError> {
        if !write.guards.is_empty() {
            return Err(StoreError::Invalid {
                reason: "this store can't guard one record by another".to_owned(),
            });
        }
        let Some(replaced) = self.shared.copy.predecessor(&write.key, write.expected) else {
            return Ok(None);
        };
        let (floor, content) = match &write.change {
            Change::Put(value) => (replaced.floor, envelope::Content::Value(value.clone())),
            Change::Delete { floor } => (replaced.floor.max(*floor), envelope::Content::Deleted),
        };
        let message = Envelope { predecessor: replaced.sequence, floor, content };
        let acknowledgement = self.shared.connected.publish(&write.key, &message).await?;
        Ok(Some(Sent { key: write.key.clone(), message, acknowledgement }))
    }

    async fn verdict(&self, sent: Option<Sent>) -> Result<Verdict, StoreError> {
        let Some(Sent { key, message, acknowledgement }) = sent else {
            return Ok(Verdict::Conflict { current: None });
        };
        match acknowledgement.await {
            Ok(stored) => {
                self.shared.copy.stored(&key, stored.sequence, message);
                Ok(Verdict::Committed { version: copy::version(stored.sequence) })
            }
            Err(error) => error::refusal(&error),
        }
    }
}

/// A publication under way.
struct Sent {
    key: Key,
    message: Envelope,
    acknowledgement: PublishAckFuture,
}

#[async_trait]
impl Store for NatsStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { guards: false, exclusive: false, batch: 256 }
    }

    fn info(&self) -> StoreInfo {
        self.shared.connected.info()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.shared.barrier.pass().await?;
        self.shared.copy.get(key)
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        // All are sent, in order, before the first is waited for.
        let mut sent = Vec::with_capacity(writes.len());
        for write in &writes {
            sent.push(self.send(write).await);
        }
        let answers = sent.into_iter().map(async |sent| self.verdict(sent?).await);
        join_all(answers).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.shared.barrier.pass().await?;
        self.shared.copy.list(prefix, after, limit)
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        let watch = watch::watch(&self.shared.copy, scope);
        // What was acknowledged before must not be waited for, and what comes after is told.
        self.shared.barrier.pass().await?;
        Ok(watch)
    }

    async fn health(&self) -> Vec<Condition> {
        health::look(&self.shared.connected, &self.shared.copy).await
    }
}

impl std::fmt::Debug for NatsStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsStore").field("place", &self.info().place).finish()
    }
}
