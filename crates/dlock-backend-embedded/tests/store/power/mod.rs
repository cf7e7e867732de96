//! Power cuts, full disks and failed syncs, on a simulated disk: nothing that was acknowledged is lost, and nothing is there
//! in part.

mod model;
mod planted;
mod run;

use planted::{Bug, Planted};
use run::{Run, Seen};
use std::sync::Arc;

/// How many cuts there are: so many that what is rare happens often.
const CUTS: usize = 10_000;
/// A planted bug is found by so many seeds.
const SEEDS_FOR_A_BUG: u64 = 400;
/// A seed to be run alone.
const SEED: &str = "DLOCK_POWER_SEED";

fn failed(seed: u64, what: &str) -> String {
    format!("{what}\nreplay: {SEED}={seed} cargo test -p dlock-backend-embedded --test store power::nothing")
}

/// Runs seeds until there were so many cuts.
fn cut(seeds: impl Iterator<Item = u64>, cuts: usize) -> Result<Seen, String> {
    let mut seen = Seen::default();
    for seed in seeds {
        let run = Run::new(seed, |disk| Arc::new(disk));
        run.go(&mut seen).map_err(|what| failed(seed, &what))?;
        if seen.cuts >= cuts {
            break;
        }
    }
    Ok(seen)
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_there_in_part() {
    if let Some(seed) = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()) {
        cut(std::iter::once(seed), 1).unwrap_or_else(|what| panic!("{what}"));
        return;
    }
    // Each thread has seeds of its own: most of the time, one of a run's two threads waits for the other.
    let threads = 2;
    let run = |first: u64| cut((first..).step_by(threads), CUTS / threads);
    let seen = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads as u64).map(|first| scope.spawn(move || run(first))).collect();
        let seen = running.into_iter().map(|thread| thread.join().unwrap());
        seen.fold(Seen::default(), |all, seen| all + seen.unwrap_or_else(|what| panic!("{what}")))
    });
    println!("{seen:?}");
    assert!(seen.cuts >= CUTS);
    // A run that cuts at the same place each time would prove little.
    let rare = CUTS / 100;
    let happened = [seen.opening, seen.snapshots, seen.switches, seen.mending, seen.restarts, seen.unknown];
    assert!(happened.iter().all(|count| *count >= rare), "{seen:?}");
}

#[test]
fn a_seed_does_the_same_each_time() {
    let runs =
        [(); 2].map(|()| (0..40).map(|seed| cut(std::iter::once(seed), 1).unwrap()).collect::<Vec<_>>());
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        let found = (0..SEEDS_FOR_A_BUG).find_map(|seed| {
            let run = Run::new(seed, |disk| Arc::new(Planted { disk, bug }));
            run.go(&mut Seen::default()).err().map(|what| (seed, what))
        });
        match found {
            Some((seed, what)) => println!("{bug:?}: seed {seed}: {what}"),
            None => panic!("{bug:?} is not found by {SEEDS_FOR_A_BUG} seeds"),
        }
    }
}
