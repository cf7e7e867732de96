//! What must be on the disk.

use bytes::Bytes;
use dlock_backend_embedded::EmbeddedStore;
use dlock_backend_embedded::simulated::CUT;
use dlock_store::{Change, Content, Key, Record, Store, StoreError, Verdict, Version, Write};
use futures::executor::block_on;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};

const KEYS: usize = 24;
const WRITES_MAX: usize = 4;
const VALUE_BYTES_MAX: usize = 700;
/// Into how many buckets the store divides absent keys: here, none shares one with another.
const BUCKETS: u64 = 256;

/// Everything that was acknowledged, and the call whose outcome is not known.
pub(super) struct Model {
    records: BTreeMap<Key, Record>,
    last: Version,
    unknown: Vec<(Key, Record)>,
    /// Whether it was the cut that ended the last call.
    cut: bool,
}

impl Model {
    pub(super) fn new() -> Model {
        let mut buckets = BTreeSet::new();
        let keys = (0..).map(|number| Key::new(&format!("key {number}")).unwrap());
        let records = keys
            .filter(|key| buckets.insert(key.stable_hash() % BUCKETS))
            .map(|key| (key, Record { version: Version(0), content: Content::Absent { floor: 0 } }))
            .take(KEYS)
            .collect();
        Model { records, last: Version(0), unknown: Vec::new(), cut: false }
    }

    /// Writes, some records at a time. False if it was refused.
    pub(super) fn write(&mut self, store: &EmbeddedStore, random: &mut StdRng) -> Result<bool, String> {
        let mut writes = BTreeMap::new();
        for _ in 0..random.random_range(1..=WRITES_MAX) {
            let (key, record) = self.records.iter().nth(random.random_range(0..KEYS)).unwrap();
            let change = if random.random_range(0..4) == 0 {
                Change::Delete { floor: random.random_range(0..1_000_000) }
            } else {
                let length = random.random_range(0..VALUE_BYTES_MAX);
                let value: Bytes = (0..length).map(|_| random.random()).collect();
                // In one piece, or in a few.
                let pieces = value.chunks(if length % 2 == 0 { VALUE_BYTES_MAX } else { 30 });
                Change::Put(pieces.map(Bytes::copy_from_slice).collect())
            };
            let write =
                Write { key: key.clone(), expected: record.version, change, guards: Default::default() };
            writes.insert(key.clone(), write);
        }
        let writes: Vec<Write> = writes.into_values().collect();
        let next = |at: usize| Version(self.last.0 + 1 + at as u64);
        let outcomes: Vec<(Key, Record)> = writes
            .iter()
            .enumerate()
            .map(|(at, write)| (write.key.clone(), self.after(write, next(at))))
            .collect();
        let answers = block_on(store.commit(writes));
        let committed = answers.iter().filter(|answer| answer.is_ok()).count();
        if committed == 0 {
            let errors = || answers.iter().filter_map(|answer| answer.as_ref().err());
            // When the power goes, nobody hears an answer, whatever it is.
            self.cut = errors().any(|error| error.to_string().contains(CUT));
            if self.cut || errors().any(StoreError::is_ambiguous) {
                self.unknown = outcomes;
            }
            return Ok(false);
        }
        for (answer, (key, record)) in answers.into_iter().zip(outcomes) {
            if answer != Ok(Verdict::Committed { version: record.version }) {
                return Err(format!("{key} was to become {record:?}, and the answer is {answer:?}"));
            }
            self.last = record.version;
            self.records.insert(key, record);
        }
        Ok(true)
    }

    fn after(&self, write: &Write, version: Version) -> Record {
        let content = match &write.change {
            Change::Put(value) => Content::Present(value.to_bytes()),
            Change::Delete { floor } => Content::Absent { floor: *floor.max(&self.floor(&write.key)) },
        };
        Record { version, content }
    }

    /// What is known of a key's floor from its record.
    fn floor(&self, key: &Key) -> u64 {
        match self.records[key].content {
            Content::Absent { floor } => floor,
            Content::Present(_) => 0,
        }
    }

    /// Whether there is a call whose outcome is not known.
    pub(super) fn is_unsure(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// Whether it was the cut that ended the last call.
    pub(super) fn was_cut(&self) -> bool {
        self.cut
    }

    /// Compares what is there with what must be.
    pub(super) fn check(&mut self, store: &EmbeddedStore) -> Result<(), String> {
        let get = |key: &Key| block_on(store.get(key)).map_err(|error| format!("{key}: {error}"));
        let unknown = std::mem::take(&mut self.unknown);
        let mut happened = 0;
        for (key, outcome) in &unknown {
            if is(&get(key)?, outcome) {
                happened += 1;
            }
        }
        if happened == unknown.len() {
            for (key, outcome) in unknown {
                self.last = self.last.max(outcome.version);
                self.records.insert(key, outcome);
            }
        } else if happened > 0 {
            return Err(format!("{happened} of {} writes of one call are there", unknown.len()));
        }
        for (key, expected) in &mut self.records {
            let found = get(key)?;
            if !is(&found, expected) {
                return Err(format!("{key} is {}, and must be {}", short(&found), short(expected)));
            }
            // A floor may be greater than what the model remembers of it, and not go back from there.
            *expected = found;
        }
        Ok(())
    }
}

/// Whether a record is what it must be.
fn is(found: &Record, expected: &Record) -> bool {
    let same = match (&found.content, &expected.content) {
        (Content::Absent { floor: found }, Content::Absent { floor: expected }) => found >= expected,
        (found, expected) => found == expected,
    };
    same && found.version == expected.version
}

fn short(record: &Record) -> String {
    match &record.content {
        Content::Present(value) => format!("{} bytes at {:?}", value.len(), record.version),
        Content::Absent { floor } => format!("absent above {floor} at {:?}", record.version),
    }
}
