//! dlock's records in a NATS JetStream key-value bucket (servers 2.9 to 2.12).
//!
//! A record is the last message of a subject of its own; a commit is a publication that expects the subject's last
//! sequence, and its version is the message's sequence.
//!
//! *Reads.* JetStream has no linearizable read: a leader that was deposed a moment ago still answers from its own copy.
//! So each handle follows the bucket with a consumer, which delivers only what was agreed upon, in order, and keeps a
//! copy. A read publishes a *barrier*, and answers from the copy once the barrier has come back through the
//! consumer: all that was acknowledged before it has come by then. One barrier serves all reads that wait for it.
//!
//! *Absences.* A deletion is a message too, with a floor. Deletions that are an hour old are collected: a *marker* names
//! a sequence, up to which all deletions are forgotten, and the greatest floor among them; the marker's sequence is the
//! version of all absences without a message. A write that was decided before and arrives after would have to be an hour
//! under way.
//!
//! *The chain.* Each message names the one that it replaces. Of two that replace the same, the first counts, and the
//! other never was, for every reader alike: servers before 2.10.25 store both when they come at once to a bucket of
//! several replicas. For that a bucket keeps a record's last messages, so that nobody misses the one that counts.
//!
//! *Skipped messages.* A single server keeps a record's last message only, several replicas some more. A consumer that is behind
//! skips what was replaced: the sequences show it. What has replaced it is there by then, so all that came before is read from the
//! copy once a barrier has come that was sent after that.
//!
//! *Losses.* Servers before 2.10 may lose what they had acknowledged when a leader dies, and any bucket can be restored from
//! a copy. Whoever reads a bucket again, as it could not follow it any more, looks whether all is there that was there, and
//! tells it if not ([`WatchEvent::WentBack`](dlock_store::WatchEvent::WentBack)).
#![forbid(unsafe_code)]

mod barrier;
mod bucket;
mod client;
mod collect;
mod config;
mod copy;
mod envelope;
mod error;
mod follow;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod insist;
mod records;
mod refusals;
mod subject;
mod watch;

use async_nats::jetstream::context::PublishAckFuture;
use async_trait::async_trait;
use client::Connected;
use copy::{Delivered, SharedCopy};
use dlock_store::{
    Capabilities, Change, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch,
    Write,
};
use envelope::Envelope;
use futures::future::join_all;
use refusals::Refusals;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use config::{NatsConfig, StorageConfig, TlsConfig};
pub use dlock_store::config::Secret;
pub use error::OpenError;

/// How long to wait before what failed is tried again at the start.
const RETRY: Duration = Duration::from_millis(100);

/// A handle onto a bucket. Clones share its connection and its copy.
#[derive(Clone)]
pub struct NatsStore {
    shared: Arc<Shared>,
}

struct Shared {
    connected: Connected,
    copy: Arc<SharedCopy>,
    barrier: barrier::Barrier,
    refusals: Refusals,
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
    /// When a setting is no good, no server answers within the connect timeout, nothing of the bucket comes for as long
    /// while it is read (with several replicas ten seconds more, the time of an election), or the bucket is not as it must
    /// be.
    pub async fn connect(config: &NatsConfig) -> Result<NatsStore, OpenError> {
        let connected = Connected::new(config).await?;
        let copy = Arc::new(SharedCopy::default());
        let following = tokio::spawn(follow::run(connected.clone(), copy.clone()));
        let collecting = tokio::spawn(collect::run(connected.clone(), copy.clone()));
        let barrier = barrier::Barrier::new(connected.clone(), copy.clone());
        let tasks = [following.abort_handle(), collecting.abort_handle()];
        let store = NatsStore {
            shared: Arc::new(Shared { connected, copy, barrier, refusals: Refusals::default(), tasks }),
        };
        match store.read(config.silence_max()).await {
            Ok(()) => Ok(store),
            Err(why) => {
                let endpoints = store.shared.connected.endpoints.clone();
                Err(OpenError::Unreachable { endpoints, why })
            }
        }
    }

    /// Waits until the bucket is read, however long it is, unless nothing comes for `timeout`.
    async fn read(&self, timeout: Duration) -> Result<(), String> {
        let (mut why, mut delivered) = ("no answer".to_owned(), 0);
        loop {
            // A bucket that was just made has no leader yet.
            let reading = async {
                while let Err(error) = self.shared.barrier.pass().await {
                    why = error.to_string();
                    tokio::time::sleep(RETRY).await;
                }
            };
            if tokio::time::timeout(timeout, reading).await.is_ok() {
                return Ok(());
            }
            let before = std::mem::replace(&mut delivered, self.shared.copy.deliveries());
            if delivered == before {
                return Err(format!("nothing of the bucket came within {timeout:?} ({why})"));
            }
        }
    }

    /// Sends a write, if what it expects can be so.
    async fn send(&self, write: &Write) -> Result<Option<Sent>, StoreError> {
        if !write.guards.is_empty() {
            return Err(StoreError::Invalid {
                reason: "this store can't guard one record by another".to_owned(),
            });
        }
        let Some(replaced) = self.shared.copy.replaced(&write.key, write.expected) else {
            return Ok(None);
        };
        let (floor, content) = match &write.change {
            Change::Put(value) => (replaced.floor, envelope::Content::Value(value.to_bytes())),
            Change::Delete { floor } => (replaced.floor.max(*floor), envelope::Content::Deleted),
        };
        let nonce = self.shared.connected.nonce();
        let message = Envelope { nonce, predecessor: replaced.predecessor, floor, content };
        let copy = &self.shared.copy;
        let (before, reading, delivered) = (copy.applied(), copy.readings(), copy.expect(nonce));
        match self.shared.connected.publish(&write.key, replaced.last, &message).await {
            Ok(acknowledgement) => {
                Ok(Some(Sent { nonce, before, reading, last: replaced.last, acknowledgement, delivered }))
            }
            Err(error) => {
                self.shared.copy.give_up(nonce);
                Err(error)
            }
        }
    }

    /// An acknowledgement is not enough in a bucket of several replicas: servers before 2.10.25 acknowledge two writes
    /// that expect the same last sequence when they come at once. Which of them counts is seen when it is delivered.
    async fn verdict(&self, key: &Key, sent: Option<Sent>) -> Result<Verdict, StoreError> {
        let Some(Sent { nonce, before, reading, last, acknowledgement, delivered }) = sent else {
            return Ok(Verdict::Conflict { current: None });
        };
        let acknowledged = match acknowledgement.await {
            Ok(acknowledged) => {
                self.shared.refusals.accepted(key);
                self.shared.copy.acknowledge(acknowledged.sequence, before);
                acknowledged.sequence
            }
            Err(error) => {
                self.shared.copy.give_up(nonce);
                let refused = error::refusal(&error);
                if refused.is_ok() && self.shared.refusals.refused(key, last, Instant::now()) {
                    tracing::warn!(%key, last, "the bucket's leader has another last message than this copy of it");
                    self.shared.copy.doubt();
                }
                return refused;
            }
        };
        match tokio::time::timeout(barrier::DELIVERY_TIMEOUT, delivered).await {
            Ok(Ok(Delivered::Came { sequence, .. })) if sequence != acknowledged => {
                self.shared.copy.doubt_node(acknowledged);
                Err(StoreError::Ambiguous { reason: "a node of NATS differs from its leader".to_owned() })
            }
            Ok(Ok(Delivered::Came { sequence, accepted: true })) => {
                self.shared.copy.agree(sequence);
                Ok(Verdict::Committed { version: copy::version(sequence) })
            }
            Ok(Ok(Delivered::Came { accepted: false, .. })) => Ok(Verdict::Conflict { current: None }),
            Ok(Ok(Delivered::Skipped)) => self.verdict_of_skipped(acknowledged, reading).await,
            Ok(Err(_)) | Err(_) => {
                self.shared.copy.give_up(nonce);
                Err(StoreError::Ambiguous { reason: "what was written is not delivered in time".to_owned() })
            }
        }
    }

    /// What was acknowledged, and may have been replaced before it was delivered. A single server accepts only what counts; but
    /// a bucket that is read again, since this `reading` of it in which the write was sent, may have lost it.
    async fn verdict_of_skipped(&self, acknowledged: u64, reading: u64) -> Result<Verdict, StoreError> {
        let copy = &self.shared.copy;
        let reached = tokio::time::timeout(barrier::DELIVERY_TIMEOUT, copy.reach(acknowledged)).await;
        if self.shared.connected.replicas == 1 && reached.is_ok() && copy.readings() == reading {
            return Ok(Verdict::Committed { version: copy::version(acknowledged) });
        }
        Err(StoreError::Ambiguous { reason: "what was written may have been replaced already".to_owned() })
    }
}

/// A publication under way.
struct Sent {
    nonce: u64,
    /// The sequence up to which the copy was complete when it was sent.
    before: u64,
    /// How often the bucket had been read by then.
    reading: u64,
    /// What was expected to be its subject's last sequence.
    last: u64,
    acknowledgement: PublishAckFuture,
    delivered: oneshot::Receiver<Delivered>,
}

#[async_trait]
impl Store for NatsStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { guards: false, exclusive: false, volatile: false, batch: 256 }
    }

    fn info(&self) -> StoreInfo {
        self.shared.connected.info()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.shared.barrier.pass().await?;
        Ok(self.shared.copy.get(key))
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        // All are sent, in order, before the first is waited for.
        let mut sent = Vec::with_capacity(writes.len());
        for write in &writes {
            sent.push(self.send(write).await);
        }
        let answers =
            writes.iter().zip(sent).map(async |(write, sent)| self.verdict(&write.key, sent?).await);
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
        health::look(&self.shared.connected).await
    }
}

impl std::fmt::Debug for NatsStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsStore").field("place", &self.info().place).finish()
    }
}
