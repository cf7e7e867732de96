//! What is said of writes that did not go as they should.

use super::*;
use dlock_store::Content;
use dlock_test_stores::EtcdServer;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_to_a_server_that_stands_still_is_ambiguous_and_can_be_sent_again() {
    let mut etcd = EtcdServer::start();
    let store = connect(&[etcd.endpoint()]).await;
    let version = put_at_last(&store, "a", "before").await;
    etcd.process().pause();
    let unknown = commit(&store, put("a", version, "after")).await;
    assert!(matches!(unknown, Err(StoreError::Ambiguous { .. })), "{unknown:?}");
    store.get(&key("a")).await.unwrap_err();
    assert_eq!(store.health().await[0].code, "UNREACHABLE");
    etcd.process().resume();
    // It may have been in the server's hands, and be carried out now or not. Sent again, it is carried out once.
    let again = loop {
        match commit(&store, put("a", version, "after")).await {
            Ok(verdict) => break verdict,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let found = store.get(&key("a")).await.unwrap();
    assert_eq!(found.value().unwrap(), "after");
    match again {
        Verdict::Committed { version } => assert_eq!(found.version, version),
        Verdict::Conflict { current } => assert_eq!(current, Some(found)),
        Verdict::GuardFailed { .. } => panic!("there is no guard"),
    }
    assert_eq!(store.health().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_no_server_takes_was_certainly_not_done() {
    let mut etcd = EtcdServer::start();
    let store = connect(&[etcd.endpoint()]).await;
    let version = put_at_last(&store, "a", "before").await;
    etcd.process().kill();
    // The first may have been on its way in the old connection; then there is none.
    let refused = async {
        loop {
            match commit(&store, put("a", version, "after")).await {
                Err(StoreError::Ambiguous { .. }) => {}
                other => return other,
            }
        }
    };
    let refused = tokio::time::timeout(LOST_AFTER, refused).await.unwrap();
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    etcd.restart();
    put_at_last(&store, "a", "at last").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_go_on_growing_after_a_restart() {
    let mut etcd = EtcdServer::start();
    let store = connect(&[etcd.endpoint()]).await;
    let before = put_at_last(&store, "a", "one").await;
    let delete = Write { change: Change::Delete { floor: 9 }, ..put("a", before, "") };
    let Ok(Verdict::Committed { version: absence }) = commit(&store, delete).await else {
        panic!("not deleted")
    };
    etcd.restart();
    let found = loop {
        match store.get(&key("a")).await {
            Ok(found) => break found,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    assert_eq!(found, Record { version: absence, content: Content::Absent { floor: 9 } });
    assert!(put_at_last(&store, "a", "two").await > absence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_too_large_is_refused_and_the_others_are_not() {
    let etcd = EtcdServer::start();
    let store = connect(&[etcd.endpoint()]).await;
    let large = put("large", Version(1), vec![0; 2 << 20]);
    let verdicts =
        store.commit(vec![put("a", Version(1), "small"), large, put("b", Version(1), "small")]).await;
    assert!(matches!(verdicts[0], Ok(Verdict::Committed { .. })), "{verdicts:?}");
    assert!(
        matches!(&verdicts[1], Err(StoreError::Full { reason }) if reason.contains("--max-request-bytes")),
        "{verdicts:?}"
    );
    assert!(matches!(verdicts[2], Ok(Verdict::Committed { .. })), "{verdicts:?}");
}

/// Their answers are many times longer than what a gRPC client takes unless it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_records_are_met_listed_and_watched() {
    use futures::StreamExt;
    let etcd = EtcdServer::start();
    let store = connect(&[etcd.endpoint()]).await;
    let mut watch = store.watch(dlock_store::Scope::Prefix("large ".to_owned())).await.unwrap();
    const RECORDS: usize = 40;
    let large = |number: usize| put(&format!("large {number:02}"), Version(1), vec![b'x'; 400 << 10]);
    for verdict in store.commit((0..RECORDS).map(large).collect()).await {
        assert!(matches!(verdict, Ok(Verdict::Committed { .. })), "{verdict:?}");
    }
    // Empty values travel together, and each meets a large record.
    let small = |number: usize| put(&format!("large {number:02}"), Version(1), "");
    for verdict in store.commit((0..RECORDS).map(small).collect()).await {
        assert!(matches!(&verdict, Ok(Verdict::Conflict { current: Some(_) })), "{verdict:?}");
    }
    let page = store.list("large ", None, 1000).await.unwrap();
    assert_eq!((page.records.len(), page.more), (RECORDS, false));
    let mut seen = 0;
    while seen < RECORDS {
        let event = tokio::time::timeout(LOST_AFTER, watch.next()).await.unwrap().unwrap();
        assert!(matches!(event, dlock_store::WatchEvent::Changed { record: Some(_), .. }), "not in one go");
        seen += 1;
    }
}
