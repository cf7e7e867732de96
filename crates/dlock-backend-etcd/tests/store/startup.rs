//! What is said when the store can't be opened.

use super::*;
use dlock_backend_etcd::OpenError;
use dlock_test_stores::{EtcdCluster, EtcdServer, Port};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_the_endpoints_is_said_with_what_was_tried() {
    let ports = [Port::reserve(), Port::reserve()];
    let endpoints = ports.each_ref().map(Port::address);
    let config = EtcdConfig { connect_timeout: Some(Duration::from_millis(700)), ..config(&endpoints) };
    let error = EtcdStore::connect(&config).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    let error = error.to_string();
    for endpoint in &endpoints {
        assert!(error.contains(endpoint), "{error}");
    }
    assert!(error.contains("refused") && error.contains("etcd.endpoints"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_up_late_is_waited_for() {
    let mut etcd = EtcdServer::start();
    etcd.process().kill();
    let endpoint = etcd.endpoint();
    let config = EtcdConfig { connect_timeout: Some(Duration::from_secs(30)), ..config(&[endpoint]) };
    let connecting = tokio::spawn(async move { EtcdStore::connect(&config).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!connecting.is_finished());
    etcd.restart();
    let store = connecting.await.unwrap().unwrap();
    put_at_last(&store, "a", "value").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_two_clusters_are_refused() {
    let (one, two) = (EtcdServer::start(), EtcdServer::start());
    let error = EtcdStore::connect(&config(&[one.endpoint(), two.endpoint()])).await.unwrap_err();
    assert!(matches!(error, OpenError::TwoClusters { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_cluster_that_comes_up_later_is_not_used() {
    let (mut one, mut two) = (EtcdServer::start(), EtcdServer::start());
    two.process().kill();
    let store = connect(&[one.endpoint(), two.endpoint()]).await;
    put_at_last(&store, "a", "value").await;
    two.restart();
    one.process().kill();
    for _ in 0..5 {
        store.get(&key("a")).await.unwrap_err();
        let refused = commit(&store, put("b", Version(1), "value")).await;
        assert!(
            matches!(refused, Err(StoreError::Unavailable { .. } | StoreError::Ambiguous { .. })),
            "{refused:?}"
        );
    }
    let other = connect(&[two.endpoint()]).await;
    assert_eq!(other.list("", None, 10).await.unwrap().records, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_without_a_majority_do_not_serve() {
    let mut cluster = EtcdCluster::start();
    let endpoints = cluster.endpoints();
    cluster.kill_leader();
    let store = connect(&endpoints).await;
    put_at_last(&store, "a", "value").await;
    cluster.kill_leader();
    let error = EtcdStore::connect(&config(&endpoints)).await.unwrap_err();
    assert!(matches!(error, OpenError::NotServing { .. }), "{error:?}");
    assert!(error.to_string().contains("majority"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_prefixes_are_two_stores() {
    let etcd = EtcdServer::start();
    let with = |prefix: &str| EtcdConfig { prefix: Some(prefix.to_owned()), ..config(&[etcd.endpoint()]) };
    let one = EtcdStore::connect(&with("one/")).await.unwrap();
    let two = EtcdStore::connect(&with("two/")).await.unwrap();
    let version = put_at_last(&one, "a", "value").await;
    assert_eq!(two.get(&key("a")).await.unwrap().value(), None);
    put_at_last(&two, "a", "another").await;
    assert_eq!(one.get(&key("a")).await.unwrap().version, version);
    assert_eq!(one.list("", None, 10).await.unwrap().records.len(), 1);
    let write = guarded(put("b", Version(1), "value"), "a", version);
    assert!(matches!(commit(&one, write).await, Ok(Verdict::Committed { .. })));
}
