//! Which key holds what.

use dlock_store::{Key, StoreError, Version};

/// How many keys remember the floors of absent records.
const BUCKETS: u64 = 1024;

/// Where dlock's keys are in etcd: records at `PREFIXr/KEY`, the buckets of absences at `PREFIXf/NUMBER`.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    prefix: Vec<u8>,
    records: Vec<u8>,
    buckets: Vec<u8>,
}

impl Layout {
    pub(crate) fn new(prefix: &str) -> Layout {
        let under = |name: &str| format!("{prefix}{name}/").into_bytes();
        Layout { prefix: prefix.as_bytes().to_vec(), records: under("r"), buckets: under("f") }
    }

    /// A key that is never written.
    pub(crate) fn quota(&self) -> Vec<u8> {
        [&self.prefix[..], b"quota"].concat()
    }

    /// All keys of etcd that do not begin with the prefix, as ranges.
    pub(crate) fn foreign_ranges(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (least, no_end) = (vec![0], vec![0]);
        if self.prefix.is_empty() {
            return Vec::new();
        }
        let mut ranges = vec![(least, self.prefix.clone())];
        let end = end_of_prefix(&self.prefix);
        if end != no_end {
            ranges.push((end, no_end));
        }
        ranges
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        assert_eq!(end_of_prefix(b"dlock/"), b"dlock0");
        assert_eq!(end_of_prefix(b"a\xff\xff"), b"b");
        assert_eq!(end_of_prefix(b"\xff"), b"\0");
    }

    #[test]
    fn a_page_begins_after_the_last_key_of_the_former_one() {
        let layout = Layout::new("dlock/");
        let key = |text| Key::new(text).unwrap();
        assert_eq!(layout.range("a", None), (b"dlock/r/a".to_vec(), b"dlock/r/b".to_vec()));
        assert_eq!(layout.range("a", Some(&key("ab"))).0, b"dlock/r/ab\0");
        assert_eq!(layout.range("b", Some(&key("a"))).0, b"dlock/r/b", "a key before the prefix");
        assert_eq!(layout.range("", None), (b"dlock/r/".to_vec(), b"dlock/r0".to_vec()));
    }

    #[test]
    fn what_others_have_is_around_the_prefix() {
        let ranges = Layout::new("dlock/").foreign_ranges();
        assert_eq!(ranges, [(b"\0".to_vec(), b"dlock/".to_vec()), (b"dlock0".to_vec(), b"\0".to_vec())]);
        assert_eq!(Layout::new("").foreign_ranges(), []);
    }

    /// Servers of all releases must find the same absence.
    #[test]
    fn buckets_stay_where_they_are() {
        let layout = Layout::new("dlock/");
        let bucket = |text| String::from_utf8(layout.bucket(&Key::new(text).unwrap())).unwrap();
        assert_eq!(bucket(""), "dlock/f/805");
        assert_eq!(bucket("resource/default/orders"), "dlock/f/141");
    }

    #[test]
    fn versions_of_values_and_absences_differ_and_grow() {
        assert!(present(7) < absent(7) && absent(7) < present(8));
        assert_eq!((revision(present(7)), revision(absent(7))), (7, 7));
        assert!(crate::is_absence(absent(0)) && !crate::is_absence(present(1)));
    }
}
