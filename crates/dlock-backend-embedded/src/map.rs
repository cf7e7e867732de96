//! The records in memory, and what a write is judged by.

use crate::VALUE_BYTES_MAX;
use crate::kept::Kept;
use crate::records::{Records, Stored};
use dlock_store::{Change, Content, Key, Page, Record, StoreError, Verdict, Version, Write};

/// Keys are divided by their hash into this many buckets. All absent keys of a bucket share one version and one floor.
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
    fn present(&self, key: &Key) -> Option<(Version, Kept<'_>)>;

    /// What the key's bucket says of a key without a record.
    fn absence(&self, key: &Key) -> Absence;

    fn version(&self, key: &Key) -> Version {
        self.present(key).map_or_else(|| self.absence(key).version, |(version, _)| version)
    }

    fn record(&self, key: &Key) -> Record {
        match self.present(key) {
            Some((version, value)) => Record { version, content: Content::Present(value.to_bytes()) },
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

/// All records, and what is known of those that are gone.
pub(crate) struct Map {
    records: Records,
    absences: Vec<Absence>,
    last: Version,
}

impl Default for Map {
    fn default() -> Map {
        Map { records: Records::default(), absences: vec![Absence::default(); BUCKETS], last: Version(0) }
    }
}

impl View for Map {
    fn present(&self, key: &Key) -> Option<(Version, Kept<'_>)> {
        self.records.get(key.as_str())
    }

    fn absence(&self, key: &Key) -> Absence {
        self.absences[bucket(key)]
    }
}

impl Map {
    /// The version of the last write of any record, there or deleted.
    pub(crate) fn last(&self) -> Version {
        self.last
    }

    /// Makes a write that was decided on.
    pub(crate) fn apply(&mut self, decided: &Decided) {
        match &decided.change {
            Change::Put(value) => self.put(decided.key.as_str(), decided.version, value.into()),
            Change::Delete { floor } => self.delete(&decided.key, decided.version, *floor),
        }
    }

    /// Makes a record, or gives it another value.
    pub(crate) fn put(&mut self, key: &str, version: Version, value: Kept<'_>) {
        self.last = self.last.max(version);
        self.records.put(key, version, value);
    }

    /// Removes a record, if there is one, and remembers that.
    pub(crate) fn delete(&mut self, key: &Key, version: Version, floor: u64) {
        self.records.remove(key.as_str());
        self.remember_absence(bucket(key), Absence { version, floor });
    }

    /// What is known of the records that are gone, by bucket.
    pub(crate) fn absences(&self) -> &[Absence] {
        &self.absences
    }

    /// Takes in what is known of a bucket, below [`BUCKETS`].
    pub(crate) fn remember_absence(&mut self, bucket: usize, absence: Absence) {
        self.last = self.last.max(absence.version);
        let known = &mut self.absences[bucket];
        *known = known.after(absence.version.max(known.version), absence.floor);
    }

    /// All records from this key on, or, exclusive, after it, in order.
    pub(crate) fn from<'a>(&'a self, key: &'a str, exclusive: bool) -> impl Iterator<Item = Stored<'a>> {
        self.records.from(key, exclusive)
    }

    /// How many records there are.
    pub(crate) fn count(&self) -> u64 {
        self.records.count()
    }

    /// See [`Store::list`](dlock_store::Store::list).
    pub(crate) fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Page {
        let after = after.map(Key::as_str).filter(|after| *after >= prefix);
        let mut records = self
            .records
            .from(after.unwrap_or(prefix), after.is_some())
            .take_while(|stored| stored.key.starts_with(prefix));
        let page = records.by_ref().take(limit.clamp(1, PAGE_MAX)).map(|stored| {
            let Stored { key, version, value } = stored;
            let key = Key::new(key).expect("what is stored has a key");
            (key, Record { version, content: Content::Present(value.to_bytes()) })
        });
        let page = page.collect();
        Page { records: page, more: records.next().is_some() }
    }
}
