//! A disk in memory whose power can be cut, which can be full, and which can fail to sync: for tests.
//!
//! It does to what was not synced all that a real disk might: at a cut, each write is there, or not, or torn, or garbage, in
//! any order, and so is each name that was given or taken since the names were synced. What a failed sync should have
//! written is never made durable by a later one, though it is read as if it were.
//!
//! The same calls with the same seed do the same each time.

use crate::disk::{Disk, DiskFile};
use crate::frame;
use foldhash::fast::FixedState;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::io::{self, Cursor, ErrorKind, Read};
use std::sync::Arc;

/// What the disk's errors say after the power was cut.
pub const CUT: &str = "the power is cut";

/// What a disk writes as a whole, or not, in bytes.
const SECTOR: usize = 512;
/// Of the room of an empty disk, in bytes.
const ROOM: u64 = 1 << 30;

/// A change of a file's content.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Change::Length(length) => content.resize(*length, 0),
        }
    }

    /// What is left of it after a cut.
    fn survivors(self, random: &mut StdRng) -> Vec<Change> {
        let Change::Write { offset, bytes } = self else {
            return if random.random() { vec![self] } else { Vec::new() };
        };
        match random.random_range(0..5) {
            0 => Vec::new(),
            1 => vec![Change::Write { offset, bytes }],
            2 => {
                let kept = random.random_range(0..=bytes.len());
                vec![Change::Write { offset, bytes: bytes[..kept].to_vec() }]
            }
            fate => sectors(offset, &bytes)
                .filter_map(|(offset, sector)| {
                    let garbled = fate == 4 && random.random_range(0..4) == 0;
                    let kept = random.random();
                    let mut bytes = sector.to_vec();
                    if garbled {
                        random.fill_bytes(&mut bytes);
                    }
                    (garbled || kept).then_some(Change::Write { offset, bytes })
                })
                .collect(),
        }
    }
}

/// The parts of a write that fall into one sector each.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR - offset % SECTOR).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let rest = rest.chunks(SECTOR).enumerate().map(move |(n, part)| (offset + first + n * SECTOR, part));
    std::iter::once((offset, head)).chain(rest)
}

#[derive(Debug, Default)]
struct Content {
    /// What is there for sure.
    durable: Vec<u8>,
    /// What is read.
    current: Vec<u8>,
    unsynced: Vec<Change>,
    /// What a failed sync has left behind: no other sync makes it durable.
    forgotten: Vec<Change>,
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        std::mem::take(&mut self.unsynced).iter().for_each(|change| change.apply(&mut self.durable));
    }

    fn lose_power(&mut self, random: &mut StdRng) {
        let mut changes = std::mem::take(&mut self.forgotten);
        changes.append(&mut self.unsynced);
        if random.random() {
            changes.shuffle(random);
        }
        for change in changes.into_iter().flat_map(|change| change.survivors(random)) {
            change.apply(&mut self.durable);
        }
        self.current = self.durable.clone();
    }
}

/// A change of the names.
#[derive(Clone, Debug)]
enum NameChange {
    Given { name: String, file: usize },
    Moved { from: String, to: String, file: usize },
    Taken { name: String },
}

type Names = BTreeMap<String, usize>;

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Given { name, file } => {
                names.insert(name.clone(), *file);
            }
            NameChange::Moved { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            NameChange::Taken { name } => {
                names.remove(name);
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    durable_names: Names,
    names: Names,
    unsynced_names: Vec<NameChange>,
    /// How many more calls that change something are served before the power is cut.
    fuse: Option<u64>,
    /// How many more calls that take room find none.
    full: u32,
    /// How many more syncs of files succeed before one fails.
    failing_sync: Option<u32>,
    /// How many calls have changed something.
    calls: u64,
}

impl State {
    /// Whether the power is there before and after this call; else it may have been carried out, or in part.
    fn burn(&mut self) -> io::Result<()> {
        self.calls += u64::from(!self.is_cut());
        match &mut self.fuse {
            Some(0) => Err(cut()),
            Some(left) => {
                *left -= 1;
                if *left == 0 { Err(cut()) } else { Ok(()) }
            }
            None => Ok(()),
        }
    }

    fn is_cut(&self) -> bool {
        self.fuse == Some(0)
    }

    fn take_room(&mut self) -> io::Result<()> {
        if self.full == 0 {
            return Ok(());
        }
        self.full -= 1;
        Err(ErrorKind::StorageFull.into())
    }

    fn rename(&mut self, change: NameChange) -> io::Result<()> {
        if self.is_cut() {
            return Err(cut());
        }
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
        self.burn()
    }

    fn change(&mut self, file: usize, change: Change) -> io::Result<()> {
        if self.is_cut() {
            return Err(cut());
        }
        self.files[file].change(change);
        self.burn()
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

fn cut() -> io::Error {
    io::Error::other(CUT)
}

/// A disk in memory. Clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

impl SimulatedDisk {
    /// Cuts the power after so many calls that change something.
    pub fn cut_after(&self, calls: u64) {
        self.0.lock().fuse = Some(calls);
    }

    /// Whether the power is cut.
    pub fn is_cut(&self) -> bool {
        self.0.lock().is_cut()
    }

    /// How many calls have changed something.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Has no room the next times that some is asked for.
    pub fn fill(&self, times: u32) {
        self.0.lock().full = times;
    }

    /// Lets one sync of a file fail, after so many that succeed.
    pub fn fail_sync_after(&self, syncs: u32) {
        self.0.lock().failing_sync = Some(syncs);
    }

    /// The process is gone and another one comes, while the machine stays up: everything that was written is read.
    pub fn restart_process(&self) {
        let mut state = self.0.lock();
        (state.fuse, state.full, state.failing_sync) = (None, 0, None);
    }

    /// The power is gone and comes back: what was not synced is there, lost or torn, at random.
    pub fn cycle_power(&self, random: &mut StdRng) {
        self.restart_process();
        let mut state = self.0.lock();
        let state = &mut *state;
        for change in std::mem::take(&mut state.unsynced_names) {
            if random.random() {
                change.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
        state.files.iter_mut().for_each(|file| file.lose_power(random));
    }

    /// Flips a bit of a file, durably.
    pub fn damage(&self, name: &str, byte: usize) {
        let mut state = self.0.lock();
        if let Ok(file) = state.find(name) {
            let Content { durable, current, .. } = &mut state.files[file];
            for content in [durable, current] {
                if let Some(byte) = content.get_mut(byte) {
                    *byte ^= 1;
                }
            }
        }
    }
}

impl Disk for SimulatedDisk {
    /// The same in each run: whether what is left of a torn write is whole depends on the file's number, if seldom.
    fn nonce(&self) -> u64 {
        // Not how often it was asked for: how often a mending is tried is up to the time.
        FixedState::default().hash_one(self.0.lock().calls)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        if state.is_cut() {
            // Nothing is left behind by it: how often a mending is tried is up to the time.
            return Err(cut());
        }
        state.take_room()?;
        let file = match state.find(name) {
            Ok(file) => {
                state.change(file, Change::Length(0))?;
                file
            }
            Err(_) => {
                let file = state.files.len();
                state.files.push(Content::default());
                state.rename(NameChange::Given { name: name.to_owned(), file })?;
                file
            }
        };
        Ok(Box::new(SimulatedFile { disk: self.clone(), file }))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let state = self.0.lock();
        let file = state.find(name)?;
        Ok(Box::new(Cursor::new(state.files[file].current.clone())))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        let file = state.find(from)?;
        state.rename(NameChange::Moved { from: from.to_owned(), to: to.to_owned(), file })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.find(name)?;
        state.rename(NameChange::Taken { name: name.to_owned() })
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.burn()?;
        let state = &mut *state;
        let changes = std::mem::take(&mut state.unsynced_names);
        changes.iter().for_each(|change| change.apply(&mut state.durable_names));
        Ok(())
    }

    fn room(&self) -> io::Result<u64> {
        Ok(if self.0.lock().full > 0 { 0 } else { ROOM })
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
}

impl DiskFile for SimulatedFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let room = state.take_room();
        let written = if room.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        state.change(self.file, Change::Write { offset: offset as usize, bytes: written.to_vec() })?;
        room
    }

    fn reserve(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.take_room()?;
        if state.files[self.file].current.len() >= length as usize {
            return Ok(());
        }
        state.change(self.file, Change::Length(length as usize))
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.disk.0.lock().change(self.file, Change::Length(length as usize))
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.burn()?;
        match &mut state.failing_sync {
            Some(0) => {
                state.failing_sync = None;
                let content = &mut state.files[self.file];
                content.forgotten.append(&mut content.unsynced);
                return Err(io::Error::other("the sync failed"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        state.files[self.file].sync();
        Ok(())
    }
}

/// Gives each frame of a file the checksum that it should have: whoever reads that checks nothing.
pub fn forge(file: &mut [u8]) {
    frame::forge(file);
}
