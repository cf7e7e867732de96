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

async fn connect_owned(url: String) -> NatsStore {
    connect(&url).await
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
                WatchEvent::WentBack => panic!("nothing was lost"),
            }
        }
    };
    tokio::time::timeout(LOST_AFTER, telling).await.expect("an event was lost");
}

/// Waits until it is said that something acknowledged is gone.
async fn told_of_a_loss(watch: &mut Watch) {
    let telling = async { while watch.next().await.unwrap() != WatchEvent::WentBack {} };
    tokio::time::timeout(LOST_AFTER, telling).await.expect("a watch has to say that something is gone");
}
