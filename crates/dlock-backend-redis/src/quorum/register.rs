//! What a register holds, and what acceptors are asked and answer: plain data, and how it is written as bytes.

use super::ballot::{BALLOT_BYTES, Ballot, Epoch, NUMBER_BYTES};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use dlock_store::{Content, Record, Version};
use smallvec::SmallVec;

/// Which write it was: the store's handle, and the number of its write. It stays with the state whoever carries the state
/// on, so that a writer recognizes its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tag {
    pub(super) handle: u64,
    pub(super) number: u64,
}

/// How many of its last writes a state names: a writer that was not sure, and looks again before as many others have
/// written, learns what became of its own.
pub(super) const WRITES_MAX: usize = 4;

/// What a register holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// Counts the changes.
    pub(super) version: u64,
    /// The greatest that a deletion carried.
    pub(super) floor: u64,
    /// The last writes, newest first, each with the version that it gave.
    pub(super) writes: SmallVec<[(u64, Tag); WRITES_MAX]>,
    /// None: a tombstone.
    pub(super) value: Option<Bytes>,
    /// Whether the node has it from another, and was not asked to accept it: then it knows of it, but has not voted for
    /// it. In an earlier life it may have promised not to.
    pub(super) copied: bool,
}

/// The bytes of a state before its writes: version, floor, kind, number of writes.
const HEAD_BYTES: usize = 2 * NUMBER_BYTES + 2;
const WRITE_BYTES: usize = 3 * NUMBER_BYTES;
/// The bit of the kind that says that it is a copy.
const COPIED: u8 = 2;

impl State {
    /// As a record of the store.
    pub(super) fn record(&self) -> Record {
        let content = match &self.value {
            Some(value) => Content::Present(value.clone()),
            None => Content::Absent { floor: self.floor },
        };
        Record { version: Version(self.version), content }
    }

    /// The version that the write gave, if it is one of the last.
    pub(super) fn version_of(&self, tag: Tag) -> Option<u64> {
        self.writes.iter().find(|(_, other)| *other == tag).map(|(version, _)| *version)
    }

    /// The same with one more write.
    pub(super) fn writes_with(&self, version: u64, tag: Tag) -> SmallVec<[(u64, Tag); WRITES_MAX]> {
        let earlier = self.writes.iter().copied();
        std::iter::once((version, tag)).chain(earlier).take(WRITES_MAX).collect()
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        let value = self.value.as_deref().unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES + self.writes.len() * WRITE_BYTES + value.len());
        bytes.put_u64(self.version);
        bytes.put_u64(self.floor);
        bytes.put_u8(u8::from(self.value.is_some()) | if self.copied { COPIED } else { 0 });
        bytes.put_u8(self.writes.len() as u8);
        for (version, tag) in &self.writes {
            bytes.put_u64(*version);
            bytes.put_u64(tag.handle);
            bytes.put_u64(tag.number);
        }
        bytes.put_slice(value);
        bytes.freeze()
    }

    pub(super) fn from_bytes(mut bytes: Bytes) -> Option<State> {
        if bytes.len() < HEAD_BYTES {
            return None;
        }
        let (version, floor, kind, count) =
            (bytes.get_u64(), bytes.get_u64(), bytes.get_u8(), bytes.get_u8());
        if bytes.len() < usize::from(count) * WRITE_BYTES {
            return None;
        }
        let mut write = || (bytes.get_u64(), Tag { handle: bytes.get_u64(), number: bytes.get_u64() });
        let writes = (0..count).map(|_| write()).collect();
        let value = match kind & !COPIED {
            0 => None,
            1 => Some(bytes),
            _ => return None,
        };
        Some(State { version, floor, writes, value, copied: kind & COPIED != 0 })
    }
}

/// What is left of all registers of a bucket that were collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Floors {
    /// The greatest version of their tombstones.
    pub(super) version: u64,
    /// The greatest floor of their tombstones.
    pub(super) floor: u64,
    /// The greatest round of their ballots: a register that is not there takes part in later ones only, so that a
    /// message from before the collection can't bring back what was deleted.
    pub(super) round: u64,
}

impl Floors {
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Floors> {
        let Ballot { epoch: Epoch(version), round: floor, proposer: round } = Ballot::from_bytes(bytes)?;
        Some(Floors { version, floor, round })
    }
}

/// What an acceptor has for a register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    /// It takes part in no lesser ballot.
    pub(super) promised: Ballot,
    /// What it has accepted last, and in which ballot.
    pub(super) accepted: Option<(Ballot, State)>,
}

impl Row {
    pub(super) fn from_bytes(bytes: Bytes) -> Option<Row> {
        let promised = Ballot::from_bytes(bytes.get(..BALLOT_BYTES)?)?;
        Some(Row { promised, accepted: accepted_from_bytes(bytes.slice(BALLOT_BYTES..))? })
    }
}

/// The second part of a row: the ballot that was accepted, or zero, and the state.
pub(super) fn accepted_from_bytes(bytes: Bytes) -> Option<Option<(Ballot, State)>> {
    let ballot = Ballot::from_bytes(bytes.get(..BALLOT_BYTES)?)?;
    if ballot == Ballot::ZERO {
        return Some(None);
    }
    Some(Some((ballot, State::from_bytes(bytes.slice(BALLOT_BYTES..))?)))
}

/// What an acceptor is asked about a register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Op {
    /// What it has. Changes nothing.
    Read,
    /// To take part in no lesser ballot, and say what it has accepted.
    Prepare { ballot: Ballot },
    /// To accept a state, and to promise another ballot in the same breath: the proposer's next.
    Accept { ballot: Ballot, next: Ballot, state: State },
    /// To raise its floors to a tombstone that it has accepted in this ballot.
    Retire { ballot: Ballot },
    /// To forget a register whose tombstone it has accepted in this ballot, if nobody has asked for a later one.
    Remove { ballot: Ballot },
}

/// What an acceptor answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    /// To a read.
    Found { row: Option<Row>, floors: Floors },
    /// To a preparation: what it has accepted.
    Promised { accepted: Option<(Ballot, State)>, floors: Floors },
    /// To everything else: it is done.
    Done,
    /// It has promised a later round than that of the ballot, and has done nothing.
    Refused { round: u64 },
    /// It is in another epoch than the ballot, and has done nothing.
    OtherEpoch(Epoch),
    /// No answer.
    Failed {
        /// Whether it may have done, or may yet do, what it was asked.
        unknown: bool,
    },
}

#[cfg(test)]
pub(super) mod model;
