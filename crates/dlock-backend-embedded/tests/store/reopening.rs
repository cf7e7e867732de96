//! A data directory that is closed and opened again.

use bytes::Bytes;
use dlock_backend_embedded::{EmbeddedStore, OpenError};
use dlock_store::{Change, Content, Key, Store, Value, Verdict, Version, Write};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

async fn write(store: &EmbeddedStore, name: &str, change: Change) -> Version {
    let expected = store.get(&key(name)).await.unwrap().version;
    let write = Write { key: key(name), expected, change, guards: Default::default() };
    match store.commit(vec![write]).await.remove(0).unwrap() {
        Verdict::Committed { version } => version,
        other => panic!("{other:?}"),
    }
}

async fn put(store: &EmbeddedStore, name: &str, value: &str) -> Version {
    write(store, name, Change::Put(value.as_bytes().to_vec().into())).await
}

#[tokio::test]
async fn everything_is_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let kept = put(&store, "kept", "value").await;
    put(&store, "gone", "value").await;
    let absence = write(&store, "gone", Change::Delete { floor: 42 }).await;
    drop(store);
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let record = store.get(&key("kept")).await.unwrap();
    assert_eq!((record.version, record.content), (kept, Content::Present(Bytes::from("value"))));
    let record = store.get(&key("gone")).await.unwrap();
    assert_eq!((record.version, record.content), (absence, Content::Absent { floor: 42 }));
}

#[tokio::test]
async fn no_version_is_used_twice_even_if_the_newest_record_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = Version(0);
    for _ in 0..3 {
        let store = EmbeddedStore::open(directory.path()).unwrap();
        for change in [Change::Put(Value::default()), Change::Delete { floor: 0 }] {
            let version = write(&store, "a", change).await;
            assert!(version > last);
            last = version;
        }
    }
}

#[tokio::test]
async fn a_directory_belongs_to_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let second = EmbeddedStore::open(directory.path()).err().unwrap();
    assert!(matches!(second, OpenError::InUse { .. }));
    assert!(second.to_string().contains(directory.path().to_str().unwrap()));
    put(&store, "a", "still served").await;
    drop(store);
    EmbeddedStore::open(directory.path()).unwrap();
}

#[test]
fn what_cannot_be_opened_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "text").unwrap();
    assert!(matches!(EmbeddedStore::open(&file), Err(OpenError::NotADirectory { .. })));
    assert!(matches!(EmbeddedStore::open(&file.join("below")), Err(OpenError::NotADirectory { .. })));
    let former = directory.path().join("former");
    std::fs::create_dir(&former).unwrap();
    std::fs::write(former.join("dlock.redb"), "the first releases' database").unwrap();
    let error = EmbeddedStore::open(&former).err().unwrap();
    assert!(matches!(error, OpenError::Former { .. }), "{error:?}");
    assert!(error.to_string().contains("dlock.redb") && error.to_string().contains("empty"), "{error}");
}

#[tokio::test]
async fn what_a_newer_release_has_written_is_left_to_it() {
    let directory = tempfile::tempdir().unwrap();
    put(&EmbeddedStore::open(directory.path()).unwrap(), "a", "value").await;
    let file = directory.path().join("log-0000000001");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8] = 2;
    std::fs::write(&file, bytes).unwrap();
    let error = EmbeddedStore::open(directory.path()).err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error:?}");
}

#[tokio::test]
async fn a_new_directory_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("deep").join("data");
    put(&EmbeddedStore::open(&directory).unwrap(), "a", "value").await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for file in std::fs::read_dir(&directory).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8, u8),
    Stale(u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0..6u8, any::<u8>()).prop_map(|(key, floor)| Step::Delete(key, floor)),
        2 => (0..6u8).prop_map(Step::Stale),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The store agrees with a plain map, however often it is closed in between.
    #[test]
    fn the_store_is_a_map(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut store = EmbeddedStore::open(directory.path()).unwrap();
            let mut model: BTreeMap<String, u8> = BTreeMap::new();
            let mut floors: BTreeMap<String, u64> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put(k, value) => {
                        write(&store, &k.to_string(), Change::Put(vec![value].into())).await;
                        model.insert(k.to_string(), value);
                    }
                    Step::Delete(k, floor) => {
                        let name = k.to_string();
                        write(&store, &name, Change::Delete { floor: u64::from(floor) }).await;
                        model.remove(&name);
                        let known = floors.entry(name).or_default();
                        *known = (*known).max(u64::from(floor));
                    }
                    Step::Stale(k) => {
                        let expected = Version(store.get(&key(&k.to_string())).await.unwrap().version.0 + 1000);
                        let change = Change::Put(Value::default());
                        let write = Write { key: key(&k.to_string()), expected, change, guards: Default::default() };
                        let verdict = store.commit(vec![write]).await.remove(0).unwrap();
                        prop_assert!(matches!(verdict, Verdict::Conflict { .. }), "a stale write got through");
                    }
                    Step::Reopen => {
                        drop(store);
                        store = EmbeddedStore::open(directory.path()).unwrap();
                    }
                }
                for k in 0..6u8 {
                    let name = k.to_string();
                    match store.get(&key(&name)).await.unwrap().content {
                        Content::Present(value) => prop_assert_eq!(model.get(&name), Some(&value[0])),
                        Content::Absent { floor } => {
                            prop_assert!(!model.contains_key(&name));
                            prop_assert!(floor >= floors.get(&name).copied().unwrap_or(0));
                        }
                    }
                }
            }
            Ok(())
        })?;
    }
}
