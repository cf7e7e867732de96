//! One node.

use crate::world::*;
use dlock_backend_redis::OpenError;
use dlock_store::{Condition, Scope, Store, StoreError, Verdict, Version, WatchEvent};
use dlock_test_stores::RedisServer;
use futures::StreamExt;
use std::time::Duration;

async fn node() -> Vec<std::sync::Arc<dyn Store>> {
    let redis = RedisServer::start();
    let toml = at(&redis);
    handles(redis, &toml).await
}

mod conformance {
    dlock_store::conformance_suite!(super::node);
}

fn at(redis: &RedisServer) -> String {
    format!("addr = \"{}\"\ntimeout = \"1s\"", redis.address())
}

fn codes(conditions: &[Condition]) -> Vec<&'static str> {
    conditions.iter().map(|condition| condition.code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_after_the_scripts_were_flushed() {
    let redis = RedisServer::start();
    let store = open(&at(&redis)).await;
    let first = overwrite(&store, "a", "one").await;
    redis.command(&["SCRIPT", "FLUSH"]);
    let second = committed(commit(&store, put("a", first, "two")).await);
    assert!(second > first);
    assert_eq!(value(&store, "a").await.as_deref(), Some("two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_grow_over_a_restart_that_lost_the_newest_writes_and_epochs() {
    let mut redis = RedisServer::start_with(&["--appendonly", "no", "--save", ""]);
    let store = open(&at(&redis)).await;
    overwrite(&store, "a", "saved").await;
    redis.command(&["SAVE"]);
    let mut highest = [Version(0); 2];
    // Each time, all of what the run before has written is lost, its epoch among it.
    for run in 0..3 {
        redis.restart();
        assert_eq!(value(&store, "a").await.as_deref(), Some("saved"), "run {run}");
        // A handle that knows nothing of the runs before is as good.
        let fresh = open(&at(&redis)).await;
        for store in [&fresh, &store] {
            for (name, highest) in ["a", "b"].iter().zip(&mut highest) {
                let present = overwrite(store, name, &format!("lost {run}")).await;
                assert!(present > *highest, "run {run}: {present:?} after {highest:?}");
                *highest = committed(commit(store, delete(name, present, 1)).await);
                assert!(*highest > present);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_a_server_that_stands_still_is_of_unknown_outcome() {
    let mut redis = RedisServer::start();
    let store = open(&at(&redis)).await;
    let version = overwrite(&store, "a", "one").await;
    redis.process().pause();
    let answer = commit(&store, put("a", version, "two")).await;
    assert!(matches!(answer, Err(StoreError::Ambiguous { .. })), "{answer:?}");
    let answer = store.get(&key("a")).await;
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
    redis.process().resume();
    // What was under way comes into effect at most once: the same write either does it now or finds it done.
    match commit(&store, put("a", version, "two")).await {
        Ok(Verdict::Committed { .. }) => {}
        Ok(Verdict::Conflict { current: Some(current) }) => {
            assert_eq!(current.value().map(|value| &value[..]), Some(&b"two"[..]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(value(&store, "a").await.as_deref(), Some("two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_unavailable_and_nothing_was_written() {
    let mut redis = RedisServer::start();
    let store = open(&at(&redis)).await;
    let version = overwrite(&store, "a", "one").await;
    redis.process().kill();
    // The connection's end may be noticed with the write already on its way; not so the next time.
    drop(commit(&store, put("a", version, "two")).await);
    let answer = commit(&store, put("a", version, "two")).await;
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
    assert_eq!(codes(&store.health().await), ["UNREACHABLE"]);
    redis.restart();
    assert_eq!(value(&store, "a").await.as_deref(), Some("one"));
    assert_eq!(codes(&store.health().await), [""; 0]);
    committed(commit(&store, put("a", version, "two")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_asks_to_read_again_after_the_server_was_away_and_then_tells_of_changes() {
    let mut redis = RedisServer::start();
    let store = open(&at(&redis)).await;
    let mut watch = store.watch(Scope::Prefix("w/".to_owned())).await.unwrap();
    redis.restart();
    let within = Duration::from_secs(20);
    loop {
        let event = tokio::time::timeout(within, watch.next()).await.expect("no resynchronisation").unwrap();
        if event == WatchEvent::Resync {
            break;
        }
    }
    let version = overwrite(&store, "w/a", "one").await;
    loop {
        let event = tokio::time::timeout(within, watch.next()).await.expect("a lost change").unwrap();
        if let WatchEvent::Changed { key, record } = event {
            assert_eq!((key.as_str(), record.unwrap().version), ("w/a", version));
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_writes_as_full_and_says_so() {
    let redis = RedisServer::start_with(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let store = open(&at(&redis)).await;
    let kept = overwrite(&store, "kept", "small").await;
    let big = "x".repeat(256 * 1024);
    let mut refused = None;
    for number in 0..100 {
        let answer = commit(&store, put(&format!("big {number}"), Version(0), &big)).await;
        if let Err(error) = answer {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(StoreError::Full { .. })), "{refused:?}");
    let conditions = store.health().await;
    assert_eq!(codes(&conditions), ["NOSPACE"], "{conditions:?}");
    // What is there can still be read, and deleted.
    assert_eq!(value(&store, "kept").await.as_deref(), Some("small"));
    committed(commit(&store, delete("kept", kept, 1)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_cannot_promise_is_said() {
    let memory =
        RedisServer::start_with(&["--save", "", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let store = open(&at(&memory)).await;
    let caveats = store.info().caveats.join("\n");
    assert!(
        caveats.contains("appendonly off") && caveats.contains("maxmemory-policy allkeys-lru"),
        "{caveats}"
    );
    assert_eq!(codes(&store.health().await), ["EVICTION"]);
    let lazy = RedisServer::start_with(&["--appendonly", "yes"]);
    let caveats = open(&at(&lazy)).await.info().caveats.join("\n");
    assert!(caveats.contains("appendfsync everysec"), "{caveats}");
    let strict = RedisServer::start();
    assert_eq!(open(&at(&strict)).await.info().caveats, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_with_another_prefix_or_database_share_nothing() {
    let redis = RedisServer::start();
    let one = open(&at(&redis)).await;
    let others = [
        open(&format!("{}\nprefix = \"other\"", at(&redis))).await,
        open(&format!("{}\ndb = 3", at(&redis))).await,
    ];
    let mut watches = Vec::new();
    for other in &others {
        let mut watch = other.watch(Scope::Prefix(String::new())).await.unwrap();
        // That it has just begun to hear may be news.
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(200), watch.next()).await {
            assert_eq!(event, WatchEvent::Resync);
        }
        watches.push(watch);
    }
    overwrite(&one, "a", "one").await;
    for (other, watch) in others.iter().zip(&mut watches) {
        assert_eq!(value(other, "a").await, None);
        assert!(other.list("", None, 10).await.unwrap().records.is_empty());
        overwrite(other, "b", "own").await;
        let event = watch.next().await.unwrap();
        assert!(matches!(&event, WatchEvent::Changed { key, .. } if key.as_str() == "b"), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_only_the_documented_permissions_and_is_told_what_is_missing() {
    let redis = RedisServer::start();
    let acl = |user: &str, rules: &[&str]| {
        redis.command(&[&["ACL", "SETUSER", user, "on", ">secret"], rules].concat());
    };
    let documented = "~dlock:* &dlock:* +@connection +@scripting +info +get +mget +getrange +set +del +zadd +zrem +zrangebylex +publish +subscribe +time +config|get";
    acl("dlock", &documented.split(' ').collect::<Vec<_>>());
    acl("mute", &documented.split(' ').filter(|rule| *rule != "&dlock:*").collect::<Vec<_>>());
    let with =
        |user: &str, password: &str| format!("{}\nuser = \"{user}\"\npassword = \"{password}\"", at(&redis));
    let store = open(&with("dlock", "secret")).await;
    let version = overwrite(&store, "a", "one").await;
    committed(commit(&store, delete("a", version, 0)).await);
    drop(store.watch(Scope::Key(key("a"))).await.unwrap());
    assert!(store.list("", None, 10).await.unwrap().records.is_empty());
    assert_eq!(codes(&store.health().await), [""; 0]);
    let message = |error: OpenError| error.to_string();
    let wrong = message(try_open(&with("dlock", "guess")).await.unwrap_err());
    assert!(wrong.contains("redis.password"), "{wrong}");
    redis.command(&["ACL", "SETUSER", "default", "off"]);
    let nobody = message(try_open(&at(&redis)).await.unwrap_err());
    assert!(nobody.contains("redis.password"), "{nobody}");
    let mute = message(try_open(&with("mute", "secret")).await.unwrap_err());
    assert!(mute.contains("permission"), "{mute}");
    // A password that was changed is read again.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    let toml = format!("{}\nuser = \"dlock\"\npassword_file = {:?}", at(&redis), file.path());
    overwrite(&open(&toml).await, "a", "with a file").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("redis.sock");
    let _redis = RedisServer::start_with(&["--unixsocket", socket.to_str().unwrap()]);
    let store = open(&format!("network = \"unix\"\naddr = {socket:?}")).await;
    overwrite(&store, "a", "one").await;
    assert_eq!(value(&store, "a").await.as_deref(), Some("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_ours_is_named() {
    let mut redis = RedisServer::start();
    let toml = at(&redis);
    redis.command(&["SET", "dlock:{0}:r:a", "?"]);
    let store = open(&toml).await;
    let foreign = store.get(&key("a")).await;
    assert!(matches!(foreign, Err(StoreError::Invalid { .. })), "{foreign:?}");
    let cluster = try_open(&toml.replace("addr =", "mode = \"cluster\"\naddr =")).await.unwrap_err();
    assert!(cluster.to_string().contains(&redis.address()), "{cluster}");
    let newer = "9 somebody 7";
    redis.command(&["SET", "dlock:{0}:epoch", newer]);
    let newer = try_open(&toml).await.unwrap_err().to_string();
    assert!(newer.contains("newer dlock") && newer.contains("upgrade"), "{newer}");
    redis.process().kill();
    let gone = try_open(&toml).await.unwrap_err();
    assert!(matches!(gone, OpenError::Unreachable { .. }), "{gone}");
    assert!(gone.to_string().contains("redis.addr"), "{gone}");
}
