//! Writers and readers of a few records while nodes are killed, stand still and lose everything: each value is the list
//! of the writes that led to it, so that nothing can be lost, done twice, or done after it was said not to be.

use crate::world::*;
use dlock_backend_redis::QuorumStore;
use dlock_store::{Store, StoreError, Verdict, Version};
use dlock_test_stores::RedisQuorum;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const RECORDS: [&str; 3] = ["a", "b", "c"];
const WRITERS: usize = 6;

/// What became of a writer's writes, by record.
#[derive(Default)]
struct Report {
    committed: BTreeMap<&'static str, Vec<String>>,
    never: BTreeSet<String>,
    /// How often an outcome was not known at first.
    ambiguous: usize,
}

/// What is there, once it can be read.
async fn read(store: &QuorumStore, name: &str) -> (Version, Vec<String>) {
    loop {
        match store.get(&key(name)).await {
            Ok(record) => {
                let text = record.value().map(|value| String::from_utf8(value.to_vec()).unwrap());
                let writes = text.unwrap_or_default();
                return (record.version, writes.split_terminator(',').map(str::to_owned).collect());
            }
            Err(StoreError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn keep_writing(store: Arc<QuorumStore>, writer: usize, stop: Arc<AtomicBool>) -> Report {
    let mut report = Report::default();
    let mut known: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let name = RECORDS[(writer + number) % RECORDS.len()];
        let id = format!("{writer}-{number}");
        let (mut version, mut writes) = read(&store, name).await;
        let before = known.entry(name).or_default();
        assert!(writes.starts_with(before), "{name}: {writes:?} was read after {before:?}");
        let mut unknown = false;
        loop {
            let value: String = writes.iter().chain([&id]).map(|write| format!("{write},")).collect();
            match commit(&*store, put(name, version, &value)).await {
                Ok(Verdict::Committed { version: new }) => {
                    assert!(new > version);
                    writes.push(id.clone());
                    report.committed.entry(name).or_default().push(id);
                    break;
                }
                Ok(Verdict::Conflict { .. }) if !unknown => {
                    report.never.insert(id);
                    break;
                }
                Err(StoreError::Ambiguous { .. }) => {
                    report.ambiguous += 1;
                    unknown = true;
                }
                // Nothing was written by this one; an earlier one may have been.
                Ok(Verdict::Conflict { .. }) | Err(StoreError::Unavailable { .. }) => {}
                other => panic!("{other:?}"),
            }
            let (now, there) = read(&store, name).await;
            if there.contains(&id) {
                assert!(unknown, "{id} was said not to be written: {there:?}");
                report.committed.entry(name).or_default().push(id);
                writes = there;
                break;
            }
            // The version has moved without the effect: it will never come.
            if now != version && !there.is_empty() && there != writes {
                report.never.insert(id);
                writes = there;
                break;
            }
            (version, writes) = (now, there);
        }
        known.insert(name, writes);
    }
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_while_nodes_die_stand_still_and_forget() {
    let mut nodes = RedisQuorum::start(5);
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(open(&nodes).await));
    }
    until_codes(&stores[0], &[]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&stores[writer % stores.len()]);
            tokio::spawn(keep_writing(store, writer, Arc::clone(&stop)))
        })
        .collect();
    let while_writing = Duration::from_millis(700);
    for round in 0..5 {
        let (one, two) = (round % 5, (round + 2) % 5);
        // It has forgotten everything, and another one dies before it is back.
        nodes.node(one).restart_empty();
        nodes.node(two).process().kill();
        tokio::time::sleep(while_writing).await;
        nodes.node(two).restart();
        until_codes(&stores[0], &[]).await;
        // It stands still in the middle of whatever it was asked, and so does the other, for a shorter time.
        nodes.node(two).process().pause();
        tokio::time::sleep(while_writing).await;
        nodes.node(one).process().pause();
        tokio::time::sleep(while_writing).await;
        nodes.node(one).process().resume();
        nodes.node(two).process().resume();
        until_codes(&stores[0], &[]).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut reports = Vec::new();
    for writer in writers {
        reports.push(writer.await.unwrap());
    }
    let mut total = 0;
    for name in RECORDS {
        let (_, writes) = read(&stores[0], name).await;
        let mut expected: Vec<_> = reports
            .iter()
            .flat_map(|report| report.committed.get(name).cloned().unwrap_or_default())
            .collect();
        let mut found = writes.clone();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
        assert!(!writes.iter().any(|write| reports.iter().any(|report| report.never.contains(write))));
        total += writes.len();
    }
    let ambiguous: usize = reports.iter().map(|report| report.ambiguous).sum();
    println!("{total} writes, {ambiguous} of unknown outcome at first");
    assert!(total > 100, "hardly anything was written: {total}");
}
