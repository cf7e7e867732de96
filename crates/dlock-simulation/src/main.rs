//! `dlock-simulate`: runs seeds, and shows those that break a rule.
#![allow(clippy::print_stdout)] // it talks to its user

use clap::Parser;
use dlock_simulation::{Bug, Keep, Options, Recipe, run};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Simulates dlock: servers, clients, a store and a network full of faults, one run for each seed.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many runs at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Plant a bug.
    #[arg(long, value_enum)]
    bug: Option<Bug>,
    /// Let the store go back in time, too.
    #[arg(long)]
    restores: bool,
    /// Let the servers master resources.
    #[arg(long)]
    mastering: bool,
    /// Let the clients lock by the usual recipe on etcd, instead of with dlock.
    #[arg(long, value_enum)]
    recipe: Option<Recipe>,
    /// Without faults.
    #[arg(long)]
    calm: bool,
    /// Show every event of the runs.
    #[arg(long)]
    trace: bool,
    /// Stop after this many bad seeds.
    #[arg(long, default_value_t = 10)]
    failures_max: u64,
}

#[derive(Default)]
struct Totals {
    runs: u64,
    grants: u64,
    operations: u64,
    from_memory: u64,
    events: u64,
    inconclusive: u64,
    simulated: Duration,
    accepted: u64,
    fenced: u64,
    lost_updates: u64,
    bad: BTreeMap<u64, String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let options = Options {
        bug: arguments.bug,
        restores: arguments.restores,
        calm: arguments.calm,
        mastering: arguments.mastering,
        recipe: arguments.recipe,
    };
    let keep = if arguments.trace { Keep::Lines } else { Keep::Hash };
    let (next, bad) = (AtomicU64::new(0), AtomicU64::new(0));
    let totals = Mutex::new(Totals::default());
    let worker = || -> anyhow::Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= arguments.seeds || bad.load(Ordering::Relaxed) >= arguments.failures_max {
                return Ok(());
            }
            let seed = arguments.from.wrapping_add(number);
            let report = run(seed, options, keep)?;
            let mut totals = totals.lock().map_err(|_| anyhow::anyhow!("a worker has panicked"))?;
            totals.runs += 1;
            totals.grants += report.grants() as u64;
            totals.operations += report.history.operations.len() as u64;
            totals.from_memory += report.from_memory;
            totals.events += report.trace.count();
            totals.inconclusive += report.findings.inconclusive as u64;
            totals.simulated += report.simulated;
            totals.accepted += report.writes.accepted;
            totals.fenced += report.writes.fenced;
            totals.lost_updates += report.writes.lost_updates;
            if arguments.trace {
                report.trace.lines().iter().for_each(|line| println!("{line}"));
                println!("seed {seed}: trace {:016x}", report.trace.hash());
            }
            if !report.is_good() {
                bad.fetch_add(1, Ordering::Relaxed);
                println!("seed {seed}: trace {:016x}", report.trace.hash());
                for violation in &report.findings.violations {
                    println!("{violation}");
                }
                let first = report.findings.violations[0].rule;
                totals.bad.insert(seed, format!("{first:?}"));
            }
        }
    };
    let results = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        jobs.into_iter().map(|job| job.join()).collect::<Vec<_>>()
    });
    for result in results {
        result.map_err(|_| anyhow::anyhow!("a worker has panicked"))??;
    }
    let totals = totals.into_inner()?;
    println!(
        "{} runs, {:.0} simulated hours, {} operations ({} from memory), {} grants, {} events, {} writes ({} fenced off, {} updates lost), {} histories inconclusive, {} bad: {:?}",
        totals.runs,
        totals.simulated.as_secs_f64() / 3600.0,
        totals.operations,
        totals.from_memory,
        totals.grants,
        totals.events,
        totals.accepted,
        totals.fenced,
        totals.lost_updates,
        totals.inconclusive,
        totals.bad.len(),
        totals.bad
    );
    Ok(if totals.bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
