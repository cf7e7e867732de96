//! The holders' part of a resource's record, kept encoded: the record of a lock that thousands hold is written with each
//! change, and only one of them has changed.

use super::resource::RawHolder;
use crate::LockKey;
use crate::resource::Granted;
use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::message;
use std::ops::Range;

/// The field of a resource's record whose entries the holders are.
const HOLDERS: u32 = 2;
/// So many entries stand together. What was written shares the pieces with what is written next; a change copies the one
/// that it is in. In Miri, which is slow, few do.
const PIECE: usize = if cfg!(miri) { 3 } else { 128 };

/// Holders as they stand in a record, each found by its index.
#[derive(Clone, Debug, Default)]
pub(crate) struct EncodedHolders {
    /// All but the last have [`PIECE`] entries, and none is empty.
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, Default)]
struct Piece {
    bytes: Bytes,
    /// Where each entry ends.
    ends: Vec<usize>,
}

impl EncodedHolders {
    /// All of them, as they stand in the record.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter().map(|piece| &piece.bytes)
    }

    pub(crate) fn push(&mut self, key: LockKey, granted: &Granted) {
        if self.pieces.last().is_none_or(|piece| piece.ends.len() == PIECE) {
            self.pieces.push(Piece::default());
        }
        let piece = self.pieces.last_mut().expect("one was just made, if there was none with room");
        piece.change(|bytes| append(bytes, key, granted));
        piece.ends.push(piece.bytes.len());
    }

    /// The holder with this index has changed.
    pub(crate) fn update(&mut self, index: usize, key: LockKey, granted: &Granted) {
        let mut entry = Vec::new();
        append(&mut entry, key, granted);
        self.pieces[index / PIECE].replace(index % PIECE, &entry);
    }

    /// Takes one away; the last one takes its index.
    pub(crate) fn swap_remove(&mut self, index: usize) {
        let Some(mut tail) = self.pieces.pop() else { return };
        let last = tail.range(tail.ends.len() - 1);
        match self.pieces.get_mut(index / PIECE) {
            Some(piece) => piece.replace(index % PIECE, &tail.bytes[last.clone()]),
            None if index % PIECE < tail.ends.len() - 1 => {
                let entry = tail.bytes[last].to_vec();
                tail.replace(index % PIECE, &entry);
            }
            None => {} // it is the last one itself
        }
        tail.ends.pop();
        if let Some(end) = tail.ends.last() {
            tail.bytes.truncate(*end);
            self.pieces.push(tail);
        }
    }
}

impl Piece {
    /// In place, unless a record that was written has it too.
    fn change(&mut self, change: impl FnOnce(&mut BytesMut)) {
        let bytes = std::mem::take(&mut self.bytes).try_into_mut();
        let mut bytes = bytes.unwrap_or_else(|shared| BytesMut::from(&*shared));
        change(&mut bytes);
        self.bytes = bytes.freeze();
    }

    /// Costs as much as the entry is long if the other was as long, which it mostly was.
    fn replace(&mut self, index: usize, entry: &[u8]) {
        let Range { start, end } = self.range(index);
        if end - start == entry.len() {
            return self.change(|bytes| bytes[start..end].copy_from_slice(entry));
        }
        self.change(|bytes| {
            let after = bytes.split_off(end);
            bytes.truncate(start);
            bytes.extend_from_slice(entry);
            bytes.extend_from_slice(&after);
        });
        for later in &mut self.ends[index..] {
            *later = *later - end + start + entry.len();
        }
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[index]
    }
}

fn append(bytes: &mut impl BufMut, key: LockKey, granted: &Granted) {
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
        fn what_is_kept_is_what_would_be_encoded(steps in proptest::collection::vec((0..5u8, any::<u64>()), 1..if cfg!(miri) { 30 } else { 1000 })) {
            let (mut kept, mut holders) = (EncodedHolders::default(), Vec::new());
            let (mut written, mut before) = (Vec::<Bytes>::new(), Vec::new());
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
                prop_assert_eq!(&written.concat(), &before, "a change shows in what was written before it");
                let now: Vec<Bytes> = kept.pieces().cloned().collect();
                prop_assert_eq!(now.concat(), bytes(&holders));
                prop_assert_eq!(now.len(), holders.len().div_ceil(PIECE));
                if seed % 2 == 0 {
                    (written, before) = (now, bytes(&holders));
                }
            }
        }
    }
}
