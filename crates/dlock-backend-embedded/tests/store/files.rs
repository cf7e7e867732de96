//! The files on the disk: how long they become, and what is said of those that are damaged.

use bytes::Bytes;
use dlock_backend_embedded::disk::Disk;
use dlock_backend_embedded::simulated::SimulatedDisk;
use dlock_backend_embedded::{EmbeddedStore, OpenError, Upkeep};
use dlock_store::{Change, Key, Store, Verdict, Write};
use futures::executor::block_on;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

const LOG_BYTES: u64 = 64 << 10;
const VALUE_BYTES: usize = 300;
const KEYS: u64 = 10;

fn open(disk: &SimulatedDisk) -> Result<EmbeddedStore, OpenError> {
    let upkeep = Upkeep { log_bytes: LOG_BYTES, snapshots_beside: false, ..Upkeep::default() };
    EmbeddedStore::open_on(Arc::new(disk.clone()), Path::new("disk"), upkeep)
}

/// Writes so many times.
fn write(store: &EmbeddedStore, count: u64) {
    for number in 0..count {
        let key = Key::new(&format!("key {}", number % KEYS)).unwrap();
        let expected = block_on(store.get(&key)).unwrap().version;
        let change = Change::Put(vec![number as u8; VALUE_BYTES].into());
        let answers =
            block_on(store.commit(vec![Write { key, expected, change, guards: Default::default() }]));
        assert!(matches!(answers[..], [Ok(Verdict::Committed { .. })]), "{answers:?}");
    }
}

/// A disk on which there was so much written.
fn disk(count: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    write(&open(&disk).unwrap(), count);
    disk
}

fn bytes(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    disk.read(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_log_stays_short_and_so_does_the_start() {
    let disk = SimulatedDisk::default();
    let store = open(&disk).unwrap();
    for _ in 0..20 {
        write(&store, 100);
        let names = disk.names().unwrap();
        let all: u64 = names.iter().map(|name| bytes(&disk, name).len() as u64).sum();
        assert!(all <= 2 * LOG_BYTES, "{all} bytes in {names:?}");
    }
    assert!(disk.names().unwrap().iter().any(|name| name.starts_with("snapshot-")));
}

/// What is wrong, by the file that is said to be.
fn refused(disk: &SimulatedDisk) -> String {
    match open(disk).err() {
        Some(error @ OpenError::Corrupt { .. }) => {
            assert!(error.to_string().contains("restore the data directory from a copy"), "{error}");
            let OpenError::Corrupt { file, .. } = error else { unreachable!() };
            file.file_name().unwrap().to_string_lossy().into_owned()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn damage_is_refused_by_name() {
    // Some segments, and no snapshot.
    let segments = ["log-0000000001", "log-0000000002", "log-0000000003"];
    let written = || {
        let disk = disk(120);
        assert_eq!(disk.names().unwrap(), segments);
        disk
    };
    for name in segments {
        for at in [20, 60, 4000] {
            let disk = written();
            disk.damage(name, at);
            assert_eq!(refused(&disk), name, "byte {at}");
        }
    }
    for missing in &segments[..2] {
        let disk = written();
        disk.remove(missing).unwrap();
        assert_eq!(refused(&disk), *missing);
    }
}

#[test]
fn a_damaged_snapshot_is_refused_by_name_and_so_is_one_without_its_log() {
    let written = || {
        let disk = disk(400);
        let names = disk.names().unwrap();
        let snapshot = names.iter().find(|name| name.starts_with("snapshot-")).unwrap().clone();
        (disk, snapshot)
    };
    let length = bytes(&written().0, &written().1).len();
    for at in [20, 60, length - 1] {
        let (disk, snapshot) = written();
        disk.damage(&snapshot, at);
        assert_eq!(refused(&disk), snapshot, "byte {at}");
    }
    let (disk, snapshot) = written();
    disk.remove(&snapshot).unwrap();
    assert_eq!(refused(&disk), "log-0000000001");
}

#[test]
fn only_the_last_batch_may_be_torn() {
    let disk = disk(10);
    let log = "log-0000000001";
    let written = bytes(&disk, log);
    let end = written.iter().rposition(|byte| *byte != 0).unwrap();
    disk.damage(log, end);
    let store = open(&disk).unwrap();
    let last = block_on(store.get(&Key::new("key 9").unwrap())).unwrap();
    assert_eq!(last.value(), None, "it was not whole");
    let one_before = block_on(store.get(&Key::new("key 8").unwrap())).unwrap();
    assert_eq!(one_before.value().map(Bytes::len), Some(VALUE_BYTES));
    drop(store);
    assert!(bytes(&disk, log).len() < end, "what was torn is gone");
}
