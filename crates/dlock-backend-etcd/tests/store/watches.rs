//! Watches whose server comes and goes.

use super::*;
use dlock_store::{Scope, Watch, WatchEvent};
use dlock_test_stores::{EtcdCluster, EtcdServer};
use futures::StreamExt;
use std::time::Duration;

async fn next(watch: &mut Watch) -> WatchEvent {
    tokio::time::timeout(LOST_AFTER, watch.next()).await.expect("an event was lost").unwrap()
}

async fn resync(watch: &mut Watch) {
    while next(watch).await != WatchEvent::Resync {}
}

/// The version that the next event of the key tells.
async fn version_of(watch: &mut Watch, name: &str) -> Version {
    loop {
        if let WatchEvent::Changed { key, record: Some(record) } = next(watch).await
            && key.as_str() == name
        {
            return record.version;
        }
    }
}

async fn watch(store: &EtcdStore) -> Watch {
    store.watch(Scope::Prefix(String::new())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_is_told_as_a_resync_and_events_go_on() {
    let mut etcd = EtcdServer::start();
    let store = connect(&[etcd.endpoint()]).await;
    let mut watch = watch(&store).await;
    let version = put_at_last(&store, "a", "before").await;
    assert_eq!(version_of(&mut watch, "a").await, version);
    etcd.restart();
    resync(&mut watch).await;
    let version = put_at_last(&store, "a", "after").await;
    assert_eq!(version_of(&mut watch, "a").await, version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_moves_to_another_member_when_the_leader_is_killed() {
    let mut cluster = EtcdCluster::start();
    let store = connect(&cluster.endpoints()).await;
    let mut watch = watch(&store).await;
    cluster.kill_leader();
    resync(&mut watch).await;
    let version = put_at_last(&store, "a", "after").await;
    assert_eq!(version_of(&mut watch, "a").await, version);
}

/// Nothing is wrong with the connection, and nobody else asks anything of the member.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_leaves_a_member_that_stands_still() {
    let mut cluster = EtcdCluster::start();
    let store = connect(&cluster.endpoints()).await;
    let mut watch = watch(&store).await;
    cluster.pause_leader();
    resync(&mut watch).await;
    let version = put_at_last(&store, "a", "after").await;
    assert_eq!(version_of(&mut watch, "a").await, version);
    cluster.resume_paused();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_outlives_silence_and_compaction() {
    let etcd = EtcdServer::start();
    let store = connect(&[etcd.endpoint()]).await;
    let mut watch = watch(&store).await;
    let mut version = Version::default();
    for round in 0..20 {
        version = put_at_last(&store, "a", &round.to_string()).await;
    }
    while version_of(&mut watch, "a").await != version {}
    let client = etcd_client::Client::connect([etcd.endpoint()], None).await.unwrap();
    let revision = i64::try_from(version.0 / 2).unwrap();
    client.kv_client().compact(revision, None).await.unwrap();
    // Longer than the member takes to be asked, twice, how far it is.
    let silence = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    let version = put_at_last(&store, "a", "after").await;
    assert_eq!(next(&mut watch).await, told("a", version, "after"));
}

fn told(name: &str, version: Version, value: &str) -> WatchEvent {
    let content = dlock_store::Content::Present(value.as_bytes().to_vec().into());
    WatchEvent::Changed { key: key(name), record: Some(Record { version, content }) }
}
