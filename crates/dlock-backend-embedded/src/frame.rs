//! How files are built: a header, and frames, each whole or not there.
//!
//! ```text
//! header   kind 8 | format 4 | checksum 4 | number 8 | after 8 | nonce 8
//! frame    length 8 | checksum 4 | mark 4 | payload | end 1, and zeros up to a multiple of 8
//! ```
//!
//! Numbers are little-endian. A frame's checksum covers the file's nonce, the length and the payload: no frame of another
//! file passes for one of this, and no value that a client has made up either. The end is not zero, so that a frame whose
//! last byte was not written is not whole.

use crate::disk::Disk;
use dlock_store::Version;
use std::io::{self, BufReader, Read};

/// The format that this release writes and reads.
pub(crate) const FORMAT: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 40;
/// A frame begins at a multiple of this.
const ALIGN: usize = 8;
const HEAD_BYTES: usize = 16;
const MARK: [u8; 4] = *b"dlkf";
const END: u8 = 0xE5;
/// A longer frame was never written, in bytes: what says so is damaged.
const PAYLOAD_BYTES_MAX: u64 = 16 << 30;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A segment of the log.
    Log,
    /// All records.
    Snapshot,
}

impl Kind {
    fn magic(self) -> [u8; 8] {
        match self {
            Kind::Log => *b"dlocklog",
            Kind::Snapshot => *b"dlocksnp",
        }
    }
}

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Of a segment, its place in the log; of a snapshot, the segment that follows it.
    pub(crate) number: u64,
    /// Of a segment, the last write before it; of a snapshot, the last write that is in it for sure.
    pub(crate) after: Version,
    /// Any number, another one for each file.
    pub(crate) nonce: u64,
}

/// Why a header can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Damaged(&'static str),
    Newer(u32),
}

impl Header {
    /// Of a new file on this disk.
    pub(crate) fn new(kind: Kind, number: u64, after: Version, disk: &dyn Disk) -> Header {
        Header { kind, number, after, nonce: disk.nonce() }
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.kind.magic());
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.after.0.to_le_bytes());
        bytes[32..].copy_from_slice(&self.nonce.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[16..]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header of a file that should be of this kind and number.
    pub(crate) fn parse(bytes: &[u8], kind: Kind, number: u64) -> Result<Header, Unreadable> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(Unreadable::Damaged("it is too short"));
        };
        if bytes[..8] != kind.magic() {
            return Err(Unreadable::Damaged("it is something else"));
        }
        let format = u32_at(bytes, 8);
        if format > FORMAT {
            return Err(Unreadable::Newer(format));
        }
        if format != FORMAT || u32_at(bytes, 12) != crc32fast::hash(&bytes[16..]) {
            return Err(Unreadable::Damaged("its header does not match its checksum"));
        }
        let (after, nonce) = (Version(u64_at(bytes, 24)), u64_at(bytes, 32));
        if u64_at(bytes, 16) != number {
            return Err(Unreadable::Damaged("it is another file, by its header"));
        }
        Ok(Header { kind, number, after, nonce })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().copied().map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().copied().map_or(0, u64::from_le_bytes)
}

/// Empties a buffer, for a frame whose payload is to be added.
pub(crate) fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(HEAD_BYTES, 0);
}

/// Makes a frame of what was added since [`begin`].
pub(crate) fn seal(buffer: &mut Vec<u8>, nonce: u64) {
    let length = (buffer.len() - HEAD_BYTES) as u64;
    let checksum = checksum(nonce, length, &buffer[HEAD_BYTES..]);
    buffer[..8].copy_from_slice(&length.to_le_bytes());
    buffer[8..12].copy_from_slice(&checksum.to_le_bytes());
    buffer[12..HEAD_BYTES].copy_from_slice(&MARK);
    buffer.push(END);
}

fn checksum(nonce: u64, length: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&nonce.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// Where the frame after one that begins at `offset` begins.
pub(crate) fn next_offset(offset: u64, frame_bytes: usize) -> u64 {
    (offset + frame_bytes as u64).next_multiple_of(ALIGN as u64)
}

/// A frame's length as its head says, if it is a head.
fn length_by(head: &[u8]) -> Option<usize> {
    let length = u64_at(head, 0);
    (head[12..HEAD_BYTES] == MARK && length <= PAYLOAD_BYTES_MAX).then_some(length as usize)
}

/// The payload of the frame that begins here, if it is whole.
fn payload(bytes: &[u8], nonce: u64) -> Option<&[u8]> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let length = length_by(head)?;
    let (payload, rest) = rest.split_at_checked(length)?;
    let whole = rest.first() == Some(&END) && u32_at(head, 8) == checksum(nonce, length as u64, payload);
    whole.then_some(payload)
}

/// The frames of a file that is in memory.
pub(crate) struct Frames<'a> {
    file: &'a [u8],
    nonce: u64,
    offset: usize,
}

impl<'a> Frames<'a> {
    /// Those after the header.
    pub(crate) fn new(file: &'a [u8], nonce: u64) -> Frames<'a> {
        Frames { file, nonce, offset: HEADER_BYTES }
    }

    /// Where the whole frames that were seen end.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// The next one's payload; none where what follows is not a whole frame.
    pub(crate) fn next(&mut self) -> Option<&'a [u8]> {
        let payload = payload(self.rest(), self.nonce)?;
        self.offset = next_offset(self.offset as u64, HEAD_BYTES + payload.len() + 1) as usize;
        Some(payload)
    }

    fn rest(&self) -> &'a [u8] {
        self.file.get(self.offset..).unwrap_or_default()
    }

    /// Whether nothing was ever written after what was seen.
    pub(crate) fn rest_is_blank(&self) -> bool {
        self.rest().iter().all(|byte| *byte == 0)
    }

    /// Whether a whole frame is somewhere after what was seen.
    pub(crate) fn more_after_gap(&self) -> bool {
        let rest = self.rest();
        (0..rest.len()).step_by(ALIGN).any(|offset| payload(&rest[offset..], self.nonce).is_some())
    }
}

/// The frames of a file that may be longer than is good for the memory.
pub(crate) struct FrameReader {
    file: BufReader<Box<dyn Read + Send>>,
    nonce: u64,
    frame: Vec<u8>,
    /// How many zeros are before the next frame.
    padding: usize,
}

impl FrameReader {
    /// Those after the header, which has been read.
    pub(crate) fn new(file: BufReader<Box<dyn Read + Send>>, nonce: u64) -> FrameReader {
        FrameReader { file, nonce, frame: Vec::new(), padding: 0 }
    }

    /// The next one's payload; none where what follows is not a whole frame.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.take(self.padding + HEAD_BYTES)? {
            return Ok(None);
        }
        let head = self.frame.split_off(self.padding);
        let Some(length) = length_by(&head) else { return Ok(None) };
        if !self.take(length + 1)? {
            return Ok(None);
        }
        self.frame.splice(..0, head);
        let end = next_offset(0, self.frame.len()) as usize;
        self.padding = end - self.frame.len();
        Ok(payload(&self.frame, self.nonce))
    }

    /// Whether there were as many bytes: they are the frame now.
    fn take(&mut self, count: usize) -> io::Result<bool> {
        self.frame.clear();
        self.file.by_ref().take(count as u64).read_to_end(&mut self.frame)?;
        Ok(self.frame.len() == count)
    }
}

/// Gives each frame of a file the checksum that it should have.
#[cfg(feature = "simulated-disk")]
pub(crate) fn forge(file: &mut [u8]) {
    let nonce = u64_at(file, HEADER_BYTES - 8);
    let mut offset = HEADER_BYTES;
    while let Some(frame) = file.get_mut(offset..)
        && frame.len() > HEAD_BYTES
        && let Some(length) = length_by(&frame[..HEAD_BYTES])
        && let Some(end) = frame.get_mut(HEAD_BYTES + length)
    {
        *end = END;
        let checksum = checksum(nonce, length as u64, &frame[HEAD_BYTES..HEAD_BYTES + length]);
        frame[8..12].copy_from_slice(&checksum.to_le_bytes());
        offset = next_offset(offset as u64, HEAD_BYTES + length + 1) as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(payloads: &[&[u8]]) -> (Vec<u8>, u64) {
        let header = Header { kind: Kind::Log, number: 7, after: Version(3), nonce: 11 };
        let mut file = header.to_bytes().to_vec();
        for payload in payloads {
            let mut frame = Vec::new();
            begin(&mut frame);
            frame.extend_from_slice(payload);
            seal(&mut frame, header.nonce);
            file.resize(next_offset(0, file.len()) as usize, 0);
            file.extend(frame);
        }
        (file, header.nonce)
    }

    fn read(file: &[u8], nonce: u64) -> Vec<&[u8]> {
        let mut frames = Frames::new(file, nonce);
        std::iter::from_fn(|| frames.next()).collect()
    }

    fn stream(file: &[u8], nonce: u64) -> Vec<Vec<u8>> {
        let rest: Box<dyn Read + Send> = Box::new(io::Cursor::new(file[HEADER_BYTES..].to_vec()));
        let mut frames = FrameReader::new(BufReader::new(rest), nonce);
        std::iter::from_fn(|| frames.next().unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        let payloads: [&[u8]; 4] = [b"one", b"", b"a third of more than eight bytes", b"12345678"];
        let (file, nonce) = file(&payloads);
        assert_eq!(read(&file, nonce), payloads);
        assert_eq!(stream(&file, nonce), payloads);
        let header = Header::parse(&file, Kind::Log, 7).unwrap();
        assert_eq!((header.after, header.nonce), (Version(3), nonce));
    }

    #[test]
    fn a_frame_with_any_byte_changed_or_missing_is_none() {
        let (file, nonce) = file(&[b"first", b"second, and last"]);
        let begin = Frames { file: &file, nonce, offset: HEADER_BYTES }.next().map(|_| 64).unwrap();
        for at in begin..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x10;
            assert_eq!(read(&changed, nonce), [b"first"], "byte {at}");
            assert_eq!(stream(&changed, nonce), [b"first"], "byte {at}");
            assert_eq!(read(&file[..at], nonce), [b"first"], "cut at {at}");
            assert_eq!(stream(&file[..at], nonce), [b"first"], "cut at {at}");
        }
        assert!(read(&file, nonce + 1).is_empty(), "of another file");
    }

    #[test]
    fn a_frame_after_a_gap_is_seen() {
        let (mut file, nonce) = file(&[b"first", b"second", b"third"]);
        file.extend([0; 100]);
        let mut frames = Frames::new(&file, nonce);
        while frames.next().is_some() {}
        assert!(frames.rest_is_blank() && !frames.more_after_gap());
        file[HEADER_BYTES] ^= 1;
        let frames = Frames::new(&file, nonce);
        assert!(!frames.rest_is_blank() && frames.more_after_gap());
    }

    #[test]
    fn a_header_says_what_is_wrong_with_it() {
        let bytes = Header { kind: Kind::Snapshot, number: 2, after: Version(9), nonce: 11 }.to_bytes();
        let parse = |bytes: &[u8], kind, number| Header::parse(bytes, kind, number).map(|_| ());
        assert_eq!(parse(&bytes, Kind::Snapshot, 2), Ok(()));
        assert!(matches!(parse(&bytes, Kind::Snapshot, 3), Err(Unreadable::Damaged(_))));
        assert!(matches!(parse(&bytes, Kind::Log, 2), Err(Unreadable::Damaged(_))));
        assert!(matches!(parse(&bytes[..30], Kind::Snapshot, 2), Err(Unreadable::Damaged(_))));
        for at in 0..HEADER_BYTES {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert!(parse(&changed, Kind::Snapshot, 2).is_err(), "byte {at}");
        }
        let mut newer = bytes;
        newer[8] = 2;
        assert_eq!(parse(&newer, Kind::Snapshot, 2), Err(Unreadable::Newer(2)));
    }
}
