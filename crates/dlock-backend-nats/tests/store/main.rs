//! The NATS backend against real NATS servers, alone and in clusters, healthy and hurt.
#![allow(clippy::unwrap_used)]

mod access;
mod conformance;
mod failover;
mod outcomes;
mod startup;
mod users;

use dlock_backend_nats::{NatsConfig, NatsStore};
use dlock_store::{
    Change, Content, Key, Record, Scope, Store, StoreError, Verdict, Version, Watch, WatchEvent, Write,
};
use futures::StreamExt;
use std::time::Duration;

/// How long something that has to come is waited for.
const LOST_AFTER: Duration = Duration::from_secs(60);

fn config(url: &str) -> NatsConfig {
    NatsConfig { endpoint: Some(url.to_owned()), ..NatsConfig::default() }
}

async fn connect(url: &str) -> NatsStore {
    NatsStore::connect(&config(url)).await.unwrap()
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn put(name: &str, expected: Version, value: impl Into<Vec<u8>>) -> Write {
    let change = Change::Put(value.into().into());
    Write { key: key(name), expected, change, guards: Default::default() }
}

async fn commit(store: &NatsStore, write: Write) -> Result<Verdict, StoreError> {
    store.commit(vec![write]).await.remove(0)
}

/// Reads until the store answers.
async fn get_at_last(store: &NatsStore, name: &str) -> Record {
    let reading = async {
        loop {
            match store.get(&key(name)).await {
                Ok(record) => return record,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(LOST_AFTER, reading).await.expect("the store does not answer")
}

/// Writes over whatever is there, as the engine does: what is unknown is read, and sent again if it was not done.
async fn put_at_last(store: &NatsStore, name: &str, value: &str) -> Version {
    let writing = async {
        loop {
            let Record { version, content } = get_at_last(store, name).await;
            if matches!(&content, Content::Present(found) if found == value.as_bytes()) {
                return version;
            }
            match commit(store, put(name, version, value)).await {
                Ok(Verdict::Committed { version }) => return version,
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(LOST_AFTER, writing).await.expect("the store takes no write")
}

async fn watch(store: &NatsStore) -> Watch {
    store.watch(Scope::Prefix(String::new())).await.unwrap()
}

/// Waits for the event that tells this version of the record, or one after which it has to be read.
async fn told(watch: &mut Watch, name: &str, version: Version) {
    let telling = async {
        loop {
            match watch.next().await.expect("a watch does not end") {
                WatchEvent::Changed { key, record: Some(record) }
                    if key.as_str() == name && record.version == version =>
                {
                    return;
                }
                WatchEvent::Changed { .. } | WatchEvent::Resync => {}
            }
        }
    };
    tokio::time::timeout(LOST_AFTER, telling).await.expect("an event was lost");
}
