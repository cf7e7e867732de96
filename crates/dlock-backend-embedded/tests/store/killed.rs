//! Real processes on real files, killed again and again.

use dlock_backend_embedded::{EmbeddedStore, Upkeep};
use dlock_store::{Change, Key, Store, Verdict, Version, Write};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Says to the child where to write.
const CHILD: &str = "DLOCK_TEST_WRITER_DIRECTORY";
/// How many processes are killed, if not [`KILLS`].
const KILLS_VARIABLE: &str = "DLOCK_TEST_KILLS";
const KILLS: usize = 50;
/// How many write at a time, each its own records.
const WRITERS: usize = 16;
/// The most lines that a child says before it is killed.
const LINES_MAX: usize = 400;
/// So short a log that snapshots are written all the time.
const LOG_BYTES: u64 = 16 << 10;

fn open(path: &Path) -> EmbeddedStore {
    let upkeep = Upkeep { log_bytes: LOG_BYTES, ..Upkeep::default() };
    EmbeddedStore::open_with(path, upkeep).unwrap()
}

fn pair(writer: usize) -> [Key; 2] {
    ["first", "second"].map(|half| Key::new(&format!("{half} of writer {writer}")).unwrap())
}

/// A writer's number, which both of its records must have.
async fn number(store: &EmbeddedStore, writer: usize) -> (u64, [Version; 2]) {
    let [first, second] = pair(writer);
    let (first, second) = (store.get(&first).await.unwrap(), store.get(&second).await.unwrap());
    assert_eq!(first.value(), second.value(), "writer {writer}: half a batch");
    let number = first.value().map_or(0, |value| u64::from_be_bytes(value[..8].try_into().unwrap()));
    (number, [first.version, second.version])
}

/// Writes one number after the other, and says each that was acknowledged.
async fn write_for_ever(store: EmbeddedStore, writer: usize) {
    loop {
        let (before, versions) = number(&store, writer).await;
        let value = [(before + 1).to_be_bytes().as_slice(), &[7; 100]].concat();
        let writes = pair(writer).into_iter().zip(versions).map(|(key, expected)| {
            let change = Change::Put(value.clone().into());
            Write { key, expected, change, guards: Default::default() }
        });
        let answers = store.commit(writes.collect()).await;
        assert!(answers.iter().all(|answer| matches!(answer, Ok(Verdict::Committed { .. }))), "{answers:?}");
        println!("acknowledged {writer} {}", before + 1);
    }
}

/// Not a test of its own: what the next one starts as another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = open(Path::new(&path));
    let writers = (0..WRITERS).map(|writer| tokio::spawn(write_for_ever(store.clone(), writer)));
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// Starts a child, kills it after so many lines, and says what it has said: of each writer, the last number.
fn kill_after(count: usize, path: &Path) -> BTreeMap<usize, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child_that_writes", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut said = BTreeMap::new();
    let mut left = count;
    // What it has said before its death is still read.
    for line in lines {
        let Some((_, words)) = line.split_once("acknowledged ") else { continue };
        let (writer, number) = words.split_once(' ').unwrap();
        said.insert(writer.parse().unwrap(), number.parse().unwrap());
        left -= 1;
        if left == 0 {
            child.kill().unwrap();
            left = usize::MAX;
        }
    }
    child.wait().unwrap();
    said
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let kills = std::env::var(KILLS_VARIABLE).ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let mut snapshots = 0;
    for kill in 0..kills {
        let before = {
            let store = open(directory.path());
            let mut numbers = BTreeMap::new();
            for writer in 0..WRITERS {
                numbers.insert(writer, number(&store, writer).await.0);
            }
            numbers
        };
        let said = kill_after(random.random_range(1..LINES_MAX), directory.path());
        assert!(!said.is_empty(), "kill {kill}: the child acknowledged nothing");
        let names = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        snapshots += names.filter(|name| name.to_string_lossy().starts_with("snapshot-")).count();
        let store = open(directory.path());
        for (writer, before) in before {
            let acknowledged = said.get(&writer).copied().unwrap_or(before);
            let (found, _) = number(&store, writer).await;
            // One more may have been written and not been said.
            let expected = acknowledged..=acknowledged + 1;
            assert!(
                expected.contains(&found),
                "kill {kill}, writer {writer}: {acknowledged} was acknowledged, and {found} is there"
            );
        }
    }
    assert!(snapshots > 0, "no snapshot was ever written");
}
