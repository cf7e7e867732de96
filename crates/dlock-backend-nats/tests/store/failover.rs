//! Clusters of which a node goes away.

use super::*;
use async_nats::jetstream;
use bytes::Bytes;
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

/// Whoever starts a server just then has it wait, and not end.
async fn is_opened_when_it_has_another_leader(take_away: fn(&mut NatsCluster)) {
    let mut cluster = NatsCluster::start();
    let version = put_at_last(&in_cluster(&cluster).await, "a", "before").await;
    take_away(&mut cluster);
    assert_eq!(get_at_last(&in_cluster(&cluster).await, "a").await.version, version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_whose_leader_was_killed_is_opened_when_it_has_another() {
    is_opened_when_it_has_another_leader(NatsCluster::kill_leader).await;
}

/// It still takes connections, and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_whose_leader_stands_still_is_opened_when_it_has_another() {
    is_opened_when_it_has_another_leader(NatsCluster::pause_leader).await;
}

/// Who follows the bucket there must not take it for empty before it has been copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_tells_nobody_that_the_bucket_is_empty() {
    let mut cluster = NatsCluster::start();
    let store = in_cluster(&cluster).await;
    let version = put_at_last(&store, "a", "before").await;
    for _ in 0..3 {
        cluster.lose_follower();
        cluster.restart_killed();
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            let many = (0..20).map(|_| in_cluster(&cluster));
            for another in futures::future::join_all(many).await {
                assert_eq!(get_at_last(&another, "a").await.version, version);
            }
        }
    }
}

/// A barrier is a message that nobody needs when it has been delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn barriers_do_not_pile_up() {
    let cluster = NatsCluster::start();
    let store = in_cluster(&cluster).await;
    let version = put_at_last(&store, "a", "before").await;
    let context = jetstream::new(async_nats::connect(cluster.addresses()).await.unwrap());
    let stream = context.get_stream("KV_dlock").await.unwrap();
    let barriers = (0..10_000).map(|_| context.publish("$KV.dlock.=barrier7", Bytes::from_static(&[0; 8])));
    let acknowledged =
        futures::stream::iter(barriers).buffer_unordered(1_000).map(|sent| sent.unwrap().into_future());
    acknowledged.buffer_unordered(1_000).for_each(async |answer| drop(answer.unwrap())).await;
    let messages = stream.get_info().await.unwrap().state.messages;
    assert!(messages < 1_000, "{messages}");
    for store in [store, in_cluster(&cluster).await] {
        assert_eq!(store.get(&key("a")).await.unwrap().version, version);
    }
}
