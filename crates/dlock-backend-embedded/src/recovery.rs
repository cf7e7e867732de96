//! Reading what is on the disk: the newest snapshot, and the log that follows it.

use crate::disk::Disk;
use crate::entry::Entry;
use crate::error::OpenError;
use crate::files::{self, Draft};
use crate::frame::{FORMAT, FrameReader, Frames, HEADER_BYTES, Header, Kind, Unreadable};
use crate::log::{Length, Log};
use crate::map::{Absence, BUCKETS, Map};
use dlock_store::{Key, Version};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// The log and the records as they were; the log is so long at most when the next snapshot is due, unless that is longer.
pub(crate) fn recover(
    disk: Arc<dyn Disk>,
    place: &Path,
    log_bytes_max: u64,
) -> Result<(Log, Map), OpenError> {
    let mut recovery = Recovery { disk: &*disk, map: Map::default(), last: Version(0) };
    let length = recovery.run().map_err(|failure| failure.at(place))?;
    let map = recovery.map;
    Ok((Log::new(disk, log_bytes_max, length), map))
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    map: Map,
    /// The last write that was read.
    last: Version,
}

impl Recovery<'_> {
    fn run(&mut self) -> Result<Length, Failure> {
        files::remove_drafts(self.disk)?;
        // What is to be seen may have been named by a process that was killed before it could make the names durable.
        self.disk.sync_names()?;
        let names = self.disk.names()?;
        let snapshot = files::numbers(&names, Kind::Snapshot).last().copied();
        let first = snapshot.unwrap_or(1);
        let segments: Vec<u64> =
            files::numbers(&names, Kind::Log).into_iter().filter(|number| *number >= first).collect();
        if let Some((missing, _)) = (first..).zip(&segments).find(|(number, found)| number != *found) {
            return Err(Failure::damaged(Kind::Log, missing, "it is missing"));
        }
        let snapshot_bytes = match snapshot {
            Some(number) => self.read_snapshot(number)?,
            None => 0,
        };
        let mut bytes = 0;
        for number in &segments {
            bytes += self.read_segment(*number, segments.last() == Some(number))?;
        }
        let number = segments.last().copied().unwrap_or(first - 1);
        if self.map.last() != self.last {
            return Err(Failure::damaged(Kind::Log, number, "writes are missing that a snapshot has"));
        }
        files::remove_before(self.disk, first)?;
        Ok(Length { number, last: self.last, bytes, snapshot_bytes })
    }

    /// Reads a snapshot; says how many bytes it has.
    fn read_snapshot(&mut self, number: u64) -> Result<u64, Failure> {
        let damaged = |what| Failure::damaged(Kind::Snapshot, number, what);
        let mut file = BufReader::new(self.disk.read(&files::name(Kind::Snapshot, number))?);
        let mut header = Vec::new();
        file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header)?;
        let header = Header::parse(&header, Kind::Snapshot, number)
            .map_err(|wrong| Failure::unreadable(Kind::Snapshot, number, wrong))?;
        let mut frames = FrameReader::new(file, header.nonce);
        let mut bytes = HEADER_BYTES as u64;
        while let Some(mut payload) = frames.next()? {
            bytes += payload.len() as u64;
            while !payload.is_empty() {
                match Entry::read(&mut payload) {
                    Some(Entry::Put { version, key, value }) => self.map.put(key, version, value),
                    Some(Entry::Absence { bucket, version, floor }) if usize::from(bucket) < BUCKETS => {
                        self.map.remember_absence(usize::from(bucket), Absence { version, floor });
                    }
                    Some(Entry::End { records }) if records == self.map.count() => {
                        self.last = header.after;
                        return Ok(bytes);
                    }
                    _ => return Err(damaged("what is in it is not what is written")),
                }
            }
        }
        Err(damaged("a part of it does not match its checksum, or is missing"))
    }

    /// Reads a segment; says how many bytes it has.
    fn read_segment(&mut self, number: u64, newest: bool) -> Result<u64, Failure> {
        let damaged = |what| Failure::damaged(Kind::Log, number, what);
        let mut file = Vec::new();
        self.disk.read(&files::name(Kind::Log, number))?.read_to_end(&mut file)?;
        let header = Header::parse(&file, Kind::Log, number)
            .map_err(|wrong| Failure::unreadable(Kind::Log, number, wrong))?;
        if header.after != self.last {
            return Err(damaged("it does not begin where what is before it ends"));
        }
        let mut frames = Frames::new(&file, header.nonce);
        while let Some(payload) = frames.next() {
            self.read_batch(payload).ok_or_else(|| damaged("what is in it is not what is written"))?;
        }
        let whole = frames.offset().min(file.len());
        if !newest {
            let ends = frames.rest_is_blank();
            return ends
                .then_some(whole as u64)
                .ok_or_else(|| damaged("a batch does not match its checksum"));
        }
        // Each batch is durable before the next is written, so only the last can be torn, which was never acknowledged.
        if frames.more_after_gap() {
            return Err(damaged("a batch does not match its checksum, and later ones do"));
        }
        self.write_anew(header, &file[..whole])?;
        Ok(whole as u64)
    }

    fn read_batch(&mut self, mut payload: &[u8]) -> Option<()> {
        while !payload.is_empty() {
            let next = Version(self.last.0 + 1);
            match Entry::read(&mut payload)? {
                Entry::Put { version, key, value } if version == next => self.map.put(key, version, value),
                Entry::Delete { version, key, floor } if version == next => {
                    self.map.delete(&Key::new(key).ok()?, version, floor);
                }
                _ => return None,
            }
            self.last = next;
        }
        Some(())
    }

    /// Writes what is whole of the newest segment to a new file in its place, without a torn batch.
    ///
    /// What was read may have been in the system's memory only: its writer was killed before it could sync, or its sync
    /// failed. From now on it counts, so it must be on the disk, and only a file that nothing has failed on says so.
    fn write_anew(&self, header: Header, whole: &[u8]) -> io::Result<()> {
        let mut draft = Draft::make(self.disk, header)?;
        match draft.file.write_at(0, whole) {
            Ok(()) => draft.publish(self.disk).map(drop),
            Err(error) => Err(draft.discard(self.disk, error)),
        }
    }
}

/// An [`OpenError`] that does not know yet where it happened.
enum Failure {
    Io(io::Error),
    Unreadable(String, Unreadable),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl Failure {
    fn damaged(kind: Kind, number: u64, what: &'static str) -> Failure {
        Failure::unreadable(kind, number, Unreadable::Damaged(what))
    }

    fn unreadable(kind: Kind, number: u64, wrong: Unreadable) -> Failure {
        Failure::Unreadable(files::name(kind, number), wrong)
    }

    fn at(self, place: &Path) -> OpenError {
        match self {
            Failure::Io(source) => OpenError::from_io(place, source),
            Failure::Unreadable(file, Unreadable::Damaged(what)) => {
                OpenError::Corrupt { file: place.join(file), what: what.to_owned() }
            }
            Failure::Unreadable(file, Unreadable::Newer(found)) => {
                OpenError::Newer { file: place.join(file), found, known: FORMAT }
            }
        }
    }
}
