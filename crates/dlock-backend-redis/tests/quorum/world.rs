//! Nodes, handles onto a quorum of them, and short words for its calls.

use dlock_backend_redis::{OpenError, QuorumStore, RedisConfig, Settings};
use dlock_store::{Change, Key, Store, StoreError, Verdict, Version, Write};
use dlock_test_stores::RedisQuorum;
use std::sync::Arc;
use std::time::Duration;

/// The settings of a quorum of these nodes.
pub(crate) fn settings(addresses: &[String], timeout: &str) -> Settings {
    let config = RedisConfig {
        mode: Some("quorum".to_owned()),
        addrs: Some(addresses.to_vec()),
        timeout: Some(timeout.to_owned()),
        ..RedisConfig::default()
    };
    Settings::try_from(&config).unwrap()
}

pub(crate) async fn try_open(quorum: &RedisQuorum) -> Result<QuorumStore, OpenError> {
    QuorumStore::open(&settings(&quorum.addresses(), "2s")).await
}

pub(crate) async fn open(quorum: &RedisQuorum) -> Arc<QuorumStore> {
    Arc::new(try_open(quorum).await.unwrap())
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(crate) fn put(name: &str, expected: Version, value: &str) -> Write {
    let change = Change::Put(value.to_owned().into_bytes().into());
    Write { key: key(name), expected, change, guards: Default::default() }
}

pub(crate) fn delete(name: &str, expected: Version, floor: u64) -> Write {
    Write { key: key(name), expected, change: Change::Delete { floor }, guards: Default::default() }
}

pub(crate) async fn write(store: &QuorumStore, write: Write) -> Result<Verdict, StoreError> {
    store.commit(vec![write]).await.remove(0)
}

pub(crate) fn committed(answer: Result<Verdict, StoreError>) -> Version {
    match answer {
        Ok(Verdict::Committed { version }) => version,
        other => panic!("not committed: {other:?}"),
    }
}

/// Writes over whatever is there.
pub(crate) async fn overwrite(store: &QuorumStore, name: &str, value: &str) -> Version {
    let expected = store.get(&key(name)).await.unwrap().version;
    committed(write(store, put(name, expected, value)).await)
}

/// The value that is there.
pub(crate) async fn value(store: &QuorumStore, name: &str) -> Option<String> {
    let record = store.get(&key(name)).await.unwrap();
    record.value().map(|value| String::from_utf8(value.to_vec()).unwrap())
}

/// The codes of what is wrong, in order.
pub(crate) async fn codes(store: &QuorumStore) -> Vec<&'static str> {
    let mut codes: Vec<_> = store.health().await.iter().map(|condition| condition.code).collect();
    codes.sort_unstable();
    codes
}

/// Waits until these are the codes of what is wrong.
pub(crate) async fn until_codes(store: &QuorumStore, wanted: &[&str]) {
    for _ in 0..600 {
        if codes(store).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("after half a minute: {:?}, not {wanted:?}", store.health().await);
}
