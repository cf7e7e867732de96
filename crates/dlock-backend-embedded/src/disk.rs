//! The database on disk: one redb file with the records, the absences and a little about itself.

use crate::batch::Decisions;
use crate::directory::DataDirectory;
use crate::error::OpenError;
use crate::map::{Absence, BUCKETS, Decided, Map};
use bytes::Bytes;
use dlock_store::{Change, Key, Page, Version};
use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};
use std::io::ErrorKind;
use std::path::Path;

/// The database's file in the data directory.
const FILE: &str = "dlock.redb";
/// Its name until it is whole: a file that a crash leaves behind half made is no database.
const DRAFT: &str = "dlock.redb.new";
/// The format that this release writes and reads.
const FORMAT: u64 = 1;
/// What redb may keep in memory, in bytes: for its pages alone, as the records are read from our own memory.
const CACHE_BYTES: usize = 64 << 20;

/// key → (version, value)
const RECORDS: TableDefinition<'_, &[u8], (u64, &[u8])> = TableDefinition::new("records");
/// bucket → (version of the last deletion, floor)
const ABSENCES: TableDefinition<'_, u16, (u64, u64)> = TableDefinition::new("absences");
/// `format`
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The open database.
pub(crate) struct Disk {
    database: Database,
    /// Unlocked after the database is closed: fields are dropped in this order.
    directory: Option<DataDirectory>,
}

/// A batch that was not written for sure, or perhaps not.
pub(crate) enum WriteFailure {
    /// Nothing of it is on disk.
    NotWritten(redb::Error),
    /// All of it may be on disk, or nothing.
    Unknown(redb::Error),
}

impl Disk {
    pub(crate) fn open(path: &Path) -> Result<(Disk, Map), OpenError> {
        let directory = DataDirectory::open(path)?;
        let database = open_file(&directory).map_err(|failure| failure.at_directory(path))?;
        Disk { database, directory: Some(directory) }.loaded().map_err(|failure| failure.at_directory(path))
    }

    pub(crate) fn open_with_backend(
        backend: impl redb::StorageBackend,
        place: &str,
    ) -> Result<(Disk, Map), OpenError> {
        let open = || {
            let database = builder().create_with_backend(backend)?;
            initialise(&database)?;
            Disk { database, directory: None }.loaded()
        };
        open().map_err(|failure: Failure| failure.at(place))
    }

    fn loaded(self) -> Result<(Disk, Map), Failure> {
        let map = load(&self.database.begin_read()?)?;
        Ok((self, map))
    }

    /// Writes a batch; when this returns, it is on disk.
    pub(crate) fn write(&self, batch: &Decisions) -> Result<(), WriteFailure> {
        let transaction = self.fill(batch).map_err(WriteFailure::NotWritten)?;
        transaction.commit().map_err(|error| WriteFailure::Unknown(error.into()))
    }

    /// Whether [`Disk::rewrite`] can help: not a storage backend of a test's own.
    pub(crate) fn can_be_rewritten(&self) -> bool {
        self.directory.is_some()
    }

    /// Writes all of it to a new file, which takes the old one's place; when this returns, it is on disk.
    ///
    /// This is the way out of a failed write. The old file can't be trusted then: after a failed sync the system takes
    /// what it could not write for written, so that reading the file tells nothing of what is on the disk
    /// (Rebello et al., *Can applications recover from fsync failures?*, USENIX ATC 2020).
    pub(crate) fn rewrite(
        &mut self,
        pages: impl Iterator<Item = Page>,
        absences: Vec<(usize, Absence)>,
    ) -> Result<(), Failure> {
        let Some(directory) = &self.directory else {
            return Err(Failure::Corrupt("it has no directory".to_owned()));
        };
        match make_whole(directory, pages, absences) {
            Ok(database) => {
                self.database = database;
                Ok(())
            }
            Err(failure) => {
                // It takes room, which may be what is missing; the next attempt begins with it anew in any case.
                let _removed = directory.remove_file(DRAFT);
                Err(failure)
            }
        }
    }

    fn fill(&self, batch: &Decisions) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            for Decided { key, version, change } in &batch.writes {
                let key = key.as_str().as_bytes();
                match change {
                    Change::Put(value) => drop(records.insert(key, (version.0, value.as_ref()))?),
                    Change::Delete { .. } => drop(records.remove(key)?),
                }
            }
            let mut absences = transaction.open_table(ABSENCES)?;
            for (bucket, absence) in &batch.absences {
                absences.insert(*bucket as u16, (absence.version.0, absence.floor))?;
            }
        }
        Ok(transaction)
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // All of it is read at the start anyway, and a damaged record should be found there, not by a wrong lock.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Opens the directory's database, which is made if there is none: under another name until it is whole.
fn open_file(directory: &DataDirectory) -> Result<Database, Failure> {
    if !directory.file(FILE).try_exists()? {
        directory.make_file(DRAFT)?;
        initialise(&builder().create(directory.file(DRAFT))?)?;
        directory.rename(DRAFT, FILE)?;
    }
    let database = builder().open(directory.file(FILE))?;
    initialise(&database)?;
    Ok(database)
}

/// Makes the directory's database with these contents, in place of one that is there.
fn make_whole(
    directory: &DataDirectory,
    pages: impl Iterator<Item = Page>,
    absences: Vec<(usize, Absence)>,
) -> Result<Database, Failure> {
    directory.make_file(DRAFT)?;
    let database = builder().create(directory.file(DRAFT))?;
    initialise(&database)?;
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut records = transaction.open_table(RECORDS)?;
        for (key, record) in pages.flat_map(|page| page.records) {
            if let Some(value) = record.value() {
                records.insert(key.as_str().as_bytes(), (record.version.0, value.as_ref()))?;
            }
        }
        let mut stored = transaction.open_table(ABSENCES)?;
        for (bucket, absence) in absences {
            stored.insert(bucket as u16, (absence.version.0, absence.floor))?;
        }
    }
    transaction.commit()?;
    directory.rename(DRAFT, FILE)?;
    Ok(database)
}

/// Makes the tables of a new database, or checks an old one's format.
fn initialise(database: &Database) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let format = meta.get("format")?.map(|format| format.value());
        match format {
            Some(FORMAT) => return Ok(()),
            Some(found) if found > FORMAT => return Err(Failure::Newer { found }),
            Some(found) => return Err(Failure::Corrupt(format!("there was never a format {found}"))),
            None => {
                meta.insert("format", FORMAT)?;
            }
        }
        transaction.open_table(RECORDS)?;
        transaction.open_table(ABSENCES)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Reads everything.
///
/// The version of the last write need not be stored: if that was a deletion, it is its bucket's version, and else its
/// record's. So the greatest that is there is the greatest that was ever given, and none is used twice.
fn load(transaction: &ReadTransaction) -> Result<Map, Failure> {
    let mut map = Map::default();
    for entry in transaction.open_table(RECORDS)?.iter()? {
        let (key, value) = entry?;
        let key = std::str::from_utf8(key.value()).ok().and_then(|key| Key::new(key).ok());
        let key = key.ok_or_else(|| Failure::Corrupt("a key is none".to_owned()))?;
        let (version, value) = value.value();
        let change = Change::Put(Bytes::copy_from_slice(value));
        map.apply(Decided { key, version: Version(version), change });
    }
    for entry in transaction.open_table(ABSENCES)?.iter()? {
        let (bucket, absence) = entry?;
        let (bucket, (version, floor)) = (usize::from(bucket.value()), absence.value());
        if bucket >= BUCKETS {
            return Err(Failure::Corrupt(format!("there is no bucket {bucket}")));
        }
        map.restore_absence(bucket, Absence { version: Version(version), floor });
    }
    Ok(map)
}

/// An [`OpenError`] that does not know yet where it happened.
pub(crate) enum Failure {
    Database(redb::Error),
    Corrupt(String),
    Newer { found: u64 },
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Database(error.into())
    }
}

impl Failure {
    fn at_directory(self, directory: &Path) -> OpenError {
        match self {
            Failure::Database(redb::Error::Io(error)) if error.kind() != ErrorKind::InvalidData => {
                OpenError::from_io(directory, error)
            }
            Failure::Database(redb::Error::DatabaseAlreadyOpen) => {
                OpenError::InUse { directory: directory.to_owned() }
            }
            other => other.at(&directory.display().to_string()),
        }
    }

    fn at(self, place: &str) -> OpenError {
        let place = place.to_owned();
        match self {
            // What redb says of a file that is no database of its own.
            Failure::Database(redb::Error::Io(source)) if source.kind() != ErrorKind::InvalidData => {
                OpenError::Io { place, source }
            }
            Failure::Database(other) => OpenError::Corrupt { place, what: other.to_string() },
            Failure::Corrupt(what) => OpenError::Corrupt { place, what },
            Failure::Newer { found } => OpenError::Newer { place, found, known: FORMAT },
        }
    }
}
