//! Records as they are stored: one byte of format version, then a Protocol Buffers message.
//!
//! Every release reads what every earlier one wrote: a new field has a new number and raises the format version,
//! numbers are never used again, and an absent field has its zero. A record of a greater format version is refused,
//! not guessed at: a server that would drop what it doesn't know must not write it back.
//!
//! What is read is checked as strictly as what is written: a record that no dlock could have written is an error, not
//! a state. In the notation of Protocol Buffers:
//!
//! ```text
//! message Resource {
//!   uint64 last_token = 1;
//!   repeated Holder holders = 2;
//!   repeated Conversion conversions = 3;  // in the order of service
//!   repeated Waiter waiters = 4;          // in the order of service
//!   bytes value = 5;
//!   bool value_stale = 6;
//!   Master master = 7;                    // since format 2
//! }
//! message Master {                        // what it grants and releases meanwhile does not stand here
//!   bytes member = 1;
//!   bool recalled = 2;
//!   Resource claims = 3;                  // what it becomes if the master dies
//!   uint64 mark = 4;                      // the version over which the master wrote it
//! }
//! message Holder {
//!   fixed64 session_high = 1; fixed64 session_low = 2; uint64 lock = 3;
//!   uint32 mode = 4;                      // 0 NL, 1 CR, 2 CW, 3 PR, 4 PW, 5 EX
//!   uint32 asked = 5;                     // the mode it was acquired in
//!   uint64 token = 6; uint64 since_unix_ms = 7;
//!   repeated Alias aliases = 8;           // re-entrant acquires, oldest first
//! }
//! message Alias { uint64 lock = 1; uint32 asked = 2; }
//! message Conversion {                    // under the key of the acquire that asked for it
//!   fixed64 session_high = 1; fixed64 session_low = 2; uint64 lock = 3; uint32 to = 4;
//! }
//! message Waiter {
//!   fixed64 session_high = 1; fixed64 session_low = 2; uint64 lock = 3;
//!   uint32 mode = 4; uint64 since_unix_ms = 5;
//! }
//! message Session {
//!   bytes owner = 1; uint64 epoch = 2; uint64 ttl_ms = 3; uint64 lock_delay_ms = 4; string principal = 5;
//!   bytes secret_hash = 6; uint32 state = 7;  // 0 active, 1 expired, 2 closed, 3 revoked
//!   string client_name = 8; string client_host = 9; uint32 client_pid = 10; string client_version = 11;
//!   uint64 opened_unix_ms = 12; uint64 attempt = 13;
//!   bool mastered = 14;                   // its home may hold locks for it of which no record tells
//! }
//! message Moving { repeated bytes former = 1; uint64 settled = 2; }  // a session's homes whose locks have yet to be claimed
//! message Member { uint64 counter = 1; string address = 2; uint64 started_unix_ms = 3; string version = 4; }
//! message Store { bytes store_id = 1; uint32 generation = 2; }
//! ```

mod holders;
mod plain;
mod resource;
mod session;

pub(crate) use holders::EncodedHolders;
pub use plain::{MemberRecord, MovingRecord, StoreRecord};

use bytes::Bytes;
use prost::Message;
use smallvec::SmallVec;

/// The newest format that this release reads. It writes it only for what the one before could not say: a resource that a
/// server masters.
pub const FORMAT_VERSION: u8 = 2;
/// The format of all else.
const PLAIN_FORMAT: u8 = 1;

/// Why a record can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a byte.
    #[error("the record is empty")]
    Empty,
    /// Written in a format that this release doesn't know.
    #[error(
        "the record was written by a newer dlock (format {found}, this one knows up to {FORMAT_VERSION}): upgrade this server"
    )]
    Newer {
        /// The record's format version.
        found: u8,
    },
    /// Not what dlock writes.
    #[error("the record is corrupt: {what}")]
    Corrupt {
        /// What is wrong.
        what: String,
    },
}

impl RecordError {
    fn corrupt(what: impl Into<String>) -> RecordError {
        RecordError::Corrupt { what: what.into() }
    }
}

/// An encoded record: mostly in one piece; a long one in several, which it shares with the one before it as far as they are the
/// same. Together they are the record.
pub type Pieces = SmallVec<[Bytes; 1]>;

/// Whether a resource's record may say that a server masters it, at a glance.
pub fn is_mastered(record: &[u8]) -> bool {
    record.first().is_some_and(|format| *format > PLAIN_FORMAT)
}

fn encode(message: &impl Message) -> Bytes {
    encode_around(PLAIN_FORMAT, message, &[], &())
}

/// Encodes a message of which some is encoded already: what stands before that, and what stands after it.
fn encode_around(format: u8, before: &impl Message, encoded: &[u8], after: &impl Message) -> Bytes {
    let mut bytes = Vec::with_capacity(1 + before.encoded_len() + encoded.len() + after.encoded_len());
    bytes.push(format);
    before.encode_raw(&mut bytes);
    bytes.extend_from_slice(encoded);
    after.encode_raw(&mut bytes);
    bytes.into()
}

/// The same, leaving what is encoded in its pieces.
fn encode_beside<'a>(
    format: u8,
    before: &impl Message,
    encoded: impl Iterator<Item = &'a Bytes>,
    after: &impl Message,
) -> Pieces {
    let mut pieces = Pieces::from_buf([encode_around(format, before, &[], &())]);
    pieces.extend(encoded.cloned());
    pieces.push(after.encode_to_vec().into());
    pieces
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, RecordError> {
    decode_up_to(PLAIN_FORMAT, bytes)
}

/// Reads a record of a format up to this one.
fn decode_up_to<M: Message + Default>(newest: u8, bytes: &[u8]) -> Result<M, RecordError> {
    match bytes.split_first() {
        None => Err(RecordError::Empty),
        Some((0, _)) => Err(RecordError::corrupt("format 0 was never written")),
        Some((found, _)) if *found > newest => Err(RecordError::Newer { found: *found }),
        Some((_, body)) => M::decode(body).map_err(|error| RecordError::corrupt(error.to_string())),
    }
}

fn decode_u128(bytes: &[u8], what: &str) -> Result<u128, RecordError> {
    let array =
        <[u8; 16]>::try_from(bytes).map_err(|_| RecordError::corrupt(format!("{what} is not 16 bytes")))?;
    Ok(u128::from_be_bytes(array))
}
