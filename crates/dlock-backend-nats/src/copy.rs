//! The copy of the bucket that a handle keeps, by the messages that its consumer delivers.

use crate::envelope::{self, Envelope, Marker};
use dlock_store::{Content, Key, Page, Record, StoreError, Version, WatchEvent};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;

use tokio::sync::{broadcast, watch};

/// How many changes a watch may be behind before it has to resynchronise.
const BEHIND_MAX: usize = 8192;

#[derive(Clone, Debug)]
struct Entry {
    sequence: u64,
    floor: u64,
    content: envelope::Content,
    /// Two writes that expected the same predecessor were both accepted.
    broken: bool,
    /// In which of the collector's rounds it came.
    round: u64,
}

#[derive(Default)]
struct Copy {
    entries: BTreeMap<Key, Entry>,
    /// The newest marker, and its sequence; absences without a message have it as their version.
    marker: Option<(u64, Marker)>,
    broken: usize,
    round: u64,
}

/// What a publication has to expect of its subject, and to remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Predecessor {
    /// The last sequence; 0 for no message.
    pub(crate) sequence: u64,
    /// The greatest floor so far.
    pub(crate) floor: u64,
}

/// A copy that is read while it is brought up to date.
pub(crate) struct SharedCopy {
    copy: Mutex<Copy>,
    /// The sequence up to which it is complete; 0 while it is being rebuilt.
    applied: watch::Sender<u64>,
    changes: broadcast::Sender<WatchEvent>,
}

impl Default for SharedCopy {
    fn default() -> Self {
        let (applied, changes) = (watch::Sender::new(0), broadcast::Sender::new(BEHIND_MAX));
        SharedCopy { copy: Mutex::default(), applied, changes }
    }
}

/// The version of a record whose last message has this sequence.
pub(crate) fn version(sequence: u64) -> Version {
    Version(sequence * 2)
}

/// The version of an absence without a message.
fn unwritten(marker: u64) -> Version {
    Version(marker * 2 + 1)
}

impl SharedCopy {
    /// Waits until all up to this sequence has come.
    pub(crate) async fn reach(&self, sequence: u64) {
        let mut applied = self.applied.subscribe();
        // The sender lives as long as this.
        let _ = applied.wait_for(|applied| *applied >= sequence).await;
    }

    pub(crate) fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<WatchEvent> {
        self.changes.subscribe()
    }

    /// Forgets everything: the bucket is another one, or went back in time.
    pub(crate) fn clear(&self) {
        self.applied.send_replace(0);
        let mut copy = self.copy.lock();
        *copy = Copy { round: copy.round, ..Copy::default() };
    }

    /// Changes may have been missed by those who watch.
    pub(crate) fn resynchronise(&self) {
        let _nobody_watches = self.changes.send(WatchEvent::Resync);
    }

    /// All that is in the bucket has been delivered up to this sequence.
    pub(crate) fn caught_up(&self, sequence: u64) {
        self.applied.send_if_modified(|applied| {
            let later = sequence > *applied;
            *applied = (*applied).max(sequence);
            later
        });
    }

    /// A record's message, as it was delivered.
    pub(crate) fn apply(&self, key: Key, sequence: u64, envelope: Envelope) {
        let record = self.copy.lock().take(&key, sequence, envelope);
        let _nobody_watches = self.changes.send(WatchEvent::Changed { key, record });
    }

    /// A record's message that this handle sent and that was stored, before it is delivered: the next write may build
    /// upon it.
    pub(crate) fn stored(&self, key: &Key, sequence: u64, envelope: Envelope) {
        if self.applied() > 0 {
            self.copy.lock().take(key, sequence, envelope);
        }
    }

    /// A marker: the deletions up to its cutoff are forgotten.
    pub(crate) fn mark(&self, sequence: u64, marker: Marker) {
        let mut copy = self.copy.lock();
        copy.marker = Some((sequence, marker));
        let forgotten =
            |entry: &Entry| entry.sequence <= marker.cutoff && entry.content == envelope::Content::Deleted;
        copy.entries.retain(|_, entry| !forgotten(entry));
    }

    pub(crate) fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.copy.lock().record(key)
    }

    pub(crate) fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let copy = self.copy.lock();
        let first = Key::new(prefix).map_err(|error| StoreError::Invalid { reason: error.to_string() })?;
        let from = match after.filter(|after| **after >= first) {
            Some(after) => Bound::Excluded(after.clone()),
            None => Bound::Included(first),
        };
        let mut present = copy
            .entries
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .filter(|(_, entry)| entry.content != envelope::Content::Deleted);
        let mut records = Vec::new();
        for (key, _) in present.by_ref().take(limit) {
            records.push((key.clone(), copy.record(key)?));
        }
        Ok(Page { records, more: present.next().is_some() })
    }

    /// What a write that expects this version replaces; `None` if that is not the record's version (any more).
    pub(crate) fn predecessor(&self, key: &Key, expected: Version) -> Option<Predecessor> {
        let copy = self.copy.lock();
        let (sequence, floor) = copy.marker.map_or((0, 0), |(sequence, marker)| (sequence, marker.floor));
        match copy.entries.get(key) {
            Some(entry) if expected == version(entry.sequence) => {
                Some(Predecessor { sequence: entry.sequence, floor: entry.floor.max(floor) })
            }
            None if expected == unwritten(sequence) => Some(Predecessor { sequence: 0, floor }),
            Some(_) | None => None,
        }
    }

    /// Whether any record's chain is broken.
    pub(crate) fn is_broken(&self) -> bool {
        self.copy.lock().broken > 0
    }

    /// Begins the collector's next round, and returns the deletions that came so many rounds ago or earlier.
    pub(crate) fn begin_round(&self, age: u64) -> Option<OldDeletions> {
        let mut copy = self.copy.lock();
        copy.round += 1;
        let mut cutoff = u64::MAX;
        for entry in copy.entries.values().filter(|entry| entry.round + age > copy.round) {
            cutoff = cutoff.min(entry.sequence - 1);
        }
        let mut old = OldDeletions {
            marker: Marker { cutoff: 0, floor: copy.marker.map_or(0, |(_, marker)| marker.floor) },
            previous: copy.marker.map_or(0, |(sequence, _)| sequence),
            deletions: Vec::new(),
        };
        for (key, entry) in copy.entries.iter().filter(|(_, entry)| entry.sequence <= cutoff) {
            if entry.content == envelope::Content::Deleted {
                old.marker.cutoff = old.marker.cutoff.max(entry.sequence);
                old.marker.floor = old.marker.floor.max(entry.floor);
                old.deletions.push((key.clone(), entry.sequence));
            }
        }
        (!old.deletions.is_empty()).then_some(old)
    }
}

/// Deletions that may be forgotten.
pub(crate) struct OldDeletions {
    /// The marker that says so.
    pub(crate) marker: Marker,
    /// The sequence of the marker that it replaces.
    pub(crate) previous: u64,
    /// Which, with their sequences.
    pub(crate) deletions: Vec<(Key, u64)>,
}

impl Copy {
    /// Takes a message if it is newer than what is known; returns the record as it stands.
    fn take(&mut self, key: &Key, sequence: u64, message: Envelope) -> Option<Record> {
        let known = self.entries.get(key).map(|entry| entry.sequence);
        if known.is_none_or(|known| known < sequence) {
            // A copy that begins knows of no predecessors, and one that a marker forgot is none.
            let forgotten = self.marker.is_some_and(|(_, marker)| known <= Some(marker.cutoff));
            let broken = known.is_some_and(|known| known != message.predecessor) && !forgotten;
            if broken {
                tracing::error!(%key, sequence, ?known, "two writes that replace the same message were accepted");
                self.broken += 1;
            }
            let Envelope { floor, content, .. } = message;
            let entry = Entry { sequence, floor, content, broken, round: self.round };
            if self.entries.insert(key.clone(), entry).is_some_and(|old| old.broken) {
                self.broken -= 1;
            }
        }
        self.record(key).ok()
    }

    fn record(&self, key: &Key) -> Result<Record, StoreError> {
        let (marker, floor) = self.marker.map_or((0, 0), |(sequence, marker)| (sequence, marker.floor));
        let Some(entry) = self.entries.get(key) else {
            return Ok(Record { version: unwritten(marker), content: Content::Absent { floor } });
        };
        if entry.broken {
            let reason = format!(
                "NATS accepted two writes of {key} in place of one message: delete it (nats kv del) when nobody \
                 relies on its locks"
            );
            return Err(StoreError::Invalid { reason });
        }
        let content = match &entry.content {
            envelope::Content::Value(value) => Content::Present(value.clone()),
            envelope::Content::Deleted => Content::Absent { floor: floor.max(entry.floor) },
        };
        Ok(Record { version: version(entry.sequence), content })
    }
}
