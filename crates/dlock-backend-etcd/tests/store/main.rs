//! The etcd backend against real etcd servers, alone and in clusters, healthy and hurt.
#![allow(clippy::unwrap_used)]

mod access;
mod conformance;
mod failover;
mod history;
mod outcomes;
mod startup;
mod watches;

use dlock_backend_etcd::{EtcdConfig, EtcdStore};
use dlock_store::{Change, Content, Guard, Key, Record, Store, StoreError, Verdict, Version, Write};
use std::time::Duration;

/// How long something that has to come is waited for: nodes that were starved elect each other late.
const LOST_AFTER: Duration = Duration::from_secs(60);

fn config(endpoints: &[String]) -> EtcdConfig {
    EtcdConfig { endpoints: endpoints.to_vec(), ..EtcdConfig::default() }
}

async fn connect(endpoints: &[String]) -> EtcdStore {
    EtcdStore::connect(&config(endpoints)).await.unwrap()
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn put(name: &str, expected: Version, value: impl Into<Vec<u8>>) -> Write {
    let change = Change::Put(value.into().into());
    Write { key: key(name), expected, change, guards: Default::default() }
}

fn guarded(mut write: Write, name: &str, version: Version) -> Write {
    write.guards.push(Guard { key: key(name), version });
    write
}

async fn commit(store: &EtcdStore, write: Write) -> Result<Verdict, StoreError> {
    store.commit(vec![write]).await.remove(0)
}

/// Writes over whatever is there, as the engine does: what is unknown is read, and sent again if it was not done.
async fn put_at_last(store: &EtcdStore, name: &str, value: &str) -> Version {
    let writing = async {
        loop {
            if let Ok(Record { version, content }) = store.get(&key(name)).await {
                if matches!(&content, Content::Present(found) if found == value.as_bytes()) {
                    return version;
                }
                if let Ok(Verdict::Committed { version }) = commit(store, put(name, version, value)).await {
                    return version;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LOST_AFTER, writing).await.expect("the store takes no write")
}
