//! Deciding many writes before any of them is made.

use crate::map::{Absence, Answer, Decided, Map, View, bucket};
use dlock_store::{Change, Key, Verdict, Version, Write};
use foldhash::{HashMap, HashMapExt};
use std::collections::BTreeMap;

/// A batch of writes in the making: each is judged as if those decided before it had been made.
pub(crate) struct Batch<'a> {
    map: &'a Map,
    decisions: Decisions,
    /// The version of the last write of any record.
    last: Version,
    /// Where the last decision on a key is among the writes.
    latest: HashMap<Key, usize>,
}

/// What a batch does to the records, to be made as a whole or not at all.
pub(crate) struct Decisions {
    /// In the order in which they were decided, which is that of their versions.
    pub(crate) writes: Vec<Decided>,
    /// The buckets in which something is deleted, as they are afterwards.
    pub(crate) absences: BTreeMap<usize, Absence>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(map: &'a Map) -> Batch<'a> {
        let decisions = Decisions { writes: Vec::new(), absences: BTreeMap::new() };
        Batch { map, decisions, last: map.last(), latest: HashMap::new() }
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
            self.decisions.absences.insert(bucket(&key), absence);
        }
        self.latest.insert(key.clone(), self.decisions.writes.len());
        self.decisions.writes.push(Decided { key, version, change });
        Ok(Verdict::Committed { version })
    }

    pub(crate) fn finish(self) -> Decisions {
        self.decisions
    }
}

impl View for Batch<'_> {
    fn present(&self, key: &Key) -> Option<(Version, &[u8])> {
        let Some(index) = self.latest.get(key) else { return self.map.present(key) };
        let decided = &self.decisions.writes[*index];
        match &decided.change {
            Change::Put(value) => Some((decided.version, value.as_ref())),
            Change::Delete { .. } => None,
        }
    }

    fn absence(&self, key: &Key) -> Absence {
        self.decisions.absences.get(&bucket(key)).copied().unwrap_or_else(|| self.map.absence(key))
    }
}
