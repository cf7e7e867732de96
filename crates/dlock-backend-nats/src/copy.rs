//! The copy of the bucket that a handle keeps, by the messages that its consumer delivers.

use crate::envelope::{Barrier, Envelope, Marker};
use crate::records::{Former, OldDeletions, Records, Replaced};
use dlock_store::{Key, Page, Record, StoreError, Version, WatchEvent};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, broadcast, oneshot, watch};

/// How many changes a watch may be behind before it has to resynchronise.
const BEHIND_MAX: usize = 8192;

/// What becomes of a message that its sender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It has come back.
    Came {
        /// Where it is.
        sequence: u64,
        /// It is the record now, or was it until it was replaced.
        accepted: bool,
    },
    /// Messages were skipped, and it may be among them.
    Skipped,
}

#[derive(Default)]
struct Copy {
    records: Records,
    /// What has to come again while the bucket is read again.
    former: Former,
    /// Who waits for a message of its own, by nonce.
    senders: HashMap<u64, oneshot::Sender<Delivered>>,
}

/// A barrier, and the sequences with which it was delivered: several, if it was sent several times.
#[derive(Default)]
struct ExpectedBarrier {
    nonce: u64,
    sequences: Vec<u64>,
    /// Messages were skipped, and it may be among them.
    skipped: bool,
}

/// A copy that is read while it is brought up to date.
pub(crate) struct SharedCopy {
    copy: Mutex<Copy>,
    /// The sequence up to which it is complete; 0 while it is being rebuilt.
    applied: watch::Sender<u64>,
    /// The greatest sequence that was acknowledged: it has to come.
    acknowledged: AtomicU64,
    /// The greatest sequence with which a message came that was acknowledged with the same: up to there this copy is what
    /// the bucket's leader had.
    agreed: AtomicU64,
    /// How many messages came since the beginning.
    deliveries: AtomicU64,
    /// How often it was begun anew.
    readings: AtomicU64,
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
            agreed: AtomicU64::new(0),
            deliveries: AtomicU64::new(0),
            readings: AtomicU64::new(0),
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
pub(crate) fn unwritten(marker: u64) -> Version {
    Version(marker * 2 + 1)
}

impl SharedCopy {
    /// Notes the sequences with which this barrier is delivered, instead of the one before.
    pub(crate) fn expect_barrier(&self, barrier: Barrier) {
        *self.barrier.lock() = ExpectedBarrier { nonce: barrier.nonce, ..ExpectedBarrier::default() };
    }

    /// A barrier, as it was delivered.
    pub(crate) fn barrier_came(&self, came: Barrier, sequence: u64) {
        let mut barrier = self.barrier.lock();
        if barrier.nonce == came.nonce {
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
        let ExpectedBarrier { sequences, skipped, .. } = &*self.barrier.lock();
        let due = self.applied() >= acknowledged || !sequences.is_empty();
        due && !skipped && !sequences.contains(&acknowledged)
    }

    /// A message came with the sequence with which it was acknowledged.
    pub(crate) fn agree(&self, sequence: u64) {
        self.agreed.fetch_max(sequence, Ordering::Relaxed);
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

    /// Forgets everything, to read it again: the bucket is another one, or went back in time.
    pub(crate) fn clear(&self) {
        self.readings.fetch_add(1, Ordering::Release);
        let was_complete = self.applied.send_replace(0) > 0;
        let agreed = self.agreed.swap(0, Ordering::Relaxed);
        let mut copy = self.copy.lock();
        let fresh = copy.records.none_yet();
        let known = std::mem::replace(&mut copy.records, fresh);
        if was_complete {
            copy.former = Former::of(known, agreed);
        } else {
            copy.former.begin();
        }
        // Who waits for a message hears nothing more, and finds out by reading.
        copy.senders.clear();
    }

    /// Messages were skipped on the way here.
    pub(crate) fn skipped(&self) {
        self.barrier.lock().skipped = true;
        for (_, sender) in self.copy.lock().senders.drain() {
            let _sender_has_gone = sender.send(Delivered::Skipped);
        }
    }

    /// How often the bucket has been read from its beginning.
    pub(crate) fn readings(&self) -> u64 {
        self.readings.load(Ordering::Acquire)
    }

    /// The bucket has been read again, whole: those who watch may have missed changes, and records may be gone.
    pub(crate) fn read_again(&self) {
        let mut copy = self.copy.lock();
        let former = std::mem::take(&mut copy.former);
        let event = match former.missing(&copy.records) {
            Some(key) => {
                tracing::warn!(%key, "the bucket has lost what was acknowledged");
                WatchEvent::WentBack
            }
            None => WatchEvent::Resync,
        };
        drop(copy);
        let _nobody_watches = self.changes.send(event);
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
        copy.former.came(&key, nonce);
        let accepted = copy.records.take(&key, sequence, message);
        if let Some(sender) = copy.senders.remove(&nonce) {
            let _sender_has_gone = sender.send(Delivered::Came { sequence, accepted });
        }
        // While the bucket is read, what comes may be long past. After that all is read by those who watch.
        if self.applied() > 0 {
            let record = copy.records.record(&key);
            drop(copy);
            let _nobody_watches = self.changes.send(WatchEvent::Changed { key, record: Some(record) });
        }
    }

    /// Tells when the message with this nonce is delivered.
    pub(crate) fn expect(&self, nonce: u64) -> oneshot::Receiver<Delivered> {
        let (sender, delivered) = oneshot::channel();
        self.copy.lock().senders.insert(nonce, sender);
        delivered
    }

    /// The message with this nonce is not waited for any more.
    pub(crate) fn give_up(&self, nonce: u64) {
        self.copy.lock().senders.remove(&nonce);
    }

    /// A marker: the deletions up to its cutoff are forgotten.
    pub(crate) fn mark(&self, sequence: u64, marker: Marker) {
        let being_read = self.applied() == 0;
        self.copy.lock().records.mark(sequence, marker, being_read);
    }

    pub(crate) fn get(&self, key: &Key) -> Record {
        self.copy.lock().records.record(key)
    }

    pub(crate) fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let first = Key::new(prefix).map_err(|error| StoreError::Invalid { reason: error.to_string() })?;
        let from = match after.filter(|after| **after >= first) {
            Some(after) => Bound::Excluded(after.clone()),
            None => Bound::Included(first),
        };
        Ok(self.copy.lock().records.page(prefix, from, limit))
    }

    /// What a write that expects this version replaces; `None` if that is not the record's version (any more).
    pub(crate) fn replaced(&self, key: &Key, expected: Version) -> Option<Replaced> {
        self.copy.lock().records.replaced(key, expected)
    }

    /// Begins the collector's next round, and returns the deletions that came so many rounds ago or earlier.
    pub(crate) fn begin_round(&self, age: u64) -> OldDeletions {
        self.copy.lock().records.begin_round(age)
    }

    /// Whether this deletion, which was to be thrown away, is in the bucket still.
    pub(crate) fn thrown_away(&self, key: &Key, last: u64, done: bool) {
        let records = &mut self.copy.lock().records;
        if done { records.thrown_away(key) } else { records.left(key, last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_numbers_a_barrier_otherwise_than_its_leader_differs() {
        let copy = SharedCopy::default();
        let expect = |nonce| copy.expect_barrier(Barrier { nonce });
        let came = |nonce, sequence| copy.barrier_came(Barrier { nonce }, sequence);
        expect(7);
        came(6, 4);
        assert!(!copy.differs(5), "it may come yet");
        // Sent twice, as there was no answer at first.
        came(7, 5);
        came(7, 8);
        copy.caught_up(8);
        assert!(!copy.differs(5) && !copy.differs(8));
        expect(9);
        came(9, 11);
        assert!(copy.differs(10), "this node has one message more");
        assert!(copy.differs(12), "this node has one message less");
        expect(13);
        copy.caught_up(14);
        assert!(copy.differs(13), "this node has not what its leader has");
        copy.skipped();
        assert!(!copy.differs(13), "nobody knows");
    }
}
