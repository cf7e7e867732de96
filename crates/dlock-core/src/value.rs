//! The value block: a little data that travels with a resource's grants.

use bytes::Bytes;

/// The longest value block, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024;

/// The value block is longer than [`VALUE_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the value block has {length} bytes, and the limit is {VALUE_BYTES_MAX}: keep a reference there, and the data elsewhere"
)]
pub struct ValueTooLong {
    /// Its length in bytes.
    pub length: usize,
}

/// At most 1 KiB that a PW or EX holder leaves for those who come after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ValueBlock(Bytes);

impl ValueBlock {
    /// Checks the length.
    pub fn new(bytes: impl Into<Bytes>) -> Result<ValueBlock, ValueTooLong> {
        let bytes = bytes.into();
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(ValueTooLong { length: bytes.len() });
        }
        Ok(ValueBlock(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The bytes, taken out.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Whether there is no byte: a resource whose value is empty can be collected when nobody uses it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A value block as a grant returns it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ValueRead {
    /// The last bytes written, empty if none ever were.
    pub block: ValueBlock,
    /// False when a PW or EX holder died, or said so, since the last write: the bytes may be out of date.
    pub valid: bool,
}
