//! The data directory: made if there is none, and locked for one process.

use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file that whoever has the directory open holds locked. It stays when it is unlocked.
const LOCK: &str = "dlock.lock";
/// Where the first releases kept everything, in a redb database.
const FORMER: &str = "dlock.redb";
/// How many zeros are written at a time where the file system can't take room in advance.
const ZEROS: usize = 64 << 10;

/// A data directory that belongs to this process for as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    lock: File,
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        // Closing is not enough: a process that was forked a moment ago and has yet to start its program has the file, too.
        // Should this fail, it is closed all the same.
        let _closed_in_any_case = self.lock.unlock();
    }
}

impl DataDirectory {
    pub(crate) fn open(path: &Path) -> Result<DataDirectory, OpenError> {
        let failed = |error| OpenError::from_io(path, error);
        if path.exists() && !path.is_dir() {
            return Err(OpenError::NotADirectory { path: path.to_owned() });
        }
        make(path).map_err(failed)?;
        let lock = private_file().truncate(false).open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { directory: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if path.join(FORMER).try_exists().map_err(failed)? {
            return Err(OpenError::Former { file: path.join(FORMER) });
        }
        Ok(DataDirectory { path: path.to_owned(), lock })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Disk for DataDirectory {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(private_file().truncate(true).open(self.file(name))?))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.file(name))?))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().into_string().ok());
        fs::read_dir(&self.path)?.filter_map(|entry| name(entry).transpose()).collect()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file(from), self.file(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync(&self.path)
    }

    fn room(&self) -> io::Result<u64> {
        let status = statvfs(&self.path)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

impl DiskFile for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn reserve(&mut self, length: u64) -> io::Result<()> {
        match fallocate(&*self, FallocateFlags::empty(), 0, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(self, length),
            other => Ok(other?),
        }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Takes room by writing it: only for a file that is new.
fn write_zeros(file: &File, length: u64) -> io::Result<()> {
    let zeros = [0; ZEROS];
    for offset in (0..length).step_by(ZEROS) {
        let count = (length - offset).min(ZEROS as u64) as usize;
        file.write_all_at(&zeros[..count], offset)?;
    }
    Ok(())
}

/// Makes the directory and those above it, for this user alone; their names are on disk when this returns.
fn make(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        match made.parent() {
            Some(parent) if parent.as_os_str().is_empty() => sync(Path::new("."))?,
            Some(parent) => sync(parent)?,
            None => {}
        }
    }
    Ok(())
}

/// A file's own name is durable only with its directory.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_free_when_it_is_closed_even_if_a_fork_has_its_lock_still() {
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(parent.path()).unwrap();
        let forked = directory.lock.try_clone().unwrap();
        assert!(matches!(DataDirectory::open(parent.path()), Err(OpenError::InUse { .. })));
        drop(directory);
        DataDirectory::open(parent.path()).unwrap();
        drop(forked);
    }
}
