//! How many writes a second the store commits, and how many a bare compare-and-swap script does, on the same server in
//! the same run: the ratio is what the store costs, or gains by sending many writes in one script.
//!
//! `cargo run --release -p dlock-backend-redis --example writes -- [SECONDS] [redis-server's options]`
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)] // a program that measures

use dlock_backend_redis::{RedisConfig, RedisStore, Settings};
use dlock_store::{Change, Key, Store, Verdict, Version, Write};
use dlock_test_stores::RedisServer;
use redis::aio::MultiplexedConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Of each value.
const VALUE_BYTES: usize = 200;

/// What a store can't do without: one key compared and set, its version before its value.
const BARE: &str = "
local version = redis.call('GETRANGE', KEYS[1], 0, 7)
if version ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2] .. ARGV[3])
return 1";

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(3, |text| text.parse().unwrap());
    let given: Vec<String> = arguments.collect();
    let options: Vec<&str> = match given.len() {
        0 => vec!["--save", "", "--appendonly", "no"],
        _ => given.iter().map(String::as_str).collect(),
    };
    let server = RedisServer::start_with(&options);
    println!("redis-server {}", options.join(" "));
    println!(
        "{:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>5}",
        "in flight", "bare/s", "server µs", "store/s", "server µs", "ratio"
    );
    let time = Duration::from_secs(seconds);
    for in_flight in [1, 64, 512] {
        // Warm before the first is measured: connections, and the keys themselves.
        bare(&server, in_flight, Duration::from_millis(300)).await;
        server.command(&["CONFIG", "RESETSTAT"]);
        let bare = bare(&server, in_flight, time).await;
        let bare_server = script_micros(&server) / (bare * time.as_secs_f64());
        store(&server, in_flight, Duration::from_millis(300)).await;
        server.command(&["CONFIG", "RESETSTAT"]);
        let store = store(&server, in_flight, time).await;
        let store_server = script_micros(&server) / (store * time.as_secs_f64());
        let ratio = store / bare;
        println!(
            "{in_flight:>9}  {bare:>9.0}  {bare_server:>9.2}  {store:>9.0}  {store_server:>9.2}  {ratio:>5.2}"
        );
    }
}

/// How long the server was busy with scripts since its statistics were reset, in microseconds.
fn script_micros(server: &RedisServer) -> f64 {
    let stats = server.command(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).unwrap();
    line.split(',').find_map(|field| field.strip_prefix("usec=")).unwrap().parse().unwrap()
}

/// Writers of one key each over one connection, for some time; how many writes a second were committed.
async fn bare(server: &RedisServer, writers: usize, time: Duration) -> f64 {
    let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let info: redis::ConnectionInfo = format!("redis://{}", server.address()).parse().unwrap();
    let client = redis::Client::open(info.set_tcp_settings(tcp)).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let script = Arc::new(redis::Script::new(BARE));
    script.load_async(&mut connection.clone()).await.unwrap();
    measure(writers, time, |writer, until, count| {
        bare_writer(connection.clone(), Arc::clone(&script), writer, until, count)
    })
    .await
}

async fn bare_writer(
    mut connection: MultiplexedConnection,
    script: Arc<redis::Script>,
    writer: usize,
    until: Instant,
    count: Arc<AtomicU64>,
) {
    let (key, value) = (format!("bare:{writer}"), vec![b'v'; VALUE_BYTES]);
    let mut version: u64 = 1;
    redis::cmd("SET").arg(&key).arg(&version.to_be_bytes()).exec_async(&mut connection).await.unwrap();
    while Instant::now() < until {
        let mut call = redis::cmd("EVALSHA");
        call.arg(script.get_hash()).arg(1).arg(&key).arg(&version.to_be_bytes());
        call.arg(&(version + 1).to_be_bytes()).arg(&value);
        let done: u64 = call.query_async(&mut connection).await.unwrap();
        assert_eq!(done, 1);
        version += 1;
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The same through the store.
async fn store(server: &RedisServer, writers: usize, time: Duration) -> f64 {
    let config = RedisConfig { addr: Some(server.address()), ..RedisConfig::default() };
    let store = Arc::new(RedisStore::open(&Settings::try_from(&config).unwrap()).await.unwrap());
    measure(writers, time, |writer, until, count| store_writer(Arc::clone(&store), writer, until, count))
        .await
}

async fn store_writer(store: Arc<RedisStore>, writer: usize, until: Instant, count: Arc<AtomicU64>) {
    let key = Key::new(&format!("r/default/{writer}")).unwrap();
    let value = bytes::Bytes::from(vec![b'v'; VALUE_BYTES]);
    let mut expected: Version = store.get(&key).await.unwrap().version;
    while Instant::now() < until {
        let change = Change::Put(value.clone().into());
        let write = Write { key: key.clone(), expected, change, guards: Default::default() };
        match store.commit(vec![write]).await.remove(0) {
            Ok(Verdict::Committed { version }) => expected = version,
            other => panic!("{other:?}"),
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn measure<F: Future<Output = ()> + Send + 'static>(
    writers: usize,
    time: Duration,
    start: impl Fn(usize, Instant, Arc<AtomicU64>) -> F,
) -> f64 {
    let count = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let until = started + time;
    let tasks: Vec<_> =
        (0..writers).map(|writer| tokio::spawn(start(writer, until, Arc::clone(&count)))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}
