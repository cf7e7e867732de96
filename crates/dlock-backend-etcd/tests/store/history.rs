//! etcd's history and its quota.

use super::*;
use dlock_backend_etcd::{CompactionConfig, CompactionMode};
use dlock_store::Severity;
use dlock_test_stores::EtcdServer;
use etcd_client::Client;
use std::time::Duration;

async fn raw(etcd: &EtcdServer) -> Client {
    Client::connect([etcd.endpoint()], None).await.unwrap()
}

/// Whether the history still has this revision.
async fn has_revision(client: &Client, revision: i64) -> bool {
    let options = etcd_client::GetOptions::new().with_revision(revision);
    match client.kv_client().get("x", Some(options)).await {
        Ok(_) => true,
        Err(error) => {
            assert!(error.to_string().contains("compacted"), "{error}");
            false
        }
    }
}

async fn connect_with(etcd: &EtcdServer, mode: CompactionMode) -> EtcdStore {
    let compaction = CompactionConfig { mode, retention: Some(Duration::from_secs(10)) };
    let config = EtcdConfig { compaction, ..config(&[etcd.endpoint()]) };
    EtcdStore::connect(&config).await.unwrap()
}

fn warns_of_history(store: &EtcdStore) -> bool {
    store.info().caveats.iter().any(|caveat| caveat.contains("compact"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_of_dlocks_own_is_compacted_by_itself() {
    let etcd = EtcdServer::start();
    let store = connect_with(&etcd, CompactionMode::Auto).await;
    assert!(!warns_of_history(&store));
    let client = raw(&etcd).await;
    let first = i64::try_from(put_at_last(&store, "a", "first").await.0 / 2).unwrap();
    put_at_last(&store, "a", "second").await;
    let compacted = async {
        while has_revision(&client, first).await {
            tokio::time::sleep(Duration::from_millis(200)).await;
            put_at_last(&store, "b", "more").await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), compacted).await.unwrap();
    assert_eq!(store.get(&key("a")).await.unwrap().value().unwrap(), "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_others_use_is_compacted_only_if_that_is_wanted() {
    let etcd = EtcdServer::start();
    let client = raw(&etcd).await;
    client.kv_client().put("another/service", "value", None).await.unwrap();
    let careful = connect_with(&etcd, CompactionMode::Auto).await;
    assert!(warns_of_history(&careful));
    let first = i64::try_from(put_at_last(&careful, "a", "first").await.0 / 2).unwrap();
    put_at_last(&careful, "a", "second").await;
    tokio::time::sleep(Duration::from_secs(22)).await; // two retentions
    assert!(has_revision(&client, first).await);
    drop(careful);
    let told = connect_with(&etcd, CompactionMode::On).await;
    assert!(!warns_of_history(&told));
    let compacted = async {
        while has_revision(&client, first).await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), compacted).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_quota_is_a_failure_with_a_way_out_and_reads_go_on() {
    let etcd = EtcdServer::start_with(&["--quota-backend-bytes", "4194304"]);
    let store = connect(&[etcd.endpoint()]).await;
    let version = put_at_last(&store, "a", "value").await;
    // In pairs: etcd's own look at the quota does not see what is nested.
    let full = loop {
        let count = store.list("", None, 1000).await.unwrap().records.len();
        let large = |number: usize| put(&format!("filler {number}"), Version(1), vec![0; 200 << 10]);
        match store.commit(vec![large(count), large(count + 1)]).await.remove(0) {
            Ok(Verdict::Committed { .. }) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&full, StoreError::Full { reason } if reason.contains("etcdctl alarm disarm")),
        "{full}"
    );
    let alone = commit(&store, put("b", Version(1), "small")).await;
    assert!(matches!(alone, Err(StoreError::Full { .. })), "{alone:?}");
    assert_eq!(store.get(&key("a")).await.unwrap().version, version);
    let conditions = store.health().await;
    assert_eq!((conditions[0].code, conditions[0].severity), ("NOSPACE", Severity::Failure));
    assert!(conditions[0].message.contains("--quota-backend-bytes"), "{}", conditions[0].message);
    // What makes room is taken.
    let delete = Write { change: Change::Delete { floor: 0 }, ..put("a", version, "") };
    assert!(matches!(commit(&store, delete).await, Ok(Verdict::Committed { .. })));
}
