//! From NATS's errors to the contract's.

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use dlock_store::{StoreError, Verdict};

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is no good.
    #[error("jetstream.{field} = {value:?}: {way_out}")]
    Setting {
        /// Which.
        field: &'static str,
        /// As it was given.
        value: String,
        /// What is wrong, and what would be right.
        way_out: String,
    },
    /// No server answers.
    #[error(
        "NATS does not answer at {endpoints}: {why}; is it running there with JetStream, and is the address right?"
    )]
    Unreachable {
        /// Which were tried.
        endpoints: String,
        /// What was seen.
        why: String,
    },
    /// The bucket can't be made, or is not as it must be.
    #[error("the bucket {bucket} can't be used: {why}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// What is wrong, and the way out.
        why: String,
    },
}

/// What became of a publication that was not acknowledged.
pub(crate) fn refusal(error: &PublishError) -> Result<Verdict, StoreError> {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => Ok(Verdict::Conflict { current: None }),
        _ => Err(of_publication(error)),
    }
}

pub(crate) fn of_publication(error: &PublishError) -> StoreError {
    let reason = error.to_string();
    match error.kind() {
        // Nobody listens on the subject: nothing was stored.
        PublishErrorKind::StreamNotFound => StoreError::Unavailable { reason },
        PublishErrorKind::MaxAckPending => StoreError::Unavailable { reason },
        PublishErrorKind::MaxPayloadExceeded => {
            StoreError::Full { reason: format!("{reason}; raise NATS's max_payload") }
        }
        PublishErrorKind::Other if is_full(&reason) => StoreError::Full {
            reason: format!("{reason}; raise the limits of the account, the server or the stream"),
        },
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::Other => StoreError::Ambiguous { reason },
    }
}

fn is_full(reason: &str) -> bool {
    ["maximum bytes exceeded", "insufficient resources", "insufficient storage", "resource limits exceeded"]
        .iter()
        .any(|word| reason.contains(word))
}
