//! The holders' part of a resource's record, kept encoded: the record of a lock that thousands hold is written with each
//! change, and only one of them has changed.

use super::resource::RawHolder;
use crate::LockKey;
use crate::resource::Granted;
use prost::encoding::message;
use std::ops::Range;

/// The field of a resource's record whose entries the holders are.
const HOLDERS: u32 = 2;

/// Holders as they stand in a record, each found by its index.
#[derive(Clone, Debug, Default)]
pub(crate) struct EncodedHolders {
    bytes: Vec<u8>,
    /// Where each entry ends.
    ends: Vec<usize>,
}

impl EncodedHolders {
    /// All of them, as they stand in the record.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn push(&mut self, key: LockKey, granted: &Granted) {
        append(&mut self.bytes, key, granted);
        self.ends.push(self.bytes.len());
    }

    /// The holder with this index has changed.
    pub(crate) fn update(&mut self, index: usize, key: LockKey, granted: &Granted) {
        let mut entry = Vec::new();
        append(&mut entry, key, granted);
        self.replace(index, &entry);
    }

    /// Takes one away; the last one takes its index.
    pub(crate) fn swap_remove(&mut self, index: usize) {
        let last = self.ends.len() - 1;
        if index != last {
            let entry = self.bytes[self.range(last)].to_vec();
            self.replace(index, &entry);
        }
        self.bytes.truncate(self.range(last).start);
        self.ends.pop();
    }

    /// Costs as much as the entry is long if the other was as long, which it mostly was.
    fn replace(&mut self, index: usize, entry: &[u8]) {
        let Range { start, end } = self.range(index);
        if end - start == entry.len() {
            return self.bytes[start..end].copy_from_slice(entry);
        }
        self.bytes.splice(start..end, entry.iter().copied());
        for later in &mut self.ends[index..] {
            *later = *later - end + start + entry.len();
        }
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[index]
    }
}

fn append(bytes: &mut Vec<u8>, key: LockKey, granted: &Granted) {
    message::encode(HOLDERS, &RawHolder::of(key, granted), bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LockId, Mode, SessionId, Token};
    use proptest::prelude::*;

    /// Entries of many lengths.
    fn holder(seed: u64) -> (LockKey, Granted) {
        let key = LockKey { session: SessionId(u128::from(seed)), lock: LockId(seed >> (seed % 64)) };
        let token = Token::from_u64(seed >> (32 + seed % 32)).unwrap();
        (key, Granted::new(Mode::ConcurrentRead, Mode::ConcurrentRead, token, seed >> (seed % 50)))
    }

    fn bytes(holders: &[(LockKey, Granted)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        holders.iter().for_each(|(key, granted)| append(&mut bytes, *key, granted));
        bytes
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_would_be_encoded(steps in proptest::collection::vec((0..4u8, any::<u64>()), 1..60)) {
            let (mut kept, mut holders) = (EncodedHolders::default(), Vec::new());
            for (step, seed) in steps {
                let (key, granted) = holder(seed);
                let index = usize::try_from(seed).unwrap().checked_rem(holders.len());
                match (step, index) {
                    (0, Some(index)) => {
                        kept.swap_remove(index);
                        holders.swap_remove(index);
                    }
                    (1, Some(index)) => {
                        kept.update(index, key, &granted);
                        holders[index] = (key, granted);
                    }
                    _ => {
                        kept.push(key, &granted);
                        holders.push((key, granted));
                    }
                }
                prop_assert_eq!(kept.as_bytes(), bytes(&holders));
            }
        }
    }
}
