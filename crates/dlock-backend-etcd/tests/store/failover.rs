//! Several members, of which some fail.

use super::*;
use dlock_store::Severity;
use dlock_test_stores::EtcdCluster;
use std::time::Duration;

fn codes(conditions: &[dlock_store::Condition]) -> Vec<&'static str> {
    conditions.iter().map(|condition| condition.code).collect()
}

/// A server's lease does not outlive this.
const LEASE: Duration = Duration::from_millis(5400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_on_at_another_member_when_the_leader_is_killed() {
    let mut cluster = EtcdCluster::start();
    let store = connect(&cluster.endpoints()).await;
    put_at_last(&store, "a", "before").await;
    assert_eq!(store.health().await, []);
    cluster.kill_leader();
    let version = tokio::time::timeout(4 * LEASE, put_at_last(&store, "a", "after")).await.unwrap();
    // No request goes to the member that is gone any more.
    for round in 0..50 {
        assert_eq!(store.get(&key("a")).await.unwrap().version, version);
        let verdict = commit(&store, put(&format!("new {round}"), Version(1), "value")).await;
        assert!(matches!(verdict, Ok(Verdict::Committed { .. })), "{verdict:?}");
    }
    let conditions = store.health().await;
    assert_eq!(codes(&conditions), ["MEMBER_UNREACHABLE"]);
    assert_eq!(conditions[0].severity, Severity::Warning);
    cluster.restart_killed();
    while !store.health().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stands_still_is_left_before_a_server_loses_its_lease() {
    let mut cluster = EtcdCluster::start();
    let store = connect(&cluster.endpoints()).await;
    let before = put_at_last(&store, "a", "before").await;
    cluster.pause_leader();
    let stuck = tokio::time::timeout(LEASE, commit(&store, put("a", before, "after"))).await.unwrap();
    assert!(matches!(stuck, Err(StoreError::Ambiguous { .. })), "{stuck:?}");
    put_at_last(&store, "a", "after").await;
    assert_eq!(codes(&store.health().await), ["MEMBER_UNREACHABLE"]);
    cluster.resume_paused();
    put_at_last(&store, "a", "at last").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_written_and_it_is_said() {
    let mut cluster = EtcdCluster::start();
    let store = connect(&cluster.endpoints()).await;
    let version = put_at_last(&store, "a", "before").await;
    cluster.kill_leader();
    put_at_last(&store, "a", "between").await;
    cluster.kill_leader();
    // The last one may believe for a moment that it is in a majority, but can't commit.
    commit(&store, put("a", version, "after")).await.unwrap_err();
    store.get(&key("a")).await.unwrap_err();
    let no_leader = async {
        while !codes(&store.health().await).contains(&"NO_LEADER") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LOST_AFTER, no_leader).await.unwrap();
    let refused = commit(&store, put("a", version, "after")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_down_at_the_start_is_passed_over() {
    let mut cluster = EtcdCluster::start();
    cluster.kill_leader();
    let store = connect(&cluster.endpoints()).await;
    put_at_last(&store, "a", "value").await;
}
