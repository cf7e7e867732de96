//! What reaches different parts of the code is run again, as it is and damaged.
#![allow(clippy::unwrap_used)]

use dlock_fuzz::{TARGETS, Target, methods};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::panic;
use std::path::PathBuf;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many damaged inputs of each target are run.
const DAMAGED: usize = 300;

/// Panics of any thread and task: tokio keeps those of tasks to itself.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            usual(info);
        }));
    });
}

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target.name);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

fn run(target: &Target, data: &[u8]) {
    (target.run)(data);
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "a task has panicked on {data:02x?}");
}

fn damage(data: &mut Vec<u8>, other: &[u8], random: &mut StdRng) {
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=data.len());
        match random.random_range(0..5) {
            0 => data.truncate(at),
            1 => data.insert(at, random.random()),
            2 if at < data.len() => drop(data.remove(at)),
            3 => data.extend_from_slice(&other[random.random_range(0..=other.len())..]),
            _ if at < data.len() => data[at] ^= 1 << random.random_range(0..8),
            _ => {}
        }
    }
}

fn replay(name: &str) {
    count_panics();
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "there is no corpus of {name}");
    for data in &corpus {
        run(target, data);
    }
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..DAMAGED {
        let mut data = corpus[random.random_range(0..corpus.len())].clone();
        let other = &corpus[random.random_range(0..corpus.len())];
        damage(&mut data, other, &mut random);
        run(target, &data);
    }
}

macro_rules! corpora {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)) })*

        #[test]
        fn each_target_is_replayed() {
            assert_eq!(TARGETS.map(|target| target.name), [$(stringify!($name)),*]);
        }
    };
}

corpora! { answers calls commands configuration envelopes frames names records }

#[test]
fn each_method_is_called() {
    let calls = corpus(TARGETS.iter().find(|target| target.name == "calls").unwrap());
    for (number, method) in methods().iter().enumerate() {
        assert!(calls.iter().any(|data| data.first() == Some(&(number as u8))), "nothing calls {method}");
    }
}

#[test]
fn each_target_has_its_program() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for Target { name, .. } in TARGETS {
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
        let program = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("dlock_fuzz::run(\"{name}\", data)")), "{name}");
    }
}
