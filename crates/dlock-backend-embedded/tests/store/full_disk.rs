//! A disk that is full for a while.

use dlock_backend_embedded::EmbeddedStore;
use dlock_store::{Change, Key, Store, StoreError, Verdict, Version, Write};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(60);
const VALUE_BYTES: usize = 64 << 10;

/// A small file system of its own.
struct Disk(PathBuf);

impl Disk {
    /// None where this process may not mount.
    fn mount(path: &Path) -> Option<Disk> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(path).status();
        mounted.is_ok_and(|status| status.success()).then(|| Disk(path.to_owned()))
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        for size in [1 << 16, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn key(number: usize) -> Key {
    Key::new(&format!("key {number}")).unwrap()
}

async fn put(store: &EmbeddedStore, number: usize) -> Result<Version, StoreError> {
    let expected = store.get(&key(number)).await?.version;
    let change = Change::Put(vec![number as u8; VALUE_BYTES].into());
    let write = Write { key: key(number), expected, change, guards: Default::default() };
    match store.commit(vec![write]).await.remove(0)? {
        Verdict::Committed { version } => Ok(version),
        other => panic!("nobody else writes: {other:?}"),
    }
}

/// Everything acknowledged is there with its version, and nothing else.
async fn check(store: &EmbeddedStore, acknowledged: &[Version]) {
    for (number, version) in acknowledged.iter().enumerate() {
        let record = store.get(&key(number)).await.unwrap();
        assert_eq!(record.version, *version, "key {number}");
        assert_eq!(record.value().map(|value| value.len()), Some(VALUE_BYTES), "key {number}");
    }
    assert_eq!(store.get(&key(acknowledged.len())).await.unwrap().value(), None);
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_served_again_when_there_is_room() {
    let mount_point = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(mount_point.path()) else {
        println!("not tested: a file system of its own needs the right to mount");
        return;
    };
    let data = mount_point.path().join("data");
    let store = EmbeddedStore::open(&data).unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..2 {
        for _ in 0..8 {
            acknowledged.push(put(&store, acknowledged.len()).await.unwrap());
        }
        disk.fill();
        let failure = loop {
            match put(&store, acknowledged.len()).await {
                Ok(version) => acknowledged.push(version),
                Err(failure) => break failure,
            }
        };
        assert!(matches!(failure, StoreError::Full { .. } | StoreError::Ambiguous { .. }), "{failure:?}");
        let health = store.health().await;
        assert_eq!(health.iter().map(|condition| condition.code).collect::<Vec<_>>(), ["NOSPACE"]);
        assert!(health[0].message.contains("make room"), "{}", health[0].message);
        // It is tried again, in vain, without a trace.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let refused = store.get(&key(0)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
        let refused = put(&store, 0).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
        disk.empty();
        let served = async {
            while store.get(&key(0)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, served).await.expect("service again");
        assert!(store.health().await.is_empty());
        check(&store, &acknowledged).await;
        let version = put(&store, acknowledged.len()).await.unwrap();
        assert!(acknowledged.iter().all(|before| *before < version), "versions only grow");
        acknowledged.push(version);
    }
    drop(store);
    let store = EmbeddedStore::open(&data).unwrap();
    check(&store, &acknowledged).await;
    let files: Vec<String> = std::fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let whole =
        |name: &str| name == "dlock.lock" || name.starts_with("log-") || name.starts_with("snapshot-");
    assert!(files.iter().all(|name| whole(name) && !name.ends_with(".new")), "{files:?}");
}
