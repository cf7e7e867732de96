//! What is said of writes that did not go as they should.

use super::*;
use dlock_backend_nats::StorageConfig;
use dlock_test_stores::NatsServer;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_to_a_server_that_stands_still_is_ambiguous_and_can_be_sent_again() {
    let mut nats = NatsServer::start();
    let store = connect(&nats.url()).await;
    let version = put_at_last(&store, "a", "before").await;
    nats.process().pause();
    let unknown = commit(&store, put("a", version, "after")).await;
    assert!(matches!(unknown, Err(StoreError::Ambiguous { .. })), "{unknown:?}");
    store.get(&key("a")).await.unwrap_err();
    assert_eq!(store.health().await[0].code, "UNREACHABLE");
    nats.process().resume();
    // It may have been in the server's hands, and be carried out now or not. Sent again, it is carried out once.
    let sending = async {
        loop {
            match commit(&store, put("a", version, "after")).await {
                Ok(verdict) => return verdict,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let again = tokio::time::timeout(LOST_AFTER, sending).await.unwrap();
    let found = get_at_last(&store, "a").await;
    assert_eq!(found.value().unwrap(), "after");
    match again {
        Verdict::Committed { version } => assert_eq!(found.version, version),
        Verdict::Conflict { current } => assert!(current.is_none_or(|current| current == found)),
        Verdict::GuardFailed { .. } => panic!("there is no guard"),
    }
    assert_eq!(store.health().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_kill_and_versions_go_on_growing() {
    let mut nats = NatsServer::start();
    let store = connect(&nats.url()).await;
    let mut watch = watch(&store).await;
    let before = put_at_last(&store, "a", "one").await;
    let delete = Write { change: Change::Delete { floor: 9 }, ..put("a", before, "") };
    let Ok(Verdict::Committed { version: absence }) = commit(&store, delete).await else {
        panic!("not deleted")
    };
    nats.restart();
    let found = get_at_last(&store, "a").await;
    assert_eq!(found, Record { version: absence, content: Content::Absent { floor: 9 } });
    let version = put_at_last(&store, "a", "two").await;
    assert!(version > absence);
    told(&mut watch, "a", version).await;
}

/// The engine tells a store that went back in time by this: nothing may be made up of what was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_in_memory_is_empty_after_a_restart_and_whoever_watches_is_told() {
    let mut nats = NatsServer::start();
    let config = NatsConfig { storage: StorageConfig::Memory, ..config(&nats.url()) };
    let store = NatsStore::connect(&config).await.unwrap();
    assert!(store.info().caveats.iter().any(|caveat| caveat.contains("jetstream.storage")));
    let mut watch = watch(&store).await;
    let version = put_at_last(&store, "a", "value").await;
    told(&mut watch, "a", version).await;
    nats.restart();
    // Nobody made the bucket anew: that is for a person, or for a server that starts.
    store.get(&key("a")).await.unwrap_err();
    let anew = NatsStore::connect(&config).await.unwrap();
    assert_eq!(get_at_last(&anew, "a").await.value(), None);
    assert_eq!(get_at_last(&store, "a").await.value(), None);
    told_of_a_loss(&mut watch).await;
    put_at_last(&store, "a", "again").await;
}

/// The last messages are gone, and others have their sequences before the first handle looks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_was_restored_from_a_copy_is_read_again() {
    let mut nats = NatsServer::start();
    let (one, two) = (connect(&nats.url()).await, connect(&nats.url()).await);
    put_at_last(&one, "kept", "value").await;
    let mut watch = watch(&one).await;
    let files = nats.directory().join("jetstream");
    let copy = tempfile::tempdir().unwrap();
    let copied = copy.path().join("jetstream");
    nats.process().kill();
    copy_files(&files, &copied);
    nats.restart();
    for name in ["lost", "lost too", "also lost"] {
        put_at_last(&one, name, "value").await;
        assert_eq!(get_at_last(&two, name).await.value().unwrap(), "value");
    }
    nats.process().kill();
    std::fs::remove_dir_all(&files).unwrap();
    copy_files(&copied, &files);
    nats.restart();
    for number in 0..20 {
        put_at_last(&two, &format!("new {number}"), "value").await;
    }
    let listed = async |store: &NatsStore| {
        get_at_last(store, "kept").await; // it answers again
        store.list("", None, 100).await.unwrap().records
    };
    let (by_one, by_two) = (listed(&one).await, listed(&two).await);
    assert_eq!(by_one, by_two);
    assert_eq!(by_one.len(), 21);
    told_of_a_loss(&mut watch).await;
    for name in ["lost", "lost too", "also lost"] {
        assert_eq!(one.get(&key(name)).await.unwrap().value(), None);
    }
}

fn copy_files(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_too_large_is_refused_and_the_others_are_not() {
    let nats = NatsServer::start();
    let store = connect(&nats.url()).await;
    let large = put("large", absent(&store, "large").await, vec![0; 2 << 20]);
    let (a, b) = (absent(&store, "a").await, absent(&store, "b").await);
    let verdicts = store.commit(vec![put("a", a, "small"), large, put("b", b, "small")]).await;
    assert!(matches!(verdicts[0], Ok(Verdict::Committed { .. })), "{verdicts:?}");
    assert!(
        matches!(&verdicts[1], Err(StoreError::Full { reason }) if reason.contains("max_payload")),
        "{verdicts:?}"
    );
    assert!(matches!(verdicts[2], Ok(Verdict::Committed { .. })), "{verdicts:?}");
}

async fn absent(store: &NatsStore, name: &str) -> Version {
    store.get(&key(name)).await.unwrap().version
}

/// So it looks to a handle, too, whose consumer follows a replica that differs from the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_the_leader_does_not_agree_with_is_made_anew() {
    let nats = NatsServer::start();
    let store = connect(&nats.url()).await;
    let before = put_at_last(&store, "a", "before").await;
    put_at_last(&store, "b", "kept").await;
    let mut watch = watch(&store).await;
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = context.get_stream("KV_dlock").await.unwrap();
    let message = stream.get_raw_message(before.0 / 2).await.unwrap();
    stream.purge().filter(message.subject.as_str()).await.unwrap();
    let writing = async {
        loop {
            let found = get_at_last(&store, "a").await;
            match commit(&store, put("a", found.version, "after")).await {
                Ok(Verdict::Committed { version }) => return version,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let after = tokio::time::timeout(LOST_AFTER, writing).await.expect("written at last");
    assert!(after > before);
    told_of_a_loss(&mut watch).await;
    assert_eq!(get_at_last(&store, "b").await.value().unwrap(), "kept");
}

/// A server that was killed after it had published a marker, and before it had thrown away what the marker forgets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_was_forgotten_and_not_thrown_away_is_no_obstacle() {
    let nats = NatsServer::start();
    let store = connect(&nats.url()).await;
    let version = put_at_last(&store, "a", "value").await;
    let delete = Write { change: Change::Delete { floor: 9 }, ..put("a", version, "") };
    let Ok(Verdict::Committed { version: absence }) = commit(&store, delete).await else {
        panic!("not deleted")
    };
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let marker = [(absence.0 / 2).to_be_bytes(), 9_u64.to_be_bytes()].concat();
    context.publish("$KV.dlock.=marker", marker.into()).await.unwrap().await.unwrap();
    for store in [connect(&nats.url()).await, store] {
        let version = put_at_last(&store, "a", "again").await;
        let delete = Write { change: Change::Delete { floor: 10 }, ..put("a", version, "") };
        assert!(matches!(commit(&store, delete).await, Ok(Verdict::Committed { .. })));
    }
}

/// NATS has some megabytes at a time on their way to one who does not take them.
const LONG: usize = 60_000;

/// A handle that is served by a thread of its own, which can be kept from taking what comes.
fn on_its_thread(nats: &NatsServer) -> (tokio::runtime::Runtime, NatsStore) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let store = runtime.block_on(runtime.spawn(connect_owned(nats.url()))).unwrap();
    (runtime, store)
}

/// NATS skips messages on the way to one who is behind, where it keeps only a few of a record.
#[test]
fn a_handle_that_is_behind_reads_what_was_written_before() {
    let nats = NatsServer::start();
    let ((quick, writer), (slow, reader)) = (on_its_thread(&nats), on_its_thread(&nats));
    let mut watch = slow.block_on(watch(&reader));
    let newest = Arc::new(AtomicU64::new(put_now(&quick, &writer, "a").0));
    let writing = {
        let (writer, newest) = (writer.clone(), Arc::clone(&newest));
        quick.spawn(async move {
            loop {
                let version = Version(newest.load(Ordering::SeqCst));
                match commit(&writer, put("a", version, vec![0; LONG])).await {
                    Ok(Verdict::Committed { version }) => newest.store(version.0, Ordering::SeqCst),
                    other => panic!("{other:?}"),
                }
            }
        })
    };
    // For most of the time nothing that comes is taken.
    let blocking = slow.spawn(async {
        for millis in (1..40).step_by(3).cycle() {
            std::thread::sleep(Duration::from_millis(millis));
            tokio::time::sleep(Duration::from_micros(20 * millis)).await;
        }
    });
    for _ in 0..100 {
        let before = newest.load(Ordering::SeqCst);
        let found = slow.block_on(reader.get(&key("a"))).unwrap();
        assert!(found.version.0 >= before, "{found:?} after {before}");
    }
    blocking.abort();
    writing.abort();
    let last = put_now(&quick, &writer, "last");
    slow.block_on(told(&mut watch, "last", last));
}

/// What was written is known to be there, though it was replaced before it was delivered.
#[test]
fn a_handle_that_is_behind_knows_what_it_has_written() {
    const ROUNDS: usize = 30;
    let nats = NatsServer::start();
    let ((quick, other), (slow, behind)) = (on_its_thread(&nats), on_its_thread(&nats));
    let much = other.clone();
    let writing = quick.spawn(async move {
        loop {
            let version = much.get(&key("much")).await.unwrap().version;
            commit(&much, put("much", version, vec![0; LONG])).await.unwrap();
        }
    });
    let replacing = quick.spawn(async move {
        for round in 0..ROUNDS {
            let name = format!("round {round}");
            let mut found = other.get(&key(&name)).await.unwrap();
            while found.value().is_none() {
                found = other.get(&key(&name)).await.unwrap();
            }
            let replaced = commit(&other, put(&name, found.version, b"another")).await;
            assert!(matches!(replaced, Ok(Verdict::Committed { .. })), "{replaced:?}");
        }
    });
    for round in 0..ROUNDS {
        let name = format!("round {round}");
        let absent = slow.block_on(behind.get(&key(&name))).unwrap().version;
        // Nothing that comes is taken meanwhile.
        let blocked = slow.spawn(async { std::thread::sleep(Duration::from_millis(200)) });
        slow.block_on(blocked).unwrap();
        let written = slow.block_on(commit(&behind, put(&name, absent, b"one")));
        assert!(matches!(written, Ok(Verdict::Committed { .. })), "{written:?}");
    }
    quick.block_on(replacing).unwrap();
    writing.abort();
}

fn put_now(runtime: &tokio::runtime::Runtime, store: &NatsStore, name: &str) -> Version {
    runtime.block_on(put_at_last(store, name, "value"))
}
