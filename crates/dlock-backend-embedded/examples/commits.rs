//! Measures commits: against what the disk can do at best, in memory, and what a record takes of it.
//!
//! ```console
//! $ cargo run --release -p dlock-backend-embedded --example commits -- disk DIRECTORY
//! $ cargo run --release -p dlock-backend-embedded --example commits -- memory
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

use bytes::Bytes;
use dlock_backend_embedded::EmbeddedStore;
use dlock_store::{Change, Key, Store, Verdict, Version, Write};
use futures::executor::block_on;
use futures::stream::{FuturesUnordered, StreamExt};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many writes are under way at a time.
const IN_FLIGHT: [usize; 4] = [1, 64, 512, 1024];
/// What a write takes in the log, about, in bytes.
const WRITE_BYTES: usize = 200;
const VALUE_BYTES: usize = WRITE_BYTES - 36;
/// How often floor and store take turns, and for how long each.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(2);
/// How long a file of the floor is.
const FILE_BYTES: u64 = 16 << 20;
/// How many records the memory is measured with.
const RECORDS: u64 = 1_000_000;
const MEASURED: u64 = 2_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["disk", directory] => disk(Path::new(directory)),
        ["memory"] => memory(),
        _ => println!("say: disk DIRECTORY, or memory"),
    }
}

/// Prints writes per second: of a file that was taken in advance, with a sync after so many, and of the store with so many
/// under way.
fn disk(directory: &Path) {
    println!("{:>9} {:>12} {:>12} {:>7} {:>14}", "in flight", "floor/s", "store/s", "ratio", "work a commit");
    for in_flight in IN_FLIGHT {
        let (mut work, mut count) = (Duration::ZERO, 0.0);
        let mut turns: Vec<(f64, f64)> = (0..TURNS)
            .map(|turn| {
                let floor = floor(&directory.join("floor"), in_flight);
                let path = directory.join(format!("store-{in_flight}-{turn}"));
                let store = EmbeddedStore::open(&path).unwrap();
                let begun = worked();
                let stored = block_on(commits(&store, in_flight, TURN));
                work += worked() - begun;
                count += stored * TURN.as_secs_f64();
                drop(store);
                std::fs::remove_dir_all(&path).unwrap();
                (floor, stored)
            })
            .collect();
        turns.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
        let (floor, stored) = turns[TURNS / 2];
        let (ratio, work) = (stored / floor, work.as_nanos() as f64 / count);
        println!("{in_flight:>9} {floor:>12.0} {stored:>12.0} {ratio:>7.2} {work:>11.0} ns");
    }
}

/// Writes per second of a bare file.
fn floor(path: &Path, writes: usize) -> f64 {
    let batch = vec![7; writes * WRITE_BYTES];
    let (mut count, mut took) = (0, Duration::ZERO);
    while took < TURN {
        let file = File::create(path).unwrap();
        fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES).unwrap();
        file.sync_all().unwrap();
        let begun = Instant::now();
        let mut offset = 0;
        while offset + batch.len() as u64 <= FILE_BYTES && took + begun.elapsed() < TURN {
            file.write_all_at(&batch, offset).unwrap();
            file.sync_data().unwrap();
            offset += batch.len() as u64;
            count += writes;
        }
        took += begun.elapsed();
    }
    std::fs::remove_file(path).unwrap();
    count as f64 / took.as_secs_f64()
}

/// Commits per second, of one small write each, with so many under way.
async fn commits(store: &EmbeddedStore, in_flight: usize, time: Duration) -> f64 {
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    let one = |key: Key, expected: Version| {
        let change = Change::Put(value.clone().into());
        let write = Write { key: key.clone(), expected, change, guards: Default::default() };
        async move { (key, committed(store.commit(vec![write]).await)) }
    };
    let keys = (0..in_flight).map(|number| Key::new(&format!("key {number:016}")).unwrap());
    let mut under_way: FuturesUnordered<_> = keys.map(|key| one(key, Version(0))).collect();
    let begun = Instant::now();
    let mut count = 0u64;
    while begun.elapsed() < time {
        for _ in 0..16 {
            let (key, version) = under_way.next().await.unwrap();
            under_way.push(one(key, version));
            count += 1;
        }
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    while under_way.next().await.is_some() {}
    rate
}

fn committed(answers: Vec<Result<Verdict, dlock_store::StoreError>>) -> Version {
    match answers.into_iter().next() {
        Some(Ok(Verdict::Committed { version })) => version,
        other => panic!("{other:?}"),
    }
}

/// Prints what a commit takes in memory, and what a record does.
fn memory() {
    let store = EmbeddedStore::in_memory();
    let key = |number: u64| Key::new(&format!("lock/{number:015}")).unwrap();
    let put = |key: &Key, expected, value: Bytes| {
        let write = Write {
            key: key.clone(),
            expected,
            change: Change::Put(value.into()),
            guards: Default::default(),
        };
        committed(block_on(store.commit(vec![write])))
    };
    let shuffled = |number: u64| number.wrapping_mul(0x9E37_79B9) % RECORDS;
    let value = Bytes::from_static(&[7; 60]);
    let before = resident_bytes();
    let begun = worked();
    for number in 0..RECORDS {
        put(&key(shuffled(number)), Version(0), value.clone());
    }
    let created = (worked() - begun).as_nanos() as u64 / RECORDS;
    println!("bytes per record: {}", (resident_bytes() - before) / RECORDS);
    println!("create one of {RECORDS}: {created} ns");
    for records in [1, 1000, RECORDS] {
        let keys: Vec<Key> = (0..records).map(|number| key(shuffled(number))).collect();
        let mut versions: Vec<Version> =
            keys.iter().map(|key| block_on(store.get(key)).unwrap().version).collect();
        let begun = worked();
        for number in 0..MEASURED {
            let at = (number % records) as usize;
            versions[at] = put(&keys[at], versions[at], value.clone());
        }
        println!("commit one of {records}: {} ns", (worked() - begun).as_nanos() as u64 / MEASURED);
    }
}

/// For how long this process has had a processor: what others do on the machine does not count.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What this process has in memory, in bytes.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * rustix::param::page_size() as u64
}
