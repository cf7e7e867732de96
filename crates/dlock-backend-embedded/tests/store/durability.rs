//! What was acknowledged survives `kill -9` and power cuts.

use bytes::Bytes;
use dlock_backend_embedded::EmbeddedStore;
use dlock_store::{Change, Key, Store, Verdict, Write};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::StorageBackend;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

const CHILD: &str = "DLOCK_TEST_WRITER_DIRECTORY";

fn key(number: u64) -> Key {
    Key::new(&format!("key {}", number % 16)).unwrap()
}

/// Writes one number after the other, two records each, until it is stopped; tells each that was acknowledged.
async fn write_for_ever(store: &EmbeddedStore, mut told: impl FnMut(u64) -> bool) {
    let first = match store.get(&Key::new("pair").unwrap()).await.unwrap().value() {
        Some(_) => 1 + highest(store).await,
        None => 0,
    };
    for number in first.. {
        let pair = Key::new("pair").unwrap();
        let mut writes = Vec::new();
        for key in [key(number), pair] {
            let expected = store.get(&key).await.unwrap().version;
            let change = Change::Put(Bytes::copy_from_slice(&number.to_be_bytes()));
            writes.push(Write { key, expected, change, guards: Default::default() });
        }
        let answers = store.commit(writes).await;
        let all = answers.iter().all(|answer| matches!(answer, Ok(Verdict::Committed { .. })));
        if !all || !told(number) {
            return;
        }
    }
}

fn number(value: &Bytes) -> u64 {
    u64::from_be_bytes(value.as_ref().try_into().unwrap())
}

async fn highest(store: &EmbeddedStore) -> u64 {
    let mut highest = 0;
    for number_of_key in 0..16 {
        if let Some(value) = store.get(&key(number_of_key)).await.unwrap().value() {
            highest = highest.max(number(value));
        }
    }
    highest
}

/// The last acknowledged number is there, and its transaction is whole.
async fn check(store: &EmbeddedStore, acknowledged: Option<u64>) {
    let Some(acknowledged) = acknowledged else { return };
    let record = store.get(&key(acknowledged)).await.unwrap();
    let found = number(record.value().expect("an acknowledged write is gone"));
    assert!(found >= acknowledged, "{acknowledged} was acknowledged, and {found} is there");
    let pair = store.get(&Key::new("pair").unwrap()).await.unwrap();
    assert_eq!(number(pair.value().unwrap()), highest(store).await, "half a transaction");
}

/// Not a test of its own: what the next one starts as another process.
#[tokio::test]
async fn child_that_writes() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let store = EmbeddedStore::open(Path::new(&directory)).unwrap();
    write_for_ever(&store, |number| {
        println!("acknowledged {number}");
        true
    })
    .await;
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "durability::child_that_writes", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stop_after = random.random_range(1..120);
        let mut acknowledged = None;
        let mut count = 0;
        for line in lines {
            let line = line.unwrap();
            if let Some(number) = line.strip_prefix("acknowledged ") {
                acknowledged = Some(number.parse().unwrap());
                count += 1;
            }
            if count == stop_after {
                child.kill().unwrap(); // SIGKILL; what it wrote to the pipe until then is still read
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.is_some(), "the child acknowledged nothing");
        let store = EmbeddedStore::open(directory.path()).unwrap();
        check(&store, acknowledged).await;
    }
}

/// A disk whose power can be cut: what was not synced by then is there in part, torn, or not at all.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
struct DiskState {
    synced: Vec<u8>,
    current: Vec<u8>,
    /// Ranges written since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
    length_changed: bool,
    /// How many more calls that write are served before the power is cut.
    fuse: Option<u32>,
}

impl DiskState {
    fn burn(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => Err(io::Error::other("the power is cut")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Disk {
    /// The power comes back: unsynced writes are each there, torn or lost, at random, in any order.
    fn power_cycle(&self, random: &mut StdRng) {
        let mut state = self.0.lock().unwrap();
        let mut survived = state.synced.clone();
        if state.length_changed && random.random() {
            survived.resize(state.current.len(), 0);
        }
        for (at, bytes) in std::mem::take(&mut state.unsynced) {
            let kept = match random.random_range(0..3) {
                0 => 0,
                1 => bytes.len(),
                _ => random.random_range(0..=bytes.len()) / 512 * 512,
            };
            let end = (at + kept).min(survived.len());
            if at < end {
                survived[at..end].copy_from_slice(&bytes[..end - at]);
            }
        }
        *state = DiskState { synced: survived.clone(), current: survived, ..DiskState::default() };
    }

    fn set_fuse(&self, fuse: Option<u32>) {
        self.0.lock().unwrap().fuse = fuse;
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let at = offset as usize;
        let bytes = state.current.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.burn()?;
        state.current.resize(length as usize, 0);
        state.length_changed = true;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.burn()?;
        state.synced = state.current.clone();
        state.unsynced.clear();
        state.length_changed = false;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.burn()?;
        let at = offset as usize;
        state.current[at..at + data.len()].copy_from_slice(data);
        state.unsynced.push((at, data.to_vec()));
        Ok(())
    }
}

#[tokio::test]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let cuts: u64 = std::env::var("DLOCK_TEST_POWER_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    for seed in 0..cuts {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = Disk::default();
        let mut acknowledged = None;
        for _ in 0..3 {
            {
                let store = EmbeddedStore::open_with_backend(disk.clone())
                    .unwrap_or_else(|error| panic!("seed {seed}: not opened after a cut: {error}"));
                check(&store, acknowledged).await;
                disk.set_fuse(Some(random.random_range(0..60)));
                write_for_ever(&store, |number| {
                    acknowledged = Some(number);
                    true
                })
                .await;
                disk.set_fuse(Some(0)); // closing writes nothing any more either
            }
            disk.power_cycle(&mut random);
        }
    }
}
