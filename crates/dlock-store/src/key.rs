//! Keys of records.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1536;

/// The key is longer than [`KEY_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a store key has {length} bytes, and the limit is {KEY_BYTES_MAX}")]
pub struct KeyTooLong {
    /// Its length in bytes.
    pub length: usize,
}

/// A record's key: UTF-8 of 1 to [`KEY_BYTES_MAX`] bytes, of any characters but control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks the length.
    pub fn new(text: &str) -> Result<Key, KeyTooLong> {
        Key::shared(text.into())
    }

    /// Checks the length of a text that is shared: the key is another handle to it.
    pub fn shared(text: Arc<str>) -> Result<Key, KeyTooLong> {
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyTooLong { length: text.len() });
        }
        Ok(Key(text))
    }

    /// The text, to be shared.
    pub fn text(&self) -> &Arc<str> {
        &self.0
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same hash for the same key in every process and release (FNV-1a, 64 bits): what divides keys into buckets.
    pub fn stable_hash(&self) -> u64 {
        self.0.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}
