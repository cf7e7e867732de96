//! Conditional writes and their verdicts.

use crate::{Key, Record, Value, Version};
use smallvec::SmallVec;

/// The most guards of one write. A store may refuse more as [`StoreError::Invalid`](crate::StoreError::Invalid): etcd's
/// transactions have 128 operations by default.
pub const GUARDS_MAX: usize = 100;

/// A compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The record.
    pub key: Key,
    /// The version it must have, absent or present.
    pub expected: Version,
    /// What becomes of it.
    pub change: Change,
    /// Other records that must have these versions at the same instant, at most [`GUARDS_MAX`]; only where the store
    /// has [`Capabilities::guards`](crate::Capabilities::guards).
    pub guards: SmallVec<[Guard; 1]>,
}

/// What a write does to its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The record gets this value.
    Put(Value),
    /// The record becomes absent. Deleting what is absent is allowed and changes its version.
    Delete {
        /// What reads of the absent record return from now on, at least.
        floor: u64,
    },
}

/// A condition on another record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// The other record.
    pub key: Key,
    /// The version it must have.
    pub version: Version,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was applied.
    Committed {
        /// The record's new version; for a deletion, that of its absence.
        version: Version,
    },
    /// It was not applied: the record has another version.
    Conflict {
        /// The record as it stands, where the store says so with the refusal.
        current: Option<Record>,
    },
    /// It was not applied: a guarded record has another version. Takes precedence over a conflict, if both hold.
    GuardFailed {
        /// The first such guard's key.
        key: Key,
    },
}
