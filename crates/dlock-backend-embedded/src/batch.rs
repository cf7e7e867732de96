//! Deciding many writes before any of them is made.

use crate::kept::Kept;
use crate::map::{Absence, Answer, Decided, Map, View, bucket};
use dlock_store::{Change, Key, Verdict, Version, Write};
use foldhash::{HashMap, HashMapExt};
use std::collections::BTreeMap;

/// A batch of writes in the making: each is judged as if those decided before it had been made.
pub(crate) struct Batch<'a> {
    map: &'a Map,
    /// In the order in which they were decided, which is that of their versions.
    writes: Vec<Decided>,
    /// The buckets in which something is deleted, as they are afterwards.
    absences: BTreeMap<usize, Absence>,
    /// The version of the last write of any record.
    last: Version,
    /// Where the last decision on a key is among the writes.
    latest: HashMap<Key, usize>,
}

impl<'a> Batch<'a> {
    /// For so many writes, about.
    pub(crate) fn new(map: &'a Map, count: usize) -> Batch<'a> {
        let (writes, latest) = (Vec::with_capacity(count), HashMap::with_capacity(count));
        Batch { map, writes, absences: BTreeMap::new(), last: map.last(), latest }
    }

    /// What becomes of the write if the batch is made.
    pub(crate) fn decide(&mut self, write: Write) -> Answer {
        if let Some(refusal) = self.refusal(&write) {
            return refusal;
        }
        let Write { key, change, .. } = write;
        let version = Version(self.last.0 + 1);
        self.last = version;
        if let Change::Delete { floor } = change {
            let absence = self.absence(&key).after(version, floor);
            self.absences.insert(bucket(&key), absence);
        }
        self.latest.insert(key.clone(), self.writes.len());
        self.writes.push(Decided { key, version, change });
        Ok(Verdict::Committed { version })
    }

    /// What is to be made, as a whole or not at all.
    pub(crate) fn finish(self) -> Vec<Decided> {
        self.writes
    }
}

impl View for Batch<'_> {
    fn present(&self, key: &Key) -> Option<(Version, Kept<'_>)> {
        let Some(index) = self.latest.get(key) else { return self.map.present(key) };
        let decided = &self.writes[*index];
        match &decided.change {
            Change::Put(value) => Some((decided.version, value.into())),
            Change::Delete { .. } => None,
        }
    }

    fn absence(&self, key: &Key) -> Absence {
        self.absences.get(&bucket(key)).copied().unwrap_or_else(|| self.map.absence(key))
    }
}
