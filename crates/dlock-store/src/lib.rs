//! The store contract: what dlock asks of the place where its records live.
//!
//! A store is a linearizable map from keys to records. Every record carries a [`Version`], every write names the
//! version that it replaces ([`Write`]), and [`Store::watch`] wakes those who wait for a change. Nothing else is
//! asked: the lock's state machine is in `dlock-core`, and a backend only keeps bytes.
//!
//! The rules that a backend must keep, each of them tested by the [`conformance`] suite:
//!
//! 1. [`Store::get`] is linearizable: it sees every write that was acknowledged before it began.
//! 2. A write is applied if and only if the record has the expected version *and*, where guards are given, every
//!    guarded record has its version, all at one instant.
//! 3. A later write of one key has a greater version than an earlier one; a version is never used twice, not after
//!    a deletion and not after a restart of the store.
//! 4. *Absence has a version too.* Whoever read "absent, version 7" and then writes expecting version 7 fails if the
//!    key was created and deleted in between. A backend may keep one absence version for many keys (a bucket), as
//!    long as a deletion of any of them changes it: a spurious conflict costs a retry, a missed one costs safety.
//! 5. *Absence remembers a floor.* A deletion carries a number, and a later read of the absent key returns a number
//!    at least as great. This is how fencing tokens keep growing after their record was collected, without
//!    one leftover per name: one floor per bucket is enough.
//! 6. When the outcome of a write is not known (a time-out, a lost connection) the error is
//!    [`StoreError::Ambiguous`]; every other error means that the write was *not* applied and never will be.
//! 7. Once [`Store::watch`] has returned, every later change of its keys is followed by an event that names the key,
//!    or by [`WatchEvent::Resync`] or [`WatchEvent::WentBack`].
#![forbid(unsafe_code)]

#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod health;
mod key;
mod value;
mod write;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use error::StoreError;
pub use health::{Condition, Severity, StoreInfo};
pub use key::{KEY_BYTES_MAX, Key, KeyTooLong};
pub use value::Value;
pub use write::{Change, GUARDS_MAX, Guard, Verdict, Write};

/// What a compare-and-swap compares: changed by every write of the record, greater for a later one.
///
/// Versions of different keys must not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u64);

/// What a key holds at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// To be expected by a write that replaces it.
    pub version: Version,
    /// The value, or that there is none.
    pub content: Content,
}

/// A record's value, or its absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The bytes last written.
    Present(Bytes),
    /// No value.
    Absent {
        /// At least the greatest floor that any deletion of this key carried; 0 if it was never deleted.
        floor: u64,
    },
}

impl Record {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Present(value) => Some(value),
            Content::Absent { .. } => None,
        }
    }
}

/// What a backend can do beyond the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Writes may carry guards on other records. Without it, a write with a guard is refused as
    /// [`StoreError::Invalid`].
    pub guards: bool,
    /// Only this handle writes to the store: what it has read or written stays true until it writes again.
    pub exclusive: bool,
    /// All that is written is lost with this process: a commit is worth no more than what the process remembers.
    pub volatile: bool,
    /// How many writes one call of [`Store::commit`] carries best.
    pub batch: usize,
}

/// Which keys a watch is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This one.
    Key(Key),
    /// Each that begins with this text.
    Prefix(String),
}

impl Scope {
    /// Whether the key is in the scope.
    pub fn contains(&self, key: &Key) -> bool {
        match self {
            Scope::Key(own) => own == key,
            Scope::Prefix(prefix) => key.as_str().starts_with(prefix.as_str()),
        }
    }
}

/// A wake-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The key was written or deleted. Several changes may come as one event, the last.
    Changed {
        /// Which key.
        key: Key,
        /// The record that one of the changes committed, where the store sends it along: the truth of its version,
        /// though there may be newer ones by now.
        record: Option<Record>,
    },
    /// Events may have been missed: read again whatever the watch is about.
    Resync,
    /// Something that was acknowledged is not there any more: the store was restored from a copy, or has lost it. Read again
    /// whatever the watch is about. A store says so if it can; most can't know.
    WentBack,
}

/// The stream of a watch: it ends only with the store's handle, and dropping it ends the watch.
pub type Watch = BoxStream<'static, WatchEvent>;

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Present records in the order of their keys.
    pub records: Vec<(Key, Record)>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// A store. See the crate's documentation for the rules.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What this backend can do beyond the rules.
    fn capabilities(&self) -> Capabilities;

    /// What it is, and what it can't promise, for people and for the log at start-up.
    fn info(&self) -> StoreInfo;

    /// Reads one record, linearizably.
    async fn get(&self, key: &Key) -> Result<Record, StoreError>;

    /// Tries each write on its own, in no particular order; the answers are in the order of the writes.
    ///
    /// No two writes of one call may have the same key. A backend sends them as it best can: in one
    /// transaction, one script, one pipeline.
    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>>;

    /// The present records whose key begins with `prefix` and comes after `after`, in the order of their keys
    /// (bytewise), at most `limit` (at least 1). Each record is as fresh as [`Store::get`]'s; the page as a whole
    /// need not be of one instant.
    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError>;

    /// Starts a watch; when this returns, it is established.
    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError>;

    /// What is wrong at the moment; empty when nothing is.
    async fn health(&self) -> Vec<Condition>;

    /// The same records, for callers that need not wait: only a store that keeps them in this process's memory has
    /// this.
    fn at_once(&self) -> Option<&dyn AtOnce> {
        None
    }
}

/// A store that answers at once: what [`Store::get`] and [`Store::commit`] do, without a future.
pub trait AtOnce: Send + Sync {
    /// Reads one record, linearizably.
    fn get(&self, key: &Key) -> Result<Record, StoreError>;

    /// Tries a write.
    fn commit(&self, write: Write) -> Result<Verdict, StoreError>;
}
