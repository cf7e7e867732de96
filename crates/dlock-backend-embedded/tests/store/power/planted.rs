//! Disks that do what a store with a certain bug would do: the tests must find each.

use dlock_backend_embedded::disk::{Disk, DiskFile};
use dlock_backend_embedded::simulated::{SimulatedDisk, forge};
use std::io::{self, Cursor, Read};

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// Batches are acknowledged before they are synced.
    LogIsNotSynced,
    /// A snapshot gets its name before it is synced.
    SnapshotIsNotSynced,
    /// The directory is not synced.
    NamesAreNotSynced,
    /// What a snapshot replaces is removed before the snapshot is durable.
    RemovedTooEarly,
    /// Checksums are not checked.
    ChecksumIsNotChecked,
    /// A sync that failed is tried again, and its success believed.
    SyncIsTriedAgain,
}

impl Bug {
    pub(super) const ALL: [Bug; 6] = [
        Bug::LogIsNotSynced,
        Bug::SnapshotIsNotSynced,
        Bug::NamesAreNotSynced,
        Bug::RemovedTooEarly,
        Bug::ChecksumIsNotChecked,
        Bug::SyncIsTriedAgain,
    ];
}

/// A disk for a store that has a bug.
pub(super) struct Planted {
    pub(super) disk: SimulatedDisk,
    pub(super) bug: Bug,
}

impl Disk for Planted {
    fn nonce(&self) -> u64 {
        self.disk.nonce()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        if self.bug == Bug::RemovedTooEarly && name.starts_with("snapshot-") {
            let number = |name: &str| name.get(name.find('-')? + 1..)?.get(..10)?.parse::<u64>().ok();
            for old in self.disk.names()?.iter().filter(|old| number(old) < number(name)) {
                self.disk.remove(old)?;
            }
            self.disk.sync_names()?;
        }
        let file = self.disk.create(name)?;
        Ok(match self.bug {
            // The first is that of the header.
            Bug::LogIsNotSynced if name.starts_with("log-") => Box::new(Unsynced { file, syncs: 1 }),
            Bug::SnapshotIsNotSynced if name.starts_with("snapshot-") => {
                Box::new(Unsynced { file, syncs: 0 })
            }
            Bug::SyncIsTriedAgain => Box::new(Believed { file }),
            _ => file,
        })
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let mut file = self.disk.read(name)?;
        if self.bug != Bug::ChecksumIsNotChecked {
            return Ok(file);
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        forge(&mut content);
        Ok(Box::new(Cursor::new(content)))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.disk.names()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.bug == Bug::NamesAreNotSynced { Ok(()) } else { self.disk.sync_names() }
    }

    fn room(&self) -> io::Result<u64> {
        self.disk.room()
    }
}

/// A file of which only the first syncs are made.
struct Unsynced {
    file: Box<dyn DiskFile>,
    /// How many more are made.
    syncs: u32,
}

impl DiskFile for Unsynced {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn reserve(&mut self, length: u64) -> io::Result<()> {
        self.file.reserve(length)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.cut(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(left) = self.syncs.checked_sub(1) else { return Ok(()) };
        self.syncs = left;
        self.file.sync()
    }
}

/// A file whose syncs are tried again.
struct Believed {
    file: Box<dyn DiskFile>,
}

impl DiskFile for Believed {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn reserve(&mut self, length: u64) -> io::Result<()> {
        self.file.reserve(length)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.cut(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync().or_else(|_| self.file.sync())
    }
}
