//! Records as they are in Redis, and as they are announced.

use bytes::Bytes;
use dlock_store::{Content, Key, Record, StoreError, Version};

/// The bytes of a version or a floor.
pub(crate) const NUMBER_BYTES: usize = 8;

/// How many low bits of a version count the writes of an epoch, which is in the bits above. More writes of one record
/// in an epoch carry over into them: a record can't be written so often that it overtakes the clock, a millisecond
/// being one epoch.
const COUNT_BITS: u32 = 22;

/// The least version of an epoch.
pub(crate) fn first_version(epoch: u64) -> u64 {
    epoch << COUNT_BITS
}

/// The version that a write gives: greater than the one it replaces, and than all of earlier epochs.
pub(crate) fn next_version(expected: Version, first_of_epoch: u64) -> Version {
    Version((expected.0 + 1).max(first_of_epoch))
}

/// A record from the values of its key and of its absence's.
pub(crate) fn read(record: Option<Vec<u8>>, absence: Option<Vec<u8>>) -> Result<Record, StoreError> {
    match (record, absence) {
        (Some(bytes), _) => {
            let version = number(&bytes, 0)?;
            Ok(Record {
                version: Version(version),
                content: Content::Present(Bytes::from(bytes).slice(NUMBER_BYTES..)),
            })
        }
        (None, Some(bytes)) => {
            let content = Content::Absent { floor: number(&bytes, NUMBER_BYTES)? };
            Ok(Record { version: Version(number(&bytes, 0)?), content })
        }
        (None, None) => Ok(Record { version: Version(0), content: Content::Absent { floor: 0 } }),
    }
}

/// The number at an offset.
pub(crate) fn number(bytes: &[u8], offset: usize) -> Result<u64, StoreError> {
    let found = bytes.get(offset..offset + NUMBER_BYTES).and_then(|found| found.try_into().ok());
    found.map(u64::from_be_bytes).ok_or_else(|| StoreError::Invalid {
        reason: "a key of ours in Redis holds what dlock did not write: give dlock a prefix or a database of its own"
            .to_owned(),
    })
}

/// A change, as it is announced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) key: Key,
    pub(crate) record: Option<Record>,
}

/// Takes apart what a script has published: kind (P, A, or K for the name alone), length of the name (2 bytes), length of the
/// payload (4 bytes), version, name, payload; and so on. `None` if it isn't that.
pub(crate) fn announced(message: Vec<u8>) -> Option<Vec<Announced>> {
    const HEAD: usize = 7;
    let message = Bytes::from(message);
    let (mut changes, mut at) = (Vec::new(), 0);
    while at < message.len() {
        let head: [u8; HEAD] = message.get(at..at + HEAD)?.try_into().ok()?;
        let [kind, n0, n1, p0, p1, p2, p3] = head;
        let name = at + HEAD + NUMBER_BYTES;
        let payload = name + usize::from(u16::from_be_bytes([n0, n1]));
        let end = payload + usize::try_from(u32::from_be_bytes([p0, p1, p2, p3])).ok()?;
        let version = Version(number(&message, at + HEAD).ok()?);
        let key = Key::new(std::str::from_utf8(message.get(name..payload)?).ok()?).ok()?;
        if end > message.len() {
            return None;
        }
        let content = match kind {
            b'P' => Some(Content::Present(message.slice(payload..end))),
            b'A' => Some(Content::Absent { floor: number(&message, payload).ok()? }),
            b'K' => None,
            _ => return None,
        };
        changes.push(Announced { key, record: content.map(|content| Record { version, content }) });
        at = end;
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_grow_within_and_across_epochs() {
        let first = first_version(7);
        assert_eq!(next_version(Version(3), first), Version(first));
        assert_eq!(next_version(Version(first), first), Version(first + 1));
        let last = first_version(8) - 1;
        assert_eq!(next_version(Version(last), first), Version(first_version(8)));
    }

    #[test]
    fn nonsense_is_not_a_record() {
        assert!(read(Some(b"short".to_vec()), None).is_err());
        assert!(read(None, Some(vec![0; 15])).is_err());
        for message in
            [&b"P"[..], b"P\0\x01\0\0\0\0", b"X\0\0\0\0\0\0\0\0\0\0\0\0\0\0", b"P\0\0\0\0\0\x09________"]
        {
            assert_eq!(announced(message.to_vec()), None, "{message:?}");
        }
        assert_eq!(announced(Vec::new()), Some(Vec::new()));
    }
}
