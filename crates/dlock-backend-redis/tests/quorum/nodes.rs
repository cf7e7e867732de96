//! Nodes that die, stand still, forget, and come back.

use crate::world::*;
use dlock_backend_redis::OpenError;
use dlock_store::{Scope, Severity, Store, StoreError, Verdict, Version, WatchEvent};
use dlock_test_stores::{RedisQuorum, RedisServer};
use futures::StreamExt;
use std::time::Duration;

/// How the nodes write nothing to disk.
const MEMORY: [&str; 4] = ["--appendonly", "no", "--save", ""];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_wiped_takes_part_only_once_it_has_everything() {
    let mut nodes = RedisQuorum::start(3);
    let store = open(&nodes).await;
    until_codes(&store, &[]).await;
    for number in 0..300 {
        overwrite(&store, &format!("key {number}"), &number.to_string()).await;
    }
    let gone = overwrite(&store, "gone", "x").await;
    let absence = committed(commit(&store, delete("gone", gone, 7)).await);
    nodes.node(0).restart_empty();
    until_codes(&store, &[]).await;
    // Now it is one of the two that are left.
    nodes.node(1).process().kill();
    for number in 0..300 {
        let name = format!("key {number}");
        assert_eq!(value(&store, &name).await, Some(number.to_string()));
    }
    let record = store.get(&key("gone")).await.unwrap();
    assert_eq!((record.version, record.value()), (absence, None));
    assert!(overwrite(&store, "gone", "back").await > absence);
    nodes.node(1).restart();
    until_codes(&store, &[]).await;
    assert_eq!(value(&store, "gone").await.as_deref(), Some("back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_deleted_under_a_running_node_is_noticed() {
    let mut nodes = RedisQuorum::start(3);
    let store = open(&nodes).await;
    until_codes(&store, &[]).await;
    overwrite(&store, "a", "one").await;
    nodes.node(2).command(&["FLUSHALL"]);
    nodes.node(0).process().kill();
    // One node has the record, and one has forgotten it: they are no majority that could say there is none.
    let read = store.get(&key("a")).await;
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
    let conditions = store.health().await;
    assert!(conditions.iter().any(|condition| condition.severity == Severity::Failure), "{conditions:?}");
    nodes.node(0).restart();
    until_codes(&store, &[]).await;
    assert_eq!(value(&store, "a").await.as_deref(), Some("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_lost_the_newest_writes_is_taken_for_a_wipe() {
    let mut nodes = RedisQuorum::start_with(3, &MEMORY);
    let store = open(&nodes).await;
    until_codes(&store, &[]).await;
    let caveats = store.info().caveats.join("\n");
    assert!(caveats.contains("appendfsync always"), "{caveats}");
    overwrite(&store, "a", "old").await;
    for node in 0..3 {
        nodes.node(node).command(&["SAVE"]);
    }
    overwrite(&store, "a", "new").await;
    // Two nodes go back to the old value, one after the other: a majority that remembers it, and is wrong.
    for node in [0, 1] {
        nodes.node(node).restart();
        until_codes(&store, &[]).await;
        assert_eq!(value(&store, "a").await.as_deref(), Some("new"), "after node {node}");
    }
    nodes.node(2).process().kill();
    assert_eq!(value(&store, "a").await.as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_majority_has_lost_writes_nothing_goes_on() {
    let mut nodes = RedisQuorum::start_with(3, &MEMORY);
    let store = open(&nodes).await;
    until_codes(&store, &[]).await;
    overwrite(&store, "a", "one").await;
    nodes.node(0).restart();
    nodes.node(1).restart();
    until_codes(&store, &["NODE_EMPTY", "NODE_EMPTY", "NOQUORUM"]).await;
    let read = store.get(&key("a")).await;
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
    let refused = commit(&store, put("a", Version(0), "two")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert!(matches!(try_open(&nodes).await, Err(OpenError::Unusable { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_write_to_disk_first_may_all_restart_at_once() {
    let mut nodes = RedisQuorum::start(3);
    let store = open(&nodes).await;
    assert_eq!(store.info().caveats, Vec::<String>::new());
    until_codes(&store, &[]).await;
    let version = overwrite(&store, "a", "one").await;
    for node in nodes.nodes() {
        node.process().kill();
    }
    for node in nodes.nodes() {
        node.restart();
    }
    until_codes(&store, &[]).await;
    assert_eq!(store.get(&key("a")).await.unwrap().version, version);
    let fresh = open(&nodes).await;
    committed(commit(&fresh, put("a", version, "two")).await);
    assert_eq!(value(&store, "a").await.as_deref(), Some("two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_an_old_copy_of_its_files_is_found_out() {
    let mut nodes = RedisQuorum::start(3);
    let store = open(&nodes).await;
    until_codes(&store, &[]).await;
    overwrite(&store, "a", "old").await;
    let old = copy_files(nodes.node(0));
    // The new value is with two nodes only, of which one goes back to the old one, as the third has it.
    nodes.node(2).process().kill();
    overwrite(&store, "a", "new").await;
    nodes.node(0).process().kill();
    put_files(nodes.node(0), old);
    nodes.node(2).restart();
    nodes.node(0).restart();
    until_codes(&store, &[]).await;
    nodes.node(1).process().kill();
    assert_eq!(value(&store, "a").await.as_deref(), Some("new"));
}

type Files = Vec<(std::path::PathBuf, Vec<u8>)>;

fn copy_files(node: &RedisServer) -> Files {
    let mut files = Files::new();
    let mut directories = vec![node.directory().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push((path.clone(), std::fs::read(path).unwrap()));
            }
        }
    }
    files
}

fn put_files(node: &RedisServer, files: Files) {
    assert!(node.directory().is_dir());
    for (path, bytes) in files {
        std::fs::write(path, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_needs_all_nodes_and_later_ones_a_majority() {
    let mut nodes = RedisQuorum::start(3);
    nodes.node(2).process().kill();
    let error = try_open(&nodes).await.unwrap_err();
    assert!(error.to_string().contains("all of them if it is the first time"), "{error}");
    nodes.node(2).restart();
    let (one, two) = tokio::join!(open(&nodes), open(&nodes));
    let version = overwrite(&one, "a", "one").await;
    assert_eq!(two.get(&key("a")).await.unwrap().version, version);
    until_codes(&one, &[]).await;
    drop((one, two));
    nodes.node(1).process().kill();
    let store = open(&nodes).await;
    assert_eq!(value(&store, "a").await.as_deref(), Some("one"));
    assert_eq!(codes(&store).await, ["NODE_DOWN"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_different_quorums_are_not_mixed() {
    let (one, other) = (RedisQuorum::start(3), RedisQuorum::start(5));
    for nodes in [&one, &other] {
        let store = open(nodes).await;
        until_codes(&store, &[]).await;
    }
    let (ones, others) = (one.addresses(), other.addresses());
    let mixed = [ones[0].clone(), ones[1].clone(), others[0].clone()];
    let store = dlock_backend_redis::QuorumStore::open(&settings(&mixed, "2s")).await.unwrap();
    assert_eq!(codes(&store).await, ["NODE_FOREIGN"]);
    let most = [ones[0].clone(), others[1].clone(), others[0].clone()];
    let refused = dlock_backend_redis::QuorumStore::open(&settings(&most, "200ms")).await;
    assert!(matches!(refused, Err(OpenError::Unusable { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_that_is_gone_is_told_and_a_majority_stops_everything_without_losing_anything() {
    let mut nodes = RedisQuorum::start(5);
    let store = open(&nodes).await;
    until_codes(&store, &[]).await;
    let version = overwrite(&store, "a", "one").await;
    nodes.node(0).process().kill();
    nodes.node(1).process().pause();
    let version = committed(commit(&store, put("a", version, "two")).await);
    until_codes(&store, &["NODE_DOWN", "NODE_DOWN"]).await;
    nodes.node(2).process().kill();
    until_codes(&store, &["NODE_DOWN", "NODE_DOWN", "NODE_DOWN", "NOQUORUM"]).await;
    // Whatever the two that are left have done: there is no majority of it.
    let answer = commit(&store, put("a", version, "three")).await;
    assert!(
        matches!(answer, Err(StoreError::Ambiguous { .. } | StoreError::Unavailable { .. })),
        "{answer:?}"
    );
    nodes.node(1).process().resume();
    nodes.node(2).restart();
    until_codes(&store, &["NODE_DOWN"]).await;
    // The identical write either does it now or finds it done.
    match commit(&store, put("a", version, "three")).await {
        Ok(Verdict::Committed { .. }) => {}
        Ok(Verdict::Conflict { current: Some(current) }) => {
            assert_eq!(current.value().map(|value| &value[..]), Some(&b"three"[..]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(value(&store, "a").await.as_deref(), Some("three"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_hears_of_every_change_whatever_minority_is_away() {
    let mut nodes = RedisQuorum::start(3);
    let (store, other) = (open(&nodes).await, open(&nodes).await);
    until_codes(&store, &[]).await;
    let mut watch = store.watch(Scope::Prefix("w/".to_owned())).await.unwrap();
    for node in 0..3 {
        nodes.node(node).process().kill();
        for number in 0..20 {
            let name = format!("w/{number}");
            let version = overwrite(&other, &name, "x").await;
            loop {
                let event = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
                match event.expect("a change was not told").unwrap() {
                    WatchEvent::Changed { key, record } if key.as_str() == name => {
                        if record.is_none_or(|record| record.version >= version) {
                            break;
                        }
                    }
                    WatchEvent::Changed { .. } => {}
                    WatchEvent::Resync | WatchEvent::WentBack => break,
                }
            }
        }
        nodes.node(node).restart();
        until_codes(&store, &[]).await;
    }
}
