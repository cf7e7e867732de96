//! Short words for a store's calls, for the tests of backends.

use super::world;
use crate::{Content, Key, Record, Store, StoreError, Verdict, Version, Write};
use std::time::Duration;

/// How long something that has to come is waited for: nodes that were starved elect each other late.
pub const LOST_AFTER: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// The key of this text, which is short enough.
pub fn key(text: &str) -> Key {
    Key::new(text).expect("a short key")
}

/// A write of a value.
pub fn put(name: &str, expected: Version, value: impl AsRef<[u8]>) -> Write {
    world::put(&key(name), expected, value)
}

/// A deletion.
pub fn delete(name: &str, expected: Version, floor: u64) -> Write {
    world::delete(&key(name), expected, floor)
}

/// The write, if this record has this version.
pub fn guarded(write: Write, name: &str, version: Version) -> Write {
    world::guarded(write, &key(name), version)
}

/// Commits one write.
pub async fn commit(store: &dyn Store, write: Write) -> Result<Verdict, StoreError> {
    let mut answers = store.commit(vec![write]).await;
    assert_eq!(answers.len(), 1, "one write, one verdict");
    answers.remove(0)
}

/// The new version of what must have been committed.
pub fn committed(answer: Result<Verdict, StoreError>) -> Version {
    world::committed(answer.expect("a verdict"))
}

/// Writes over whatever is there; returns the new version.
pub async fn overwrite(store: &dyn Store, name: &str, value: &str) -> Version {
    let expected = store.get(&key(name)).await.expect("a read").version;
    committed(commit(store, put(name, expected, value)).await)
}

/// The value that is there, as text.
pub async fn value(store: &dyn Store, name: &str) -> Option<String> {
    let record = store.get(&key(name)).await.expect("a read");
    record.value().map(|value| String::from_utf8(value.to_vec()).expect("text"))
}

/// Reads until the store answers.
pub async fn get_at_last(store: &dyn Store, name: &str) -> Record {
    let reading = async {
        loop {
            match store.get(&key(name)).await {
                Ok(record) => return record,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::time::timeout(LOST_AFTER, reading).await.expect("the store does not answer")
}

/// Writes over whatever is there, as the engine does: what is unknown is read, and sent again if it was not done.
pub async fn put_at_last(store: &dyn Store, name: &str, value: &str) -> Version {
    let writing = async {
        loop {
            let Record { version, content } = get_at_last(store, name).await;
            if matches!(&content, Content::Present(found) if found == value.as_bytes()) {
                return version;
            }
            match commit(store, put(name, version, value)).await {
                Ok(Verdict::Committed { version }) => return version,
                Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::time::timeout(LOST_AFTER, writing).await.expect("the store takes no write")
}
