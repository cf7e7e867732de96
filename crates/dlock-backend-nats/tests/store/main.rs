//! The NATS backend against real NATS servers, alone and in clusters, healthy and hurt.
#![allow(clippy::unwrap_used)]

mod access;
mod conformance;
mod failover;
mod outcomes;
mod startup;
mod users;

use dlock_backend_nats::{NatsConfig, NatsStore};
use dlock_store::conformance::calls::*;
use dlock_store::{
    Change, Content, Record, Scope, Store, StoreError, Verdict, Version, Watch, WatchEvent, Write,
};
use futures::StreamExt;
use std::time::Duration;

fn config(url: &str) -> NatsConfig {
    NatsConfig { endpoint: Some(url.to_owned()), ..NatsConfig::default() }
}

async fn connect(url: &str) -> NatsStore {
    NatsStore::connect(&config(url)).await.unwrap()
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
