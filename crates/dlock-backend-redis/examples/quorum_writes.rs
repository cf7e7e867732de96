//! How many writes a second a quorum commits, and how many one node of the same kind does, in the same run.
//!
//! `cargo run --release -p dlock-backend-redis --example quorum_writes -- [NODES] [SECONDS] [redis-server's options]`
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)] // a program that measures

use dlock_backend_redis::{RedisConfig, Settings, open};
use dlock_store::{Change, Key, Store, Verdict, Version, Write};
use dlock_test_stores::RedisQuorum;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Of each value.
const VALUE_BYTES: usize = 200;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(5, |text| text.parse().unwrap());
    let seconds: u64 = arguments.next().map_or(3, |text| text.parse().unwrap());
    let given: Vec<String> = arguments.collect();
    let options: Vec<&str> = match given.len() {
        0 => vec!["--save", "", "--appendonly", "no"],
        _ => given.iter().map(String::as_str).collect(),
    };
    let (nodes, single) = (RedisQuorum::start_with(count, &options), RedisQuorum::start_with(1, &options));
    let config = |mode: &str, addresses| RedisConfig {
        mode: Some(mode.to_owned()),
        addrs: Some(addresses),
        ..RedisConfig::default()
    };
    let quorum = config("quorum", nodes.addresses());
    let single = config("single", single.addresses());
    println!("{count} nodes, redis-server {}", options.join(" "));
    println!("{:>9}  {:>9}  {:>9}  {:>5}  {:>9}", "in flight", "quorum/s", "single/s", "ratio", "handed/s");
    let time = Duration::from_secs(seconds);
    for in_flight in [1, 64, 512] {
        let quorum_rate = own_keys(&quorum, in_flight, time).await;
        let single_rate = own_keys(&single, in_flight, time).await;
        let handed = handed_over(&quorum, in_flight, time).await;
        let ratio = quorum_rate / single_rate;
        println!("{in_flight:>9}  {quorum_rate:>9.0}  {single_rate:>9.0}  {ratio:>5.2}  {handed:>9.0}");
    }
}

async fn handle(config: &RedisConfig) -> Arc<dyn Store> {
    open(&Settings::try_from(config).unwrap()).await.unwrap()
}

/// Writers of one key each, over one handle; how many writes a second were committed.
async fn own_keys(config: &RedisConfig, writers: usize, time: Duration) -> f64 {
    let store = handle(config).await;
    rate(writers, time, move |_| Arc::clone(&store)).await
}

/// The same, each write over another of two handles: as locks that go from server to server.
async fn handed_over(config: &RedisConfig, writers: usize, time: Duration) -> f64 {
    let stores = [handle(config).await, handle(config).await];
    let stores = Arc::new(stores);
    rate(writers, time, move |write| Arc::clone(&stores[write % 2])).await
}

async fn rate(
    writers: usize,
    time: Duration,
    store: impl Fn(usize) -> Arc<dyn Store> + Clone + Send + 'static,
) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (store, done) = (store.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let key = Key::new(&format!("key {writer}")).unwrap();
                let mut version: Version = store(0).get(&key).await.unwrap().version;
                for write in 0.. {
                    let change = Change::Put(vec![b'x'; VALUE_BYTES].into());
                    let write_of =
                        Write { key: key.clone(), expected: version, change, guards: Default::default() };
                    match store(write).commit(vec![write_of]).await.remove(0).unwrap() {
                        Verdict::Committed { version: new } => version = new,
                        other => panic!("{other:?}"),
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (before, started) = (done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(time).await;
    let rate = (done.load(Ordering::Relaxed) - before) as f64 / started.elapsed().as_secs_f64();
    tasks.iter().for_each(|task| task.abort());
    rate
}
