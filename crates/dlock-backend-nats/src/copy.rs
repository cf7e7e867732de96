//! The copy of the bucket that a handle keeps, by the messages that its consumer delivers.

use crate::envelope::{self, Envelope, Marker};
use crate::senders::{Delivered, Senders};
use dlock_store::{Content, Key, Page, Record, StoreError, Version, WatchEvent};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, broadcast, oneshot, watch};

/// How many changes a watch may be behind before it has to resynchronise.
const BEHIND_MAX: usize = 8192;

#[derive(Clone, Debug)]
struct Entry {
    /// Of the message that is the record.
    sequence: u64,
    predecessor: u64,
    /// Of the subject's last message, which may be one that was not accepted.
    last: u64,
    floor: u64,
    content: envelope::Content,
    /// In which of the collector's rounds it came.
    round: u64,
}

#[derive(Default)]
struct Copy {
    entries: BTreeMap<Key, Entry>,
    /// The newest marker, and its sequence; absences without a message have it as their version.
    marker: Option<(u64, Marker)>,
    round: u64,
    senders: Senders,
    /// The records that this handle has written, by their newest message: since the last look, and before that.
    written: HashMap<Key, u64>,
    written_before: HashMap<Key, u64>,
}

/// What a publication has to expect of its subject, and to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Predecessor {
    /// The subject's last sequence; 0 for no message.
    pub(crate) last: u64,
    /// What is replaced.
    pub(crate) sequence: u64,
    /// The greatest floor so far.
    pub(crate) floor: u64,
}

/// A barrier, and the sequences with which it was delivered: several, if it was sent several times.
#[derive(Default)]
struct ExpectedBarrier {
    nonce: u64,
    sequences: Vec<u64>,
}

/// A copy that is read while it is brought up to date.
pub(crate) struct SharedCopy {
    copy: Mutex<Copy>,
    /// The sequence up to which it is complete; 0 while it is being rebuilt.
    applied: watch::Sender<u64>,
    /// The greatest sequence that was acknowledged: it has to come.
    acknowledged: AtomicU64,
    /// How many messages came since the beginning.
    deliveries: AtomicU64,
    /// This handle's newest barrier.
    barrier: Mutex<ExpectedBarrier>,
    doubted: Notify,
    changes: broadcast::Sender<WatchEvent>,
}

impl Default for SharedCopy {
    fn default() -> Self {
        let (applied, changes) = (watch::Sender::new(0), broadcast::Sender::new(BEHIND_MAX));
        SharedCopy {
            copy: Mutex::default(),
            applied,
            acknowledged: AtomicU64::new(0),
            deliveries: AtomicU64::new(0),
            barrier: Mutex::default(),
            doubted: Notify::new(),
            changes,
        }
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
    /// Notes the sequences with which this barrier is delivered, instead of the one before.
    pub(crate) fn expect_barrier(&self, nonce: u64) {
        *self.barrier.lock() = ExpectedBarrier { nonce, sequences: Vec::new() };
    }

    /// A barrier, as it was delivered.
    pub(crate) fn barrier_came(&self, nonce: u64, sequence: u64) {
        let mut barrier = self.barrier.lock();
        if barrier.nonce == nonce {
            barrier.sequences.push(sequence);
        }
    }

    /// Waits until all up to this sequence has come.
    pub(crate) async fn reach(&self, sequence: u64) {
        let mut applied = self.applied.subscribe();
        // The sender lives as long as this.
        let _ = applied.wait_for(|applied| *applied >= sequence).await;
    }

    /// Whether this handle's barrier came with another sequence than that with which the bucket's leader had acknowledged
    /// it, or did not come though what follows did: a node numbers the same messages alike, unless it has some that the
    /// leader has not, or the other way round.
    pub(crate) fn differs(&self, acknowledged: u64) -> bool {
        let sequences = &self.barrier.lock().sequences;
        let due = self.applied() >= acknowledged || !sequences.is_empty();
        due && !sequences.contains(&acknowledged)
    }

    /// How many messages came so far: while a bucket is read, they show that it goes on.
    pub(crate) fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    pub(crate) fn count_delivery(&self) {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
    }

    /// A publication was acknowledged with this sequence; when it was sent, the copy was complete up to `before`. Returns
    /// whether that can be: else the bucket was made anew or restored, and is read again.
    #[must_use]
    pub(crate) fn acknowledge(&self, sequence: u64, before: u64) -> bool {
        self.acknowledged.fetch_max(sequence, Ordering::Relaxed);
        let plausible = sequence > before;
        if !plausible {
            tracing::warn!(sequence, before, "the bucket was made anew or restored");
            self.doubt();
        }
        plausible
    }

    /// The bucket is not what was copied.
    pub(crate) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// The node where the bucket is followed differs from its leader, which acknowledged this sequence.
    pub(crate) fn doubt_node(&self, acknowledged: u64) {
        tracing::warn!(acknowledged, "the node where the bucket is followed differs from its leader");
        self.doubt();
    }

    /// Returns when an answer has shown that the bucket is not what was copied.
    pub(crate) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// This sequence was acknowledged just now. What was acknowledged before and lies beyond is not waited for: the bucket
    /// lost it.
    pub(crate) fn begin(&self, acknowledged: u64) {
        self.acknowledged.store(acknowledged, Ordering::Relaxed);
        self.copy.lock().senders.interrupted();
    }

    /// Whether something was acknowledged that comes after this sequence.
    pub(crate) fn owes(&self, sequence: u64) -> bool {
        self.acknowledged.load(Ordering::Relaxed) > sequence
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
        // Who waits for a message hears nothing more, and finds out by reading.
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
    pub(crate) fn apply(&self, key: Key, sequence: u64, message: Envelope) {
        let mut copy = self.copy.lock();
        let nonce = message.nonce;
        let accepted = copy.take(&key, sequence, message);
        if copy.senders.tell(nonce, Delivered { sequence, accepted }) && accepted {
            copy.written.insert(key.clone(), sequence);
        }
        copy.senders.passed(sequence);
        let record = copy.record(&key);
        drop(copy);
        let _nobody_watches = self.changes.send(WatchEvent::Changed { key, record: Some(record) });
    }

    /// Tells when the message with this nonce is delivered.
    pub(crate) fn expect(&self, nonce: u64) -> oneshot::Receiver<Delivered> {
        self.copy.lock().senders.expect(nonce)
    }

    /// The message with this nonce is not waited for any more.
    pub(crate) fn give_up(&self, nonce: u64) {
        self.copy.lock().senders.give_up(nonce);
    }

    /// The message with this nonce is stored with this sequence for certain.
    pub(crate) fn stored(&self, nonce: u64, sequence: u64) {
        self.copy.lock().senders.stored(nonce, sequence);
    }

    /// A marker: the deletions up to its cutoff are forgotten.
    pub(crate) fn mark(&self, sequence: u64, marker: Marker) {
        let mut copy = self.copy.lock();
        copy.marker = Some((sequence, marker));
        let forgotten =
            |entry: &Entry| entry.last <= marker.cutoff && entry.content == envelope::Content::Deleted;
        copy.entries.retain(|_, entry| !forgotten(entry));
    }

    pub(crate) fn get(&self, key: &Key) -> Record {
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
            records.push((key.clone(), copy.record(key)));
        }
        Ok(Page { records, more: present.next().is_some() })
    }

    /// What a write that expects this version replaces; `None` if that is not the record's version (any more).
    pub(crate) fn predecessor(&self, key: &Key, expected: Version) -> Option<Predecessor> {
        let copy = self.copy.lock();
        let (marker, floor) = copy.marker.map_or((0, 0), |(sequence, marker)| (sequence, marker.floor));
        match copy.entries.get(key) {
            Some(entry) if expected == version(entry.sequence) => {
                let Entry { last, sequence, .. } = *entry;
                Some(Predecessor { last, sequence, floor: entry.floor.max(floor) })
            }
            None if expected == unwritten(marker) => Some(Predecessor { last: 0, sequence: marker, floor }),
            Some(_) | None => None,
        }
    }

    /// The records that this handle had written before the last look, with the message that was the record then: all
    /// before it can be thrown away.
    pub(crate) fn replaced(&self) -> HashMap<Key, u64> {
        let mut copy = self.copy.lock();
        let written = std::mem::take(&mut copy.written);
        std::mem::replace(&mut copy.written_before, written)
    }

    /// Begins the collector's next round, and returns the deletions that came so many rounds ago or earlier.
    pub(crate) fn begin_round(&self, age: u64) -> Option<OldDeletions> {
        let mut copy = self.copy.lock();
        copy.round += 1;
        let mut cutoff = u64::MAX;
        for entry in copy.entries.values().filter(|entry| entry.round + age > copy.round) {
            cutoff = cutoff.min(entry.sequence.saturating_sub(1));
        }
        let mut old = OldDeletions {
            marker: Marker { cutoff: 0, floor: copy.marker.map_or(0, |(_, marker)| marker.floor) },
            previous: copy.marker.map_or(0, |(sequence, _)| sequence),
            deletions: Vec::new(),
        };
        for (key, entry) in copy.entries.iter().filter(|(_, entry)| entry.last <= cutoff) {
            if entry.content == envelope::Content::Deleted {
                old.marker.cutoff = old.marker.cutoff.max(entry.last);
                old.marker.floor = old.marker.floor.max(entry.floor);
                old.deletions.push((key.clone(), entry.last));
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
    /// Takes a message; returns whether it was accepted.
    ///
    /// Each message that is accepted names the one before it, so that the predecessors of the accepted ones grow. One
    /// that names an older one came too late: another had replaced that before. This holds for a copy that begins in the
    /// middle too, whatever its first message is.
    fn take(&mut self, key: &Key, sequence: u64, message: Envelope) -> bool {
        let known = self.entries.get_mut(key);
        if let Some(entry) = known {
            if sequence <= entry.last {
                return sequence == entry.sequence;
            }
            entry.last = sequence;
            if message.predecessor <= entry.predecessor {
                tracing::debug!(%key, sequence, "a write came after another that replaced the same message");
                return false;
            }
        }
        let Envelope { predecessor, floor, content, .. } = message;
        let entry = Entry { sequence, predecessor, last: sequence, floor, content, round: self.round };
        self.entries.insert(key.clone(), entry);
        true
    }

    fn record(&self, key: &Key) -> Record {
        let (marker, floor) = self.marker.map_or((0, 0), |(sequence, marker)| (sequence, marker.floor));
        let Some(entry) = self.entries.get(key) else {
            return Record { version: unwritten(marker), content: Content::Absent { floor } };
        };
        let content = match &entry.content {
            envelope::Content::Value(value) => Content::Present(value.clone()),
            envelope::Content::Deleted => Content::Absent { floor: floor.max(entry.floor) },
        };
        Record { version: version(entry.sequence), content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    #[test]
    fn a_node_that_numbers_a_barrier_otherwise_than_its_leader_differs() {
        let copy = SharedCopy::default();
        copy.expect_barrier(7);
        copy.barrier_came(6, 4);
        assert!(!copy.differs(5), "it may come yet");
        // Sent twice, as there was no answer at first.
        copy.barrier_came(7, 5);
        copy.barrier_came(7, 8);
        copy.caught_up(8);
        assert!(!copy.differs(5) && !copy.differs(8));
        copy.expect_barrier(9);
        copy.barrier_came(9, 11);
        assert!(copy.differs(10), "this node has one message more");
        assert!(copy.differs(12), "this node has one message less");
        copy.expect_barrier(13);
        copy.caught_up(14);
        assert!(copy.differs(13), "this node has not what its leader has");
    }

    fn message(nonce: u64, predecessor: u64) -> Envelope {
        Envelope { nonce, predecessor, floor: 0, content: envelope::Content::Value(Bytes::new()) }
    }

    proptest! {
        /// Writers that each name the record as it was some time ago, stored whatever they name, as the worst server
        /// would: exactly those count that name the one before, and a copy that begins anywhere in the middle agrees
        /// as soon as it has seen one that counts.
        #[test]
        fn all_copies_agree_on_the_chain(ages in proptest::collection::vec(0..4usize, 1..40), begin in 0..40usize) {
            let key = Key::new("r").unwrap();
            let (mut whole, mut late) = (Copy::default(), Copy::default());
            let mut chain = vec![0];
            let mut late_has_seen_one = false;
            for (index, age) in ages.into_iter().enumerate() {
                let sequence = index as u64 + 1;
                let named = chain[chain.len().saturating_sub(1 + age)];
                let counts = named == chain[chain.len() - 1];
                prop_assert_eq!(whole.take(&key, sequence, message(0, named)), counts);
                if counts {
                    chain.push(sequence);
                }
                if index >= begin {
                    late.take(&key, sequence, message(0, named));
                    late_has_seen_one |= counts;
                }
                if late_has_seen_one {
                    prop_assert_eq!(late.record(&key).version, whole.record(&key).version);
                }
            }
        }
    }
}
