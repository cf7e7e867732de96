//! Behind Sentinel.

use crate::world::*;
use dlock_store::{Scope, Store, StoreError, Verdict, WatchEvent};
use dlock_test_stores::RedisSentinels;
use futures::StreamExt;
use std::time::Duration;

fn at(redis: &RedisSentinels) -> String {
    format!(
        "mode = \"sentinel\"\naddrs = {:?}\ntimeout = \"1s\"\n[sentinel]\nmaster = \"{}\"",
        redis.addresses(),
        redis.master_name()
    )
}

/// What one start of all the servers is used for, one after the other: they take seconds to agree.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_contract_is_kept_behind_sentinel() {
    let redis = RedisSentinels::start();
    let toml = at(&redis);
    conformance(handles(redis, &toml).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed_with_growing_versions_and_a_resynchronisation() {
    let mut redis = RedisSentinels::start();
    let store = open(&format!("replicas = 1\n{}", at(&redis))).await;
    let caveats = store.info().caveats.join("\n");
    assert!(caveats.contains("min-replicas-to-write"), "{caveats}");
    let kept = overwrite(&store, "w/kept", "before").await;
    let mut watch = store.watch(Scope::Prefix("w/".to_owned())).await.unwrap();
    let old = redis.master().address();
    redis.master().process().kill();
    let mut last = None;
    eventually("a write after the failover", async || {
        match commit(&store, put("w/kept", kept, "after")).await {
            Ok(Verdict::Committed { version }) => last = Some(version),
            // A write of unknown outcome was done by the master that came.
            Ok(Verdict::Conflict { current: None }) => {
                last = Some(store.get(&key("w/kept")).await.unwrap().version)
            }
            Err(StoreError::Unavailable { .. } | StoreError::Ambiguous { .. }) => {}
            other => panic!("{other:?}"),
        }
        last.is_some()
    })
    .await;
    assert!(last > Some(kept), "{last:?} after {kept:?}");
    assert_eq!(value(&store, "w/kept").await.as_deref(), Some("after"));
    assert_ne!(redis.master().address(), old);
    loop {
        match tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("no resynchronisation")
        {
            Some(WatchEvent::Resync | WatchEvent::WentBack) => break,
            Some(WatchEvent::Changed { .. }) => {}
            None => panic!("the watch has ended"),
        }
    }
    // Its successor has one replica left.
    eventually("no complaint", async || store.health().await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_enough_replicas_a_write_is_of_unknown_outcome_and_a_read_says_nothing() {
    let mut redis = RedisSentinels::start();
    let toml = at(&redis);
    let store = open(&format!("replicas = 2\n{toml}")).await;
    let version = overwrite(&store, "a", "one").await;
    let master = redis.master().address();
    for node in redis.nodes() {
        if node.address() != master {
            node.process().pause();
        }
    }
    let answer = commit(&store, put("a", version, "two")).await;
    assert!(matches!(answer, Err(StoreError::Ambiguous { .. })), "{answer:?}");
    let answer = store.get(&key("a")).await;
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
    for node in redis.nodes() {
        if node.address() != master {
            node.process().resume();
        }
    }
    eventually("the write on all replicas", async || {
        store
            .get(&key("a"))
            .await
            .is_ok_and(|record| record.value().is_some_and(|value| &value[..] == b"two"))
    })
    .await;
}
