//! Where the durable form keeps its files: a data directory, or whatever a test puts in its place.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};

/// A flat directory of files that belongs to one store.
///
/// What is written is durable only after a sync: a file's content after [`DiskFile::sync`], and its name, or that it is
/// gone, after [`Disk::sync_names`]. Until then a power cut may leave any part of it.
pub trait Disk: Send + Sync + 'static {
    /// Any number, hardly ever the same one twice: what tells a new file's bytes from those that were there before it.
    fn nonce(&self) -> u64 {
        RandomState::new().hash_one(0)
    }

    /// Makes an empty file, in place of one that is there.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Reads a file from its beginning.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    /// The names of all files, in no particular order.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name, in place of one that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    fn sync_names(&self) -> io::Result<()>;

    /// How many bytes may still be written, about.
    fn room(&self) -> io::Result<u64>;
}

/// A file that is written.
pub trait DiskFile: Send {
    /// Writes all of it, or fails without having written its last byte.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Takes the room for a length in advance; what is not written of it reads as zeros. Fails if there is no room.
    fn reserve(&mut self, length: u64) -> io::Result<()>;

    /// Cuts off what is behind a length.
    fn cut(&mut self, length: u64) -> io::Result<()>;

    /// Makes all that was written durable. After a failure nothing is known of the file any more, and another sync that
    /// succeeds says nothing.
    fn sync(&mut self) -> io::Result<()>;
}
