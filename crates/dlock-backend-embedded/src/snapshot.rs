//! A snapshot: all records in one file, so that the log before it can go.

use crate::disk::Disk;
use crate::entry::Entry;
use crate::files::{self, Draft};
use crate::frame::{self, HEADER_BYTES, Header, Kind};
use crate::map::{Absence, Map};
use dlock_store::Version;
use std::io;

/// What is written is synced every so many pages, as a disk that has much to write at a time lets the log wait.
const UNSYNCED_PAGES_MAX: u32 = 32;

/// A snapshot in the making, page by page.
///
/// Writes may be made in between: it has each of them or not. All that it has is durable in the log, as nothing else is
/// visible, and the log that follows it has what it lacks; reading it again over what is there does no harm.
pub(crate) struct Snapshot {
    draft: Draft,
    /// The last key of the pages so far.
    last: String,
    records: u64,
    offset: u64,
    page_bytes: usize,
    unsynced_pages: u32,
    frame: Vec<u8>,
}

impl Snapshot {
    /// Begins one of all writes up to `after`, which the segment `number` follows. A page is full with so many bytes: while
    /// one is put together, no write is made visible.
    pub(crate) fn begin(
        disk: &dyn Disk,
        number: u64,
        after: Version,
        page_bytes: usize,
    ) -> io::Result<Snapshot> {
        let draft = Draft::make(disk, Header::new(Kind::Snapshot, number, after, disk))?;
        Ok(Snapshot {
            draft,
            last: String::new(),
            records: 0,
            offset: HEADER_BYTES as u64,
            page_bytes,
            unsynced_pages: 0,
            frame: Vec::new(),
        })
    }

    /// Puts the next page together, out of all that is committed; whether it is the last.
    pub(crate) fn gather(&mut self, map: &Map) -> bool {
        frame::begin(&mut self.frame);
        let after = std::mem::take(&mut self.last);
        let mut last = after.as_str();
        for stored in map.from(&after, self.records > 0) {
            Entry::Put { version: stored.version, key: stored.key, value: stored.value }
                .write(&mut self.frame);
            self.records += 1;
            last = stored.key;
            if self.frame.len() >= self.page_bytes {
                break;
            }
        }
        self.last = last.to_owned();
        if self.frame.len() >= self.page_bytes {
            return false;
        }
        for (bucket, Absence { version, floor }) in map.absences().iter().enumerate() {
            if *version > Version(0) {
                Entry::Absence { bucket: bucket as u16, version: *version, floor: *floor }
                    .write(&mut self.frame);
            }
        }
        Entry::End { records: self.records }.write(&mut self.frame);
        true
    }

    /// Writes the page that was put together.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        frame::seal(&mut self.frame, self.draft.header.nonce);
        self.draft.file.write_at(self.offset, &self.frame)?;
        self.offset = frame::next_offset(self.offset, self.frame.len());
        self.unsynced_pages += 1;
        if self.unsynced_pages == UNSYNCED_PAGES_MAX {
            self.unsynced_pages = 0;
            self.draft.file.sync()?;
        }
        Ok(())
    }

    /// Makes it the one that counts, durably, and removes what it replaces; says how many bytes it has.
    pub(crate) fn publish(self, disk: &dyn Disk) -> io::Result<u64> {
        let number = self.draft.header.number;
        self.draft.publish(disk)?;
        files::remove_before(disk, number)?;
        Ok(self.offset)
    }

    /// Gives it up, after this error.
    pub(crate) fn discard(self, disk: &dyn Disk, error: io::Error) -> io::Error {
        self.draft.discard(disk, error)
    }
}
