//! What frames hold: the writes of a batch in the log, the records and absences in a snapshot.

use crate::kept::Kept;
use dlock_store::Version;

/// One entry of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// A record with this value.
    Put { version: Version, key: &'a str, value: Kept<'a> },
    /// A record's deletion.
    Delete { version: Version, key: &'a str, floor: u64 },
    /// A bucket's absence.
    Absence { bucket: u16, version: Version, floor: u64 },
    /// That a snapshot is complete, with so many records.
    End { records: u64 },
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const ABSENCE: u8 = 3;
const COMPLETE: u8 = 4;

impl<'a> Entry<'a> {
    /// Adds it to a frame.
    pub(crate) fn write(&self, frame: &mut Vec<u8>) {
        let write_key = |frame: &mut Vec<u8>, key: &str| {
            frame.extend_from_slice(&(key.len() as u16).to_le_bytes());
            frame.extend_from_slice(key.as_bytes());
        };
        match *self {
            Entry::Put { version, key, value } => {
                frame.push(PUT);
                frame.extend_from_slice(&version.0.to_le_bytes());
                write_key(frame, key);
                frame.extend_from_slice(&(value.len() as u32).to_le_bytes());
                value.pieces().for_each(|piece| frame.extend_from_slice(piece));
            }
            Entry::Delete { version, key, floor } => {
                frame.push(DELETE);
                frame.extend_from_slice(&version.0.to_le_bytes());
                write_key(frame, key);
                frame.extend_from_slice(&floor.to_le_bytes());
            }
            Entry::Absence { bucket, version, floor } => {
                frame.push(ABSENCE);
                frame.extend_from_slice(&bucket.to_le_bytes());
                frame.extend_from_slice(&version.0.to_le_bytes());
                frame.extend_from_slice(&floor.to_le_bytes());
            }
            Entry::End { records } => {
                frame.push(COMPLETE);
                frame.extend_from_slice(&records.to_le_bytes());
            }
        }
    }

    /// Takes the next one off a payload that is not empty; none if that holds something else.
    pub(crate) fn read(payload: &mut &'a [u8]) -> Option<Entry<'a>> {
        let [kind] = array(payload)?;
        Some(match kind {
            PUT => {
                let (version, key) = (read_version(payload)?, read_key(payload)?);
                let length = u32::from_le_bytes(array(payload)?) as usize;
                Entry::Put { version, key, value: Kept::Whole(payload.split_off(..length)?) }
            }
            DELETE => {
                let (version, key) = (read_version(payload)?, read_key(payload)?);
                Entry::Delete { version, key, floor: u64::from_le_bytes(array(payload)?) }
            }
            ABSENCE => {
                let bucket = u16::from_le_bytes(array(payload)?);
                let version = read_version(payload)?;
                Entry::Absence { bucket, version, floor: u64::from_le_bytes(array(payload)?) }
            }
            COMPLETE => Entry::End { records: u64::from_le_bytes(array(payload)?) },
            _ => return None,
        })
    }
}

fn array<const N: usize>(payload: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = payload.split_first_chunk()?;
    *payload = rest;
    Some(*array)
}

fn read_version(payload: &mut &[u8]) -> Option<Version> {
    array(payload).map(u64::from_le_bytes).map(Version)
}

fn read_key<'a>(payload: &mut &'a [u8]) -> Option<&'a str> {
    let length = u16::from_le_bytes(array(payload)?);
    std::str::from_utf8(payload.split_off(..usize::from(length))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use dlock_store::Value;

    #[test]
    fn entries_are_read_as_they_were_written_and_nothing_else_is() {
        let pieces: Value = ["val", "", "ue"].map(Bytes::from).into_iter().collect();
        let entries = [
            Entry::Put { version: Version(6), key: "pieces", value: Kept::from(&pieces) },
            Entry::Put { version: Version(7), key: "lock/ä", value: Kept::Whole(b"value") },
            Entry::Put { version: Version(8), key: "empty", value: Kept::Whole(b"") },
            Entry::Delete { version: Version(9), key: "gone", floor: u64::MAX },
            Entry::Absence { bucket: 255, version: Version(9), floor: 4 },
            Entry::End { records: 2 },
        ];
        for entry in &entries {
            let mut frame = Vec::new();
            entry.write(&mut frame);
            let mut payload = frame.as_slice();
            assert_eq!(Entry::read(&mut payload), Some(*entry));
            assert!(payload.is_empty());
            for length in 0..frame.len() {
                assert_eq!(Entry::read(&mut &frame[..length]), None, "{entry:?} cut to {length}");
            }
        }
        assert_eq!(Entry::read(&mut [9, 9, 9].as_slice()), None);
    }
}
