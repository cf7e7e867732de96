//! What a behaviour works with: handles onto a store, and short words for its calls.

use super::calls;
use crate::{Change, Content, Guard, Key, Record, Store, StoreError, Verdict, Version, Write};
use bytes::Bytes;
use std::sync::Arc;

/// Handles onto one store, and keys that nobody else uses.
#[derive(Clone)]
pub struct World {
    prefix: String,
    handles: Vec<Arc<dyn Store>>,
}

impl World {
    pub(crate) fn new(prefix: &str, handles: Vec<Arc<dyn Store>>) -> World {
        assert!(!handles.is_empty(), "the suite needs a handle onto the store");
        World { prefix: format!("conformance/{prefix}/"), handles }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        Key::new(&format!("{}{name}", self.prefix)).expect("a short key")
    }

    /// The first handle.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.handles[0]
    }

    /// The handle of this number, round and round.
    pub(crate) fn handle(&self, number: usize) -> &Arc<dyn Store> {
        &self.handles[number % self.handles.len()]
    }

    pub(crate) async fn get(&self, key: &Key) -> Record {
        self.store().get(key).await.expect("a read")
    }

    pub(crate) async fn try_write(&self, write: Write) -> Result<Verdict, StoreError> {
        calls::commit(&**self.store(), write).await
    }

    pub(crate) async fn write(&self, write: Write) -> Verdict {
        self.try_write(write).await.expect("a verdict")
    }

    /// Writes over whatever is there; returns the new version.
    pub(crate) async fn put(&self, key: &Key, value: &str) -> Version {
        let expected = self.get(key).await.version;
        committed(self.write(put(key, expected, value)).await)
    }

    /// Deletes whatever is there; returns the absence's version.
    pub(crate) async fn delete(&self, key: &Key, floor: u64) -> Version {
        let expected = self.get(key).await.version;
        committed(self.write(delete(key, expected, floor)).await)
    }
}

pub(crate) fn put(key: &Key, expected: Version, value: impl AsRef<[u8]>) -> Write {
    let change = Change::Put(Bytes::copy_from_slice(value.as_ref()).into());
    Write { key: key.clone(), expected, change, guards: Default::default() }
}

pub(crate) fn delete(key: &Key, expected: Version, floor: u64) -> Write {
    Write { key: key.clone(), expected, change: Change::Delete { floor }, guards: Default::default() }
}

pub(crate) fn guarded(mut write: Write, key: &Key, version: Version) -> Write {
    write.guards.push(Guard { key: key.clone(), version });
    write
}

pub(crate) fn committed(verdict: Verdict) -> Version {
    match verdict {
        Verdict::Committed { version } => version,
        other => panic!("not committed: {other:?}"),
    }
}

pub(crate) fn is_conflict(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Conflict { .. })
}

pub(crate) fn floor(record: &Record) -> u64 {
    match record.content {
        Content::Absent { floor } => floor,
        Content::Present(_) => panic!("present: {record:?}"),
    }
}
