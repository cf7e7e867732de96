//! The log: every batch of writes, one after the other, in segments. A batch that is in it for good has happened.

use crate::disk::{Disk, DiskFile};
use crate::entry::Entry;
use crate::files::Draft;
use crate::frame::{self, HEADER_BYTES, Header, Kind};
use crate::map::Decided;
use crate::snapshot::Snapshot;
use dlock_store::{Change, Version};
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Of the room that is left, the log may take one part in so many.
const ROOM_PARTS: u64 = 4;
/// A log has about so many segments when it is due for a snapshot.
const SEGMENTS: u64 = 4;
/// A snapshot as long as the log at its longest has so many pages.
const PAGES: u64 = 512;
/// The least that a log may take, in bytes, however little room is left.
const LOG_BYTES_MIN: u64 = 256 << 10;
/// How much of a buffer is kept for the next batch, in bytes.
const FRAME_BYTES_KEPT: usize = 1 << 20;

/// A batch that was not written for sure, or perhaps not.
#[derive(Debug)]
pub(crate) enum WriteFailure {
    /// Nothing of it is on disk, nor will be.
    NotWritten(io::Error),
    /// All of it may be on disk, or nothing.
    Unknown(io::Error),
}

/// How long the log is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    /// The newest segment.
    pub(crate) number: u64,
    /// The last write.
    pub(crate) last: Version,
    /// Since the newest snapshot, in bytes.
    pub(crate) bytes: u64,
    /// That of the newest snapshot, in bytes.
    pub(crate) snapshot_bytes: u64,
}

/// The segment that is written.
struct Segment {
    file: Box<dyn DiskFile>,
    nonce: u64,
    /// Where the next batch begins.
    offset: u64,
    /// What was taken from the disk in advance.
    reserved: u64,
}

/// The log, as it is written.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    /// The longest that the log may be when the next snapshot is due, unless that is longer.
    bytes_max: u64,
    length: Length,
    /// With what length the next snapshot is due, in bytes.
    due: u64,
    /// What the snapshot that is being written replaces, in bytes.
    covered: u64,
    /// None until the next batch needs one.
    segment: Option<Segment>,
    /// False after a sync has failed: the segment may have what is not on the disk, or lack what is.
    trusted: bool,
    frame: Vec<u8>,
}

impl Log {
    pub(crate) fn new(disk: Arc<dyn Disk>, bytes_max: u64, length: Length) -> Log {
        let due = bytes_max.max(length.snapshot_bytes);
        Log { disk, bytes_max, length, due, covered: 0, segment: None, trusted: true, frame: Vec::new() }
    }

    /// Writes a batch; when this returns, it is durable.
    pub(crate) fn append(&mut self, batch: &[Decided]) -> Result<(), WriteFailure> {
        let Some(last) = batch.last().map(|write| write.version) else { return Ok(()) };
        let mut frame = std::mem::take(&mut self.frame);
        frame::begin(&mut frame);
        batch.iter().for_each(|write| entry(write).write(&mut frame));
        let written = self.write(&mut frame);
        frame.clear();
        frame.shrink_to(FRAME_BYTES_KEPT);
        self.frame = frame;
        written?;
        self.length.last = last;
        Ok(())
    }

    fn write(&mut self, frame: &mut Vec<u8>) -> Result<(), WriteFailure> {
        let bytes = frame.len() as u64 + 1;
        let segment = match self.segment.take().filter(|segment| segment.offset + bytes <= segment.reserved) {
            Some(segment) => segment,
            None => {
                self.start_segment(HEADER_BYTES as u64 + bytes, false).map_err(WriteFailure::NotWritten)?
            }
        };
        let segment = self.segment.insert(segment);
        frame::seal(frame, segment.nonce);
        segment.file.write_at(segment.offset, frame).map_err(WriteFailure::NotWritten)?;
        if let Err(error) = segment.file.sync() {
            self.trusted = false;
            return Err(WriteFailure::Unknown(error));
        }
        let end = frame::next_offset(segment.offset, frame.len());
        self.length.bytes += end - segment.offset;
        segment.offset = end;
        Ok(())
    }

    /// Makes the next segment, with room for so many bytes at least. Where there is little room, it is a short one, unless
    /// it must be `ample`.
    fn start_segment(&mut self, needed: u64, ample: bool) -> io::Result<Segment> {
        let log_bytes = (self.disk.room()? / ROOM_PARTS).max(LOG_BYTES_MIN).min(self.bytes_max);
        self.due = log_bytes.max(self.length.snapshot_bytes);
        let header = Header::new(Kind::Log, self.length.number + 1, self.length.last, &*self.disk);
        let mut draft = Draft::make(&*self.disk, header)?;
        let mut bytes = needed.max(log_bytes / SEGMENTS);
        while let Err(error) = draft.file.reserve(bytes) {
            if ample || bytes == needed || !is_full(&error) {
                return Err(draft.discard(&*self.disk, error));
            }
            bytes = needed.max(bytes / 2);
        }
        let file = draft.publish(&*self.disk)?;
        self.length.number = header.number;
        self.length.bytes += HEADER_BYTES as u64;
        Ok(Segment { file, nonce: header.nonce, offset: HEADER_BYTES as u64, reserved: bytes })
    }

    /// Whether the log has become so long that a snapshot should take its place.
    pub(crate) fn is_due(&self) -> bool {
        self.length.bytes >= self.due
    }

    /// Begins a snapshot of all that is in the log so far; what comes is in the segments that follow it.
    pub(crate) fn begin_snapshot(&mut self) -> io::Result<Snapshot> {
        let covered = self.length.bytes;
        self.segment = Some(self.start_segment(HEADER_BYTES as u64, false)?);
        self.covered = covered;
        Snapshot::begin(&*self.disk, self.length.number, self.length.last, self.page_bytes())
    }

    /// A snapshot of so many bytes has taken the place of what it covers.
    pub(crate) fn snapshot_is_made(&mut self, bytes: u64) {
        self.length.bytes -= std::mem::take(&mut self.covered);
        self.length.snapshot_bytes = bytes;
        self.due = self.due.max(bytes);
    }

    /// A snapshot could not be made: it is tried again when the log has grown by a part.
    pub(crate) fn snapshot_has_failed(&mut self) {
        self.covered = 0;
        self.due = self.length.bytes + self.due / SEGMENTS;
    }

    /// Whether its own files can be written on after a batch was not written.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Goes on after a batch that was not written, if there is ample room: what there is of it is cut off.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        if let Some(mut segment) = self.segment.take() {
            self.trusted = false;
            segment.file.cut(segment.offset)?;
            segment.file.sync()?;
            self.trusted = true;
        }
        self.segment = Some(self.start_segment(HEADER_BYTES as u64, true)?);
        Ok(())
    }

    /// Begins a snapshot that takes the place of the whole log, the segment that can't be trusted included: after a
    /// failed sync the system takes what it could not write for written, so that reading a file tells nothing of what is
    /// on the disk (Rebello et al., *Can applications recover from fsync failures?*, USENIX ATC 2020).
    pub(crate) fn begin_anew(&mut self) -> io::Result<Snapshot> {
        self.segment = None;
        Snapshot::begin(&*self.disk, self.length.number + 1, self.length.last, self.page_bytes())
    }

    /// A snapshot of so many bytes has taken the place of the whole log.
    pub(crate) fn is_anew(&mut self, snapshot_bytes: u64) {
        self.length = Length { bytes: 0, snapshot_bytes, ..self.length };
        self.covered = 0;
        self.trusted = true;
    }

    fn page_bytes(&self) -> usize {
        (self.bytes_max / PAGES) as usize
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }
}

fn entry(write: &Decided) -> Entry<'_> {
    let (version, key) = (write.version, write.key.as_str());
    match &write.change {
        Change::Put(value) => Entry::Put { version, key, value: value.into() },
        Change::Delete { floor } => Entry::Delete { version, key, floor: *floor },
    }
}

/// Whether it is room that was missing.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
