//! The records, by the messages that were delivered.

use crate::copy::{unwritten, version};
use crate::envelope::{self, Envelope, Marker, Predecessor};
use dlock_store::{Content, Key, Page, Record, Version};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// A record's message, and what is known of those before it.
#[derive(Clone, Debug)]
struct Entry {
    /// Of the message that is the record.
    sequence: u64,
    nonce: u64,
    predecessor: Predecessor,
    /// Of the subject's last message, which may be one that was not accepted.
    last: u64,
    floor: u64,
    content: envelope::Content,
    /// In which of the collector's rounds it came.
    round: u64,
    /// The first message that was delivered of the subject.
    first: First,
}

#[derive(Clone, Copy, Debug)]
struct First {
    sequence: u64,
    /// It replaced an absence without a message.
    of_absence: bool,
}

/// What a publication has to expect of its subject, and to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    /// The subject's last sequence; 0 for no message.
    pub(crate) last: u64,
    /// What is replaced.
    pub(crate) predecessor: Predecessor,
    /// The greatest floor so far.
    pub(crate) floor: u64,
}

/// All records of a bucket, as far as its messages have been delivered.
#[derive(Default)]
pub(crate) struct Records {
    entries: BTreeMap<Key, Entry>,
    /// The newest marker, and its sequence; absences without a message have it as their version.
    marker: Option<(u64, Marker)>,
    /// Deletions, by their sequences, that a marker has forgotten, and that are in the bucket all the same: whoever wanted
    /// to throw them away was stopped.
    leftovers: HashMap<Key, u64>,
    round: u64,
}

/// Deletions that may be thrown away.
pub(crate) struct OldDeletions {
    /// Which, with their sequences.
    pub(crate) deletions: Vec<(Key, u64)>,
    /// The marker that has to be there before, and the sequence of the one that it replaces; none if there is one already.
    pub(crate) marker: Option<(Marker, u64)>,
}

impl Records {
    /// None, in the same of the collector's rounds.
    pub(crate) fn none_yet(&self) -> Records {
        Records { round: self.round, ..Records::default() }
    }

    /// Takes a message; returns whether it was accepted.
    ///
    /// Each message that is accepted names the one before it. One that does not came too late: another had replaced that
    /// before. Where messages between were skipped it is enough that the predecessors of the accepted ones grow; this holds
    /// for a copy that begins in the middle too, whatever its first message is.
    pub(crate) fn take(&mut self, key: &Key, sequence: u64, message: Envelope) -> bool {
        let Envelope { nonce, predecessor, floor, content } = message;
        let mut first = First { sequence, of_absence: predecessor.nonce == 0 };
        if let Some(entry) = self.entries.get_mut(key) {
            if sequence <= entry.last {
                return sequence == entry.sequence;
            }
            entry.last = sequence;
            // A bucket that has lost messages numbers those after them anew, and what names their former sequences need
            // not grow.
            let next = predecessor.nonce == entry.nonce;
            if !next && predecessor.sequence <= entry.predecessor.sequence {
                tracing::debug!(%key, sequence, "a write came after another that replaced the same message");
                return false;
            }
            first = entry.first;
        }
        self.leftovers.remove(key);
        let entry =
            Entry { sequence, nonce, predecessor, last: sequence, floor, content, round: self.round, first };
        self.entries.insert(key.clone(), entry);
        true
    }

    /// A marker: the deletions up to its cutoff are forgotten. Those that come while the bucket is being read are still in it.
    pub(crate) fn mark(&mut self, sequence: u64, marker: Marker, being_read: bool) {
        self.marker = Some((sequence, marker));
        self.entries.retain(|key, entry| {
            let forgotten = entry.last <= marker.cutoff && entry.content == envelope::Content::Deleted;
            if forgotten && being_read {
                self.leftovers.insert(key.clone(), entry.last);
            }
            !forgotten
        });
    }

    pub(crate) fn record(&self, key: &Key) -> Record {
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

    /// The present records from `from` on that begin with the prefix.
    pub(crate) fn page(&self, prefix: &str, from: Bound<Key>, limit: usize) -> Page {
        let mut present = self
            .entries
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .filter(|(_, entry)| entry.content != envelope::Content::Deleted);
        let mut records = Vec::new();
        for (key, _) in present.by_ref().take(limit) {
            records.push((key.clone(), self.record(key)));
        }
        Page { records, more: present.next().is_some() }
    }

    /// What a write that expects this version replaces; `None` if that is not the record's version (any more).
    pub(crate) fn replaced(&self, key: &Key, expected: Version) -> Option<Replaced> {
        let (marker, floor) = self.marker.map_or((0, 0), |(sequence, marker)| (sequence, marker.floor));
        match self.entries.get(key) {
            Some(entry) if expected == version(entry.sequence) => {
                let predecessor = Predecessor { sequence: entry.sequence, nonce: entry.nonce };
                Some(Replaced { last: entry.last, predecessor, floor: entry.floor.max(floor) })
            }
            None if expected == unwritten(marker) => {
                let predecessor = Predecessor { sequence: marker, nonce: 0 };
                let last = self.leftovers.get(key).copied().unwrap_or_default();
                Some(Replaced { last, predecessor, floor })
            }
            Some(_) | None => None,
        }
    }

    /// Begins the collector's next round, and returns the deletions that came so many rounds ago or earlier.
    pub(crate) fn begin_round(&mut self, age: u64) -> OldDeletions {
        self.round += 1;
        let mut cutoff = u64::MAX;
        for entry in self.entries.values().filter(|entry| entry.round + age > self.round) {
            cutoff = cutoff.min(entry.sequence.saturating_sub(1));
        }
        let (previous, floor) = self.marker.map_or((0, 0), |(sequence, marker)| (sequence, marker.floor));
        let mut marker = Marker { cutoff: 0, floor };
        let mut deletions: Vec<_> = self.leftovers.iter().map(|(key, last)| (key.clone(), *last)).collect();
        for (key, entry) in self.entries.iter().filter(|(_, entry)| entry.last <= cutoff) {
            if entry.content == envelope::Content::Deleted {
                marker.cutoff = marker.cutoff.max(entry.last);
                marker.floor = marker.floor.max(entry.floor);
                deletions.push((key.clone(), entry.last));
            }
        }
        OldDeletions { deletions, marker: (marker.cutoff > 0).then_some((marker, previous)) }
    }

    /// This deletion is still in the bucket, though it was to be thrown away.
    pub(crate) fn left(&mut self, key: &Key, last: u64) {
        if !self.entries.contains_key(key) {
            self.leftovers.insert(key.clone(), last);
        }
    }

    /// This deletion is not in the bucket any more.
    pub(crate) fn thrown_away(&mut self, key: &Key) {
        self.leftovers.remove(key);
    }
}

/// Records as they were before the bucket was read again. Each has to come again, or what has replaced it.
#[derive(Default)]
pub(crate) struct Former(HashMap<Key, FormerEntry>);

struct FormerEntry {
    sequence: u64,
    nonce: u64,
    came: bool,
}

impl Former {
    /// Those up to this sequence.
    pub(crate) fn of(records: Records, up_to: u64) -> Former {
        let certain = records.entries.into_iter().filter(|(_, entry)| entry.sequence <= up_to);
        let former = certain.map(|(key, entry)| {
            (key, FormerEntry { sequence: entry.sequence, nonce: entry.nonce, came: false })
        });
        Former(former.collect())
    }

    /// The bucket is read from its beginning once more.
    pub(crate) fn begin(&mut self) {
        self.0.values_mut().for_each(|former| former.came = false);
    }

    pub(crate) fn came(&mut self, key: &Key, nonce: u64) {
        if let Some(former) = self.0.get_mut(key)
            && former.nonce == nonce
        {
            former.came = true;
        }
    }

    /// A record that is not among these, nor what could have replaced it.
    pub(crate) fn missing(&self, now: &Records) -> Option<&Key> {
        let cutoff = now.marker.map_or(0, |(_, marker)| marker.cutoff);
        let replaced_since = |key: &Key, former: &FormerEntry| {
            let deleted_and_forgotten = former.sequence <= cutoff;
            let not_kept = now
                .entries
                .get(key)
                .is_some_and(|entry| entry.first.sequence > former.sequence && !entry.first.of_absence);
            deleted_and_forgotten || not_kept
        };
        let missing = self.0.iter().find(|(key, former)| !former.came && !replaced_since(key, former));
        missing.map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn key() -> Key {
        Key::new("r").unwrap()
    }

    /// Replaces the message of the sequence, whose nonce is the same number.
    fn message(nonce: u64, replaced: u64) -> Envelope {
        let predecessor = Predecessor { sequence: replaced, nonce: replaced };
        Envelope { nonce, predecessor, floor: 0, content: envelope::Content::Value(Bytes::new()) }
    }

    fn records(messages: &[(u64, Envelope)]) -> Records {
        let mut records = Records::default();
        for (sequence, message) in messages {
            assert!(records.take(&key(), *sequence, message.clone()));
        }
        records
    }

    proptest! {
        /// Writers that each name the record as it was some time ago, stored whatever they name, as the worst server
        /// would: exactly those count that name the one before, and a copy that begins anywhere in the middle agrees
        /// as soon as it has seen one that counts.
        #[test]
        fn all_copies_agree_on_the_chain(ages in proptest::collection::vec(0..4usize, 1..40), begin in 0..40usize) {
            let (mut whole, mut late) = (Records::default(), Records::default());
            let mut chain = vec![0];
            let mut late_has_seen_one = false;
            for (index, age) in ages.into_iter().enumerate() {
                let sequence = index as u64 + 1;
                let named = chain[chain.len().saturating_sub(1 + age)];
                let counts = named == chain[chain.len() - 1];
                prop_assert_eq!(whole.take(&key(), sequence, message(sequence, named)), counts);
                if counts {
                    chain.push(sequence);
                }
                if index >= begin {
                    late.take(&key(), sequence, message(sequence, named));
                    late_has_seen_one |= counts;
                }
                if late_has_seen_one {
                    prop_assert_eq!(late.record(&key()).version, whole.record(&key()).version);
                }
            }
        }
    }

    #[test]
    fn what_a_bucket_numbers_anew_after_a_loss_can_be_replaced() {
        // The second was 8 when it named 7, and is 7 since another subject's message is lost.
        let mut records = records(&[(6, message(7, 3)), (7, Envelope { nonce: 8, ..message(8, 7) })]);
        let next = Predecessor { sequence: 7, nonce: 8 };
        assert!(records.take(&key(), 8, Envelope { predecessor: next, ..message(9, 0) }));
        assert!(!records.take(&key(), 9, Envelope { predecessor: next, ..message(10, 0) }), "too late");
    }

    fn missing(before: Records, now: &[(u64, Envelope)], marker: Option<Marker>) -> bool {
        let mut former = Former::of(before, 10);
        let mut read = Records::default();
        for (sequence, message) in now {
            former.came(&key(), message.nonce);
            read.take(&key(), *sequence, message.clone());
        }
        if let Some(marker) = marker {
            read.mark(20, marker, true);
        }
        former.missing(&read).is_some()
    }

    #[test]
    fn a_record_that_is_not_there_when_the_bucket_is_read_again_is_missed() {
        let (first, second, third) = (message(5, 0), message(6, 5), message(9, 6));
        let before = || records(&[(5, first.clone()), (6, second.clone())]);
        assert!(missing(before(), &[], None), "all is gone");
        assert!(missing(before(), &[(5, first.clone())], None), "the last is gone");
        let other = message(12, 5);
        assert!(missing(before(), &[(5, first.clone()), (12, other)], None), "another has its place");
        assert!(missing(before(), &[(12, message(12, 0))], None), "made anew as if it had never been there");
        assert!(!missing(before(), &[(6, second.clone())], None));
        assert!(!missing(before(), &[(5, first.clone()), (7, second.clone())], None), "numbered anew");
        assert!(!missing(before(), &[(9, third)], None), "replaced, and not kept");
        let marker = Marker { cutoff: 8, floor: 0 };
        assert!(!missing(before(), &[(12, message(12, 0))], Some(marker)), "deleted, and forgotten");
        let uncertain = records(&[(11, message(5, 0))]);
        assert!(!missing(uncertain, &[], None), "nobody has said that it was there");
    }

    #[test]
    fn a_deletion_that_was_forgotten_and_not_thrown_away_is_what_a_write_finds() {
        let deletion = Envelope { content: envelope::Content::Deleted, floor: 3, ..message(5, 0) };
        for (being_read, last) in [(true, 5), (false, 0)] {
            let mut records = records(&[(5, deletion.clone())]);
            records.mark(6, Marker { cutoff: 5, floor: 3 }, being_read);
            assert_eq!(records.record(&key()).content, Content::Absent { floor: 3 });
            let replaced = records.replaced(&key(), unwritten(6)).unwrap();
            assert_eq!((replaced.last, replaced.predecessor.nonce), (last, 0));
            records.left(&key(), 5);
            assert_eq!(records.begin_round(0).deletions, [(key(), 5)]);
            assert!(records.take(&key(), 7, Envelope { predecessor: replaced.predecessor, ..message(7, 0) }));
            assert_eq!(records.begin_round(0).deletions, []);
        }
    }
}
