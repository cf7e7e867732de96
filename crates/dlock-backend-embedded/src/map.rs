//! The records in memory: versions, absences and the decision over each write.

use bytes::Bytes;
use dlock_store::{Change, Content, Key, Page, Record, Verdict, Version, Write};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Absences are remembered in this many buckets, by the key's hash, not one by one.
pub(crate) const BUCKETS: usize = 256;

/// What the absent keys of a bucket have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Absence {
    /// That of the last deletion.
    pub(crate) version: Version,
    /// The greatest that a deletion carried.
    pub(crate) floor: u64,
}

/// The bucket of a key.
pub(crate) fn bucket(key: &Key) -> usize {
    (key.stable_hash() % BUCKETS as u64) as usize
}

/// All records.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) records: BTreeMap<Key, (Version, Bytes)>,
    pub(crate) absences: Box<[Absence; BUCKETS]>,
    /// The version of the last write of any record.
    pub(crate) last: Version,
}

impl Default for Map {
    fn default() -> Map {
        let absences = Box::new([Absence::default(); BUCKETS]);
        Map { records: BTreeMap::new(), absences, last: Version(0) }
    }
}

/// A write that was decided and is to be made.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) key: Key,
    pub(crate) version: Version,
    pub(crate) change: Change,
}

impl Map {
    pub(crate) fn get(&self, key: &Key) -> Record {
        match self.records.get(key) {
            Some((version, value)) => Record { version: *version, content: Content::Present(value.clone()) },
            None => {
                let Absence { version, floor } = self.absences[bucket(key)];
                Record { version, content: Content::Absent { floor } }
            }
        }
    }

    pub(crate) fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Page {
        let from = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let mut range = self
            .records
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix));
        let record = |(key, (version, value)): (&Key, &(Version, Bytes))| {
            (key.clone(), Record { version: *version, content: Content::Present(value.clone()) })
        };
        let records = range.by_ref().take(limit.max(1)).map(record).collect();
        Page { records, more: range.next().is_some() }
    }

    pub(crate) fn apply(&mut self, decided: Decided) {
        self.last = self.last.max(decided.version);
        match decided.change {
            Change::Put(value) => {
                self.records.insert(decided.key, (decided.version, value));
            }
            Change::Delete { floor } => {
                let absence = &mut self.absences[bucket(&decided.key)];
                absence.version = decided.version;
                absence.floor = absence.floor.max(floor);
                self.records.remove(&decided.key);
            }
        }
    }
}

/// Decides a batch of writes one after the other, each as if those before it had been made already.
pub(crate) struct Decider<'a> {
    map: &'a Map,
    last: Version,
    /// The versions of what this batch writes, where they differ from the map's.
    written: BTreeMap<Key, Option<Version>>,
    emptied: BTreeMap<usize, Version>,
    pub(crate) decided: Vec<Decided>,
}

impl<'a> Decider<'a> {
    pub(crate) fn new(map: &'a Map) -> Decider<'a> {
        let (written, emptied) = (BTreeMap::new(), BTreeMap::new());
        Decider { map, last: map.last, written, emptied, decided: Vec::new() }
    }

    fn version(&self, key: &Key) -> Version {
        let absent = || {
            let bucket = bucket(key);
            self.emptied.get(&bucket).copied().unwrap_or(self.map.absences[bucket].version)
        };
        match self.written.get(key) {
            Some(version) => version.unwrap_or_else(absent),
            None => self.map.records.get(key).map_or_else(absent, |(version, _)| *version),
        }
    }

    /// The verdict that the write will have once the batch is made.
    pub(crate) fn decide(&mut self, write: Write) -> Verdict {
        if let Some(guard) = write.guards.iter().find(|guard| self.version(&guard.key) != guard.version) {
            return Verdict::GuardFailed { key: guard.key.clone() };
        }
        if self.version(&write.key) != write.expected {
            let known = !self.written.contains_key(&write.key) && self.emptied.is_empty();
            return Verdict::Conflict { current: known.then(|| self.map.get(&write.key)) };
        }
        self.last.0 += 1;
        let version = self.last;
        if let Change::Delete { .. } = write.change {
            self.emptied.insert(bucket(&write.key), version);
            self.written.insert(write.key.clone(), None);
        } else {
            self.written.insert(write.key.clone(), Some(version));
        }
        self.decided.push(Decided { key: write.key, version, change: write.change });
        Verdict::Committed { version }
    }
}
