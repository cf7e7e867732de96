//! A cluster.

use crate::world::*;
use dlock_store::{Guard, Scope, Store, StoreError, Verdict, Version, WatchEvent};
use dlock_test_stores::RedisCluster;
use futures::StreamExt;
use std::time::Duration;

/// The slot of the keys with the hash tag `{0}`.
const SLOT_OF_TAG_0: u16 = 13_907;

fn at(redis: &RedisCluster) -> String {
    format!("mode = \"cluster\"\naddrs = {:?}\ntimeout = \"1s\"", redis.addresses())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_contract_is_kept_on_a_cluster() {
    let redis = RedisCluster::start();
    let toml = at(&redis);
    conformance(handles(redis, &toml).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_are_refused_and_listings_are_merged() {
    let redis = RedisCluster::start();
    let store = open(&at(&redis)).await;
    let mut guarded = put("a", Version(0), "one");
    guarded.guards.push(Guard { key: key("b"), version: Version(0) });
    assert!(matches!(commit(&store, guarded).await, Err(StoreError::Invalid { .. })));
    assert!(!store.capabilities().guards);
    let names: Vec<String> = (0..1500).map(|number| format!("n/{number:04}")).collect();
    let writes = names.iter().map(|name| put(name, Version(0), name)).collect();
    for answer in store.commit(writes).await {
        committed(answer);
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.list("n/", after.as_ref(), 400).await.unwrap();
        found.extend(page.records.iter().map(|(key, _)| key.as_str().to_owned()));
        after = page.records.last().map(|(key, _)| key.clone());
        if !page.more {
            break;
        }
    }
    assert_eq!(found, names);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_takes_its_records_along() {
    let redis = RedisCluster::start();
    let store = open(&at(&redis)).await;
    let mut watch = store.watch(Scope::Prefix(String::new())).await.unwrap();
    let names: Vec<String> = (0..300).map(|number| format!("n/{number}")).collect();
    let mut versions = Vec::new();
    for name in &names {
        versions.push(overwrite(&store, name, "before").await);
    }
    let from = redis.master_of(SLOT_OF_TAG_0, 0);
    let runtime = tokio::runtime::Handle::current();
    let half_way = || {
        tokio::task::block_in_place(|| {
            runtime.block_on(async {
                for (name, version) in names.iter().zip(&mut versions) {
                    // What is on its way is refused or served, but never served wrongly.
                    match commit(&store, put(name, *version, "meanwhile")).await {
                        Ok(Verdict::Committed { version: new }) => {
                            assert!(new > *version);
                            *version = new;
                        }
                        Err(StoreError::Unavailable { .. }) => {}
                        other => panic!("{other:?}"),
                    }
                }
            })
        });
    };
    redis.move_slot(SLOT_OF_TAG_0, (from + 1) % 3, half_way);
    for (name, version) in names.iter().zip(&versions) {
        let record = store.get(&key(name)).await.unwrap();
        assert_eq!(record.version, *version, "{name}");
        let new = committed(commit(&store, put(name, *version, "after")).await);
        assert!(new > *version);
    }
    let listed = store.list("n/", None, 1000).await.unwrap();
    assert_eq!(listed.records.len(), names.len());
    // Whoever watches hears of the changes at the slot's new home, or is told to read again.
    let last = key(&names[299]);
    loop {
        match tokio::time::timeout(Duration::from_secs(20), watch.next())
            .await
            .expect("a lost change")
            .unwrap()
        {
            WatchEvent::Changed { key, record: Some(record) }
                if key == last && record.value().is_some_and(|value| &value[..] == b"after") =>
            {
                break;
            }
            WatchEvent::Resync | WatchEvent::WentBack => break,
            WatchEvent::Changed { .. } => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_dies_is_replaced_and_versions_grow() {
    let mut redis = RedisCluster::start();
    let store = open(&at(&redis)).await;
    let other = open(&at(&redis)).await;
    let names: Vec<String> = (0..200).map(|number| format!("n/{number}")).collect();
    let mut versions = Vec::new();
    for name in &names {
        versions.push(overwrite(&store, name, "before").await);
    }
    let dead = redis.master_of(SLOT_OF_TAG_0, 0);
    redis.nodes()[dead].process().kill();
    for (name, old) in names.iter().zip(&versions) {
        eventually("a write", async || {
            let Ok(record) = store.get(&key(name)).await else { return false };
            assert!(
                record.version <= *old || record.value().is_some_and(|value| &value[..] == b"after"),
                "{name}"
            );
            match commit(&store, put(name, record.version, "after")).await {
                Ok(Verdict::Committed { version }) => {
                    assert!(version > *old, "{name}: {version:?} after {old:?}");
                    true
                }
                Ok(_) | Err(StoreError::Unavailable { .. } | StoreError::Ambiguous { .. }) => false,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        assert_eq!(value(&other, name).await.as_deref(), Some("after"));
    }
    eventually("no complaint", async || store.health().await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_only_the_documented_permissions() {
    let mut redis = RedisCluster::start();
    let documented = "~dlock:* &dlock:* +@connection +@scripting +info +config|get +time +get +mget +getrange +set +del +zadd +zrem +zrangebylex +publish +subscribe +cluster|slots +spublish +ssubscribe";
    for node in redis.nodes() {
        let words = ["ACL", "SETUSER", "dlock", "on", ">secret"].into_iter().chain(documented.split(' '));
        node.command(&words.collect::<Vec<_>>());
    }
    let store = open(&format!("user = \"dlock\"\npassword = \"secret\"\n{}", at(&redis))).await;
    let mut watch = store.watch(Scope::Key(key("a"))).await.unwrap();
    let version = overwrite(&store, "a", "one").await;
    assert!(watch.next().await.is_some());
    committed(commit(&store, delete("a", version, 0)).await);
    assert!(store.list("", None, 10).await.unwrap().records.is_empty());
    assert_eq!(store.health().await, Vec::new());
}
