//! The records in memory, and what a write is judged by.

use crate::VALUE_BYTES_MAX;
use bytes::Bytes;
use dlock_store::{Change, Content, Key, Page, Record, StoreError, Verdict, Version, Write};
use foldhash::HashMap;
use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::ops::Bound;

/// Keys are divided by their hash into this many buckets. All absent keys of a bucket share one version and one
/// floor; and as each bucket has a table of its own, one that grows moves only a small part of a million records.
///
/// Part of the format on disk.
pub(crate) const BUCKETS: usize = 256;

/// The most records in one page of a listing: no write is made visible while it is put together.
pub(crate) const PAGE_MAX: usize = 1024;

/// What becomes of one write: [`Verdict::Committed`] only once it is as durable as the store makes it.
pub(crate) type Answer = Result<Verdict, StoreError>;

/// What the absent keys of a bucket have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Absence {
    /// That of the last deletion.
    pub(crate) version: Version,
    /// The greatest that a deletion carried.
    pub(crate) floor: u64,
}

impl Absence {
    /// What it becomes by one deletion more.
    pub(crate) fn after(self, version: Version, floor: u64) -> Absence {
        Absence { version, floor: self.floor.max(floor) }
    }
}

/// The bucket of a key, below [`BUCKETS`].
pub(crate) fn bucket(key: &Key) -> usize {
    (key.stable_hash() % BUCKETS as u64) as usize
}

/// A write that is to be made, with the version that it makes.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) key: Key,
    pub(crate) version: Version,
    pub(crate) change: Change,
}

/// A state of the records by which writes are judged: what is committed, or what will be.
pub(crate) trait View {
    /// The record, if the key has one.
    fn present(&self, key: &Key) -> Option<(Version, &Bytes)>;

    /// What the key's bucket says of a key without a record.
    fn absence(&self, key: &Key) -> Absence;

    fn version(&self, key: &Key) -> Version {
        self.present(key).map_or_else(|| self.absence(key).version, |(version, _)| version)
    }

    fn record(&self, key: &Key) -> Record {
        match self.present(key) {
            Some((version, value)) => Record { version, content: Content::Present(value.clone()) },
            None => {
                let Absence { version, floor } = self.absence(key);
                Record { version, content: Content::Absent { floor } }
            }
        }
    }

    /// Why the write must not be made, if it must not.
    fn refusal(&self, write: &Write) -> Option<Answer> {
        if let Change::Put(value) = &write.change
            && value.len() > VALUE_BYTES_MAX
        {
            let length = value.len();
            let reason = format!("a value has {length} bytes, and the limit is {VALUE_BYTES_MAX}");
            return Some(Err(StoreError::Invalid { reason }));
        }
        if let Some(guard) = write.guards.iter().find(|guard| self.version(&guard.key) != guard.version) {
            return Some(Ok(Verdict::GuardFailed { key: guard.key.clone() }));
        }
        (self.version(&write.key) != write.expected)
            .then(|| Ok(Verdict::Conflict { current: Some(self.record(&write.key)) }))
    }
}

struct Stored {
    version: Version,
    value: Bytes,
}

#[derive(Default)]
struct Bucket {
    records: HashMap<Key, Stored>,
    absence: Absence,
}

/// All records: hash tables to find one, and an ordered set of the keys to list them.
pub(crate) struct Map {
    buckets: Vec<Bucket>,
    order: BTreeSet<Key>,
    last: Version,
}

impl Default for Map {
    fn default() -> Map {
        let buckets = std::iter::repeat_with(Bucket::default).take(BUCKETS).collect();
        Map { buckets, order: BTreeSet::new(), last: Version(0) }
    }
}

impl View for Map {
    fn present(&self, key: &Key) -> Option<(Version, &Bytes)> {
        let stored = self.buckets[bucket(key)].records.get(key)?;
        Some((stored.version, &stored.value))
    }

    fn absence(&self, key: &Key) -> Absence {
        self.buckets[bucket(key)].absence
    }
}

impl Map {
    /// The version of the last write of any record, there or deleted.
    pub(crate) fn last(&self) -> Version {
        self.last
    }

    /// Makes a write that was decided on.
    pub(crate) fn apply(&mut self, decided: Decided) {
        let Decided { key, version, change } = decided;
        self.last = self.last.max(version);
        match change {
            Change::Put(value) => self.put(key, Stored { version, value }),
            Change::Delete { floor } => {
                let bucket = &mut self.buckets[bucket(&key)];
                bucket.absence = bucket.absence.after(version, floor);
                if bucket.records.remove(&key).is_some() {
                    self.order.remove(&key);
                }
            }
        }
    }

    fn put(&mut self, key: Key, stored: Stored) {
        match self.buckets[bucket(&key)].records.entry(key) {
            Entry::Occupied(mut entry) => {
                entry.insert(stored);
            }
            Entry::Vacant(entry) => {
                self.order.insert(entry.key().clone());
                entry.insert(stored);
            }
        }
    }

    /// What is to be stored of the buckets, by number.
    pub(crate) fn absences(&self) -> Vec<(usize, Absence)> {
        self.buckets.iter().map(|bucket| bucket.absence).enumerate().collect()
    }

    /// Takes over what was stored of a bucket, below [`BUCKETS`].
    pub(crate) fn restore_absence(&mut self, bucket: usize, absence: Absence) {
        self.last = self.last.max(absence.version);
        self.buckets[bucket].absence = absence;
    }

    /// See [`Store::list`](dlock_store::Store::list).
    pub(crate) fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Page {
        let from = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let mut keys = self
            .order
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|key| key.as_str().starts_with(prefix));
        let page = keys.by_ref().take(limit.clamp(1, PAGE_MAX));
        let records = page.map(|key| (key.clone(), self.record(key))).collect();
        Page { records, more: keys.next().is_some() }
    }
}
