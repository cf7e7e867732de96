//! Which key holds what.

use dlock_store::{Key, StoreError, Version};

/// How many keys remember the floors of absent records.
const BUCKETS: u64 = 1024;

/// Where dlock's keys are in etcd: records at `PREFIXr/KEY`, the buckets of absences at `PREFIXf/NUMBER`.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    records: Vec<u8>,
    buckets: Vec<u8>,
}

impl Layout {
    pub(crate) fn new(prefix: &str) -> Layout {
        Layout { records: format!("{prefix}r/").into_bytes(), buckets: format!("{prefix}f/").into_bytes() }
    }

    pub(crate) fn record(&self, key: &Key) -> Vec<u8> {
        [&self.records, key.as_str().as_bytes()].concat()
    }

    /// The bucket that remembers the key when it is absent. The same for all servers and for ever.
    pub(crate) fn bucket(&self, key: &Key) -> Vec<u8> {
        let number = key.stable_hash() % BUCKETS;
        [&self.buckets[..], number.to_string().as_bytes()].concat()
    }

    /// The range of the records whose key begins with `prefix` and comes after `after`.
    pub(crate) fn range(&self, prefix: &str, after: Option<&Key>) -> (Vec<u8>, Vec<u8>) {
        let first = [&self.records, prefix.as_bytes()].concat();
        let end = end_of_prefix(&first);
        match after {
            // The least key that is greater.
            Some(after) => (first.max([&self.record(after)[..], b"\0"].concat()), end),
            None => (first, end),
        }
    }

    pub(crate) fn key_of(&self, found: &[u8]) -> Result<Key, StoreError> {
        let text = found.strip_prefix(&self.records[..]).and_then(|text| std::str::from_utf8(text).ok());
        let invalid = || StoreError::Invalid { reason: format!("a foreign key: {}", found.escape_ascii()) };
        Key::new(text.ok_or_else(invalid)?).map_err(|_| invalid())
    }
}

/// The least text that is greater than all that begin with this.
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0] // etcd's word for no end
}

/// The version of a value that was written at a revision.
pub(crate) fn present(revision: i64) -> Version {
    Version(revision.unsigned_abs() * 2)
}

/// The version of an absence, by its bucket's revision; 0 for a bucket that was never written.
pub(crate) fn absent(revision: i64) -> Version {
    Version(revision.unsigned_abs() * 2 + 1)
}

/// The revision of a version.
pub(crate) fn revision(version: Version) -> i64 {
    i64::try_from(version.0 / 2).unwrap_or(i64::MAX)
}
