//! The database on disk: one redb file with the records, the absences and a little about itself.

use crate::error::OpenError;
use crate::map::{Absence, BUCKETS, Decided, Map, bucket};
use bytes::Bytes;
use dlock_store::{Change, Key, Version};
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The database's file in the data directory.
const FILE: &str = "dlock.redb";
/// The format that this release writes and reads.
const FORMAT: u64 = 1;

/// key → (version, value)
const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");
/// bucket → (version of the last deletion, floor)
const ABSENCES: TableDefinition<'_, u16, (u64, u64)> = TableDefinition::new("absences");
/// `format`, `last` (the version of the last write)
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The open database.
pub(crate) struct Disk {
    database: Database,
}

impl Disk {
    pub(crate) fn open(directory: &Path) -> Result<Disk, OpenError> {
        if directory.exists() && !directory.is_dir() {
            return Err(OpenError::NotADirectory { path: directory.to_owned() });
        }
        let permission = |source: std::io::Error| match source.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                OpenError::Permission { directory: directory.to_owned(), source }
            }
            ErrorKind::NotADirectory => OpenError::NotADirectory { path: directory.to_owned() },
            _ => OpenError::Io(source),
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(permission)?;
        let path = directory.join(FILE);
        let new = !path.exists();
        let database = Database::create(&path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { directory: directory.to_owned() },
            DatabaseError::Storage(redb::StorageError::Io(error)) => permission(error),
            other => redb::Error::from(other).into(),
        })?;
        let disk = Disk::initialise(database)?;
        if new {
            // The file's own name is durable only with its directory.
            fs::File::open(directory)?.sync_all()?;
        }
        Ok(disk)
    }

    pub(crate) fn open_with_backend(backend: impl redb::StorageBackend) -> Result<Disk, OpenError> {
        let database = Database::builder().create_with_backend(backend).map_err(redb::Error::from)?;
        Disk::initialise(database)
    }

    /// Makes the tables of a new database, or checks an old one's format.
    fn initialise(database: Database) -> Result<Disk, OpenError> {
        let disk = Disk { database };
        disk.initialise_tables().map_err(|error| match error {
            Initialise::Redb(error) => error.into(),
            Initialise::Newer(found) => OpenError::Newer { found, known: FORMAT },
        })?;
        Ok(disk)
    }

    fn initialise_tables(&self) -> Result<(), Initialise> {
        let transaction = self.database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get("format")?.map(|format| format.value());
            match found {
                Some(found) if found > FORMAT => return Err(Initialise::Newer(found)),
                Some(_) => {}
                None => {
                    meta.insert("format", FORMAT)?;
                    meta.insert("last", 0)?;
                }
            }
            transaction.open_table(RECORDS)?;
            transaction.open_table(ABSENCES)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Reads everything.
    pub(crate) fn load(&self) -> Result<Map, OpenError> {
        let mut map = Map::default();
        self.load_into(&mut map)?;
        Ok(map)
    }

    fn load_into(&self, map: &mut Map) -> Result<(), OpenError> {
        let corrupt = |what: &str| OpenError::Corrupt { what: what.to_owned() };
        let transaction = self.database.begin_read().map_err(redb::Error::from)?;
        let records = transaction.open_table(RECORDS).map_err(redb::Error::from)?;
        for entry in records.iter().map_err(redb::Error::from)? {
            let (key, value) = entry.map_err(redb::Error::from)?;
            let key = Key::new(key.value()).map_err(|_| corrupt("a key is too long"))?;
            let (version, value) = value.value();
            map.records.insert(key, (Version(version), Bytes::copy_from_slice(value)));
        }
        let absences = transaction.open_table(ABSENCES).map_err(redb::Error::from)?;
        for entry in absences.iter().map_err(redb::Error::from)? {
            let (bucket, absence) = entry.map_err(redb::Error::from)?;
            let (version, floor) = absence.value();
            let bucket = usize::from(bucket.value());
            if bucket >= BUCKETS {
                return Err(corrupt("there is no such bucket"));
            }
            map.absences[bucket] = Absence { version: Version(version), floor };
        }
        let meta = transaction.open_table(META).map_err(redb::Error::from)?;
        let last = meta.get("last").map_err(redb::Error::from)?;
        map.last = Version(last.ok_or_else(|| corrupt("the last version is missing"))?.value());
        Ok(())
    }

    /// Writes a batch; when this returns, it is on disk. `before` are the absences without it.
    pub(crate) fn write(&self, before: &[Absence; BUCKETS], batch: &[Decided]) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            let mut emptied: BTreeMap<usize, Absence> = BTreeMap::new();
            for decided in batch {
                match &decided.change {
                    Change::Put(value) => {
                        records.insert(decided.key.as_str(), (decided.version.0, value.as_ref()))?;
                    }
                    Change::Delete { floor } => {
                        records.remove(decided.key.as_str())?;
                        let bucket = bucket(&decided.key);
                        let absence = emptied.entry(bucket).or_insert(before[bucket]);
                        absence.version = decided.version;
                        absence.floor = absence.floor.max(*floor);
                    }
                }
            }
            let mut absences = transaction.open_table(ABSENCES)?;
            for (bucket, absence) in emptied {
                absences.insert(bucket as u16, (absence.version.0, absence.floor))?;
            }
            if let Some(last) = batch.last() {
                transaction.open_table(META)?.insert("last", last.version.0)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

enum Initialise {
    Redb(redb::Error),
    Newer(u64),
}

impl<E: Into<redb::Error>> From<E> for Initialise {
    fn from(error: E) -> Initialise {
        Initialise::Redb(error.into())
    }
}
