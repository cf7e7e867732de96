//! Clusters of which a node goes away.

use super::*;
use dlock_test_stores::NatsCluster;

async fn in_cluster(cluster: &NatsCluster) -> NatsStore {
    let config = NatsConfig { endpoints: cluster.addresses(), replicas: Some(3), ..NatsConfig::default() };
    NatsStore::connect(&config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_goes_on_when_the_leader_is_killed_and_nothing_acknowledged_is_lost() {
    let mut cluster = NatsCluster::start();
    let (one, two) = (in_cluster(&cluster).await, in_cluster(&cluster).await);
    let mut watch = watch(&two).await;
    let version = put_at_last(&one, "a", "before").await;
    told(&mut watch, "a", version).await;
    cluster.kill_leader();
    assert_eq!(get_at_last(&two, "a").await.version, version);
    let after = put_at_last(&one, "a", "after").await;
    assert!(after > version);
    told(&mut watch, "a", after).await;
    assert!(two.health().await.iter().all(|condition| condition.code == "REPLICA_AWAY"));
    cluster.restart_killed();
    let healthy = async {
        while !two.health().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LOST_AFTER, healthy).await.expect("all are back");
}

/// It may still think that it leads when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_brings_nothing_back() {
    let mut cluster = NatsCluster::start();
    let (one, two) = (in_cluster(&cluster).await, in_cluster(&cluster).await);
    let before = put_at_last(&one, "a", "before").await;
    cluster.pause_leader();
    let unknown = commit(&one, put("a", before, "during")).await;
    assert!(!matches!(unknown, Ok(Verdict::GuardFailed { .. })), "{unknown:?}");
    let after = put_at_last(&two, "a", "after").await;
    cluster.resume_paused();
    for store in [&one, &two] {
        for _ in 0..20 {
            let found = get_at_last(store, "a").await;
            assert_eq!((found.version, found.value().unwrap().as_ref()), (after, &b"after"[..]));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
