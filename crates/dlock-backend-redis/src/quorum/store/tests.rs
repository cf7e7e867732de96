//! Tombstones are removed, and what they stood for is not forgotten.

use super::*;
use crate::config::RedisConfig;
use dlock_store::{Content, Version};
use dlock_test_stores::RedisQuorum;

const RECORDS: usize = 50;

async fn open(nodes: &RedisQuorum) -> QuorumStore {
    let config = RedisConfig {
        mode: Some("quorum".to_owned()),
        addrs: Some(nodes.addresses()),
        ..RedisConfig::default()
    };
    let settings = Settings::try_from(&config).unwrap();
    QuorumStore::open_with(&settings, Duration::from_millis(50)).await.unwrap()
}

fn key(number: usize) -> Key {
    Key::new(&format!("key {number}")).unwrap()
}

async fn write(store: &QuorumStore, number: usize, expected: Version, change: Change) -> Verdict {
    let write = Write { key: key(number), expected, change, guards: Default::default() };
    store.commit(vec![write]).await.remove(0).unwrap()
}

fn committed(verdict: Verdict) -> Version {
    match verdict {
        Verdict::Committed { version } => version,
        other => panic!("not committed: {other:?}"),
    }
}

/// Makes and deletes all records, the floor being the record's number plus one; the versions of the absences.
async fn make_and_delete(store: &QuorumStore) -> Vec<Version> {
    let mut absences = Vec::new();
    for number in 0..RECORDS {
        let expected = store.get(&key(number)).await.unwrap().version;
        let there = committed(write(store, number, expected, Change::Put("x".into())).await);
        let floor = number as u64 + 1;
        absences.push(committed(write(store, number, there, Change::Delete { floor }).await));
    }
    absences
}

/// How many rows each node has.
async fn rows(store: &QuorumStore) -> Vec<i64> {
    let mut rows = Vec::new();
    for member in &store.council.members {
        let Some(seat) = member.seat() else { continue };
        let mut command = redis::cmd("HLEN");
        command.arg(&seat.names.rows);
        match seat.line.send(command).await.unwrap() {
            redis::Value::Int(count) => rows.push(count),
            other => panic!("{other:?}"),
        }
    }
    rows
}

async fn until_rows(store: &QuorumStore, wanted: &[i64]) {
    for _ in 0..600 {
        if rows(store).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("after half a minute: {:?}, not {wanted:?}", rows(store).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_are_removed_and_their_versions_and_floors_stay() {
    let nodes = RedisQuorum::start(3);
    let (store, other) = (open(&nodes).await, open(&nodes).await);
    let absences = make_and_delete(&store).await;
    until_rows(&store, &[0, 0, 0]).await;
    for (number, absence) in absences.iter().enumerate() {
        let record = other.get(&key(number)).await.unwrap();
        assert!(record.version >= *absence, "{number}: {record:?}");
        let Content::Absent { floor } = record.content else { panic!("{record:?}") };
        assert!(floor > number as u64, "{number}: {floor}");
        let again = committed(write(&other, number, record.version, Change::Put("y".into())).await);
        assert!(again > record.version);
        // Whoever still thinks it was never used is refused.
        let stale = write(&store, number, Version(0), Change::Put("z".into())).await;
        assert!(matches!(stale, Verdict::Conflict { .. }), "{stale:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_stay_while_a_node_is_away_and_it_brings_nothing_back() {
    let mut nodes = RedisQuorum::start(3);
    let store = open(&nodes).await;
    for number in 0..RECORDS {
        committed(write(&store, number, Version(0), Change::Put("old".into())).await);
    }
    nodes.node(2).process().kill();
    for number in 0..RECORDS {
        let there = store.get(&key(number)).await.unwrap().version;
        committed(write(&store, number, there, Change::Delete { floor: 9 }).await);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rows(&store).await, vec![RECORDS as i64; 2]);
    // It has all the old values, and meets nodes that have them as deleted, or not at all.
    nodes.node(2).restart();
    until_rows(&store, &[0, 0, 0]).await;
    nodes.node(0).process().kill();
    for number in 0..RECORDS {
        assert_eq!(store.get(&key(number)).await.unwrap().value(), None, "{number}");
    }
    assert!(store.list("", None, 10).await.unwrap().records.is_empty());
}
