//! What can go wrong between dlock and a store.

/// Why a call of the store has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store can't be reached or can't serve. Nothing was written and nothing will be.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What was seen, for people.
        reason: String,
    },
    /// The write may have been applied, or may yet be: read before deciding anything.
    #[error("the outcome of a write is not known: {reason}")]
    Ambiguous {
        /// What was seen, for people.
        reason: String,
    },
    /// The store has no room. Nothing was written.
    #[error("the store is full: {reason}")]
    Full {
        /// What was seen, and the way out, for people.
        reason: String,
    },
    /// The call breaks the contract, or the store's data does: a defect, not a condition that passes.
    #[error("the store refused a call as invalid: {reason}")]
    Invalid {
        /// What was wrong.
        reason: String,
    },
}

impl StoreError {
    /// Whether the write may have taken effect all the same.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, StoreError::Ambiguous { .. })
    }
}
