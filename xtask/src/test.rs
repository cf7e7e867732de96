//! `cargo xtask test`: all tests, with all that they need.

use crate::stores::{self, Backend};
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::num::NonZero;
use xshell::{PushEnv, Shell, cmd};

/// Most of a test's time is spent waiting: for leases to run out, for nodes to elect each other.
const THREADS_MIN: usize = 6;

/// Gets the stores, builds the programs that the end-to-end tests start, and runs every test of the workspace, or only
/// the suites of some backends.
pub(crate) fn run(sh: &Shell, backends: &[Backend], arguments: &[String]) -> Result<()> {
    let programs = if backends.is_empty() {
        [&stores::programs(Backend::value_variants()), stores::RESOURCES].concat()
    } else {
        stores::programs(backends)
    };
    let source = stores::provide(sh, &programs)?;
    let features = stores::features(source);
    let _threads = test_threads(sh);
    let tested = if backends.is_empty() {
        // This builds the programs, too: their packages have tests that start them.
        cmd!(sh, "cargo test --locked --workspace {features...} -- {arguments...}").run()
    } else {
        build_programs(sh)?;
        let packages = backends.iter().flat_map(|backend| ["--package", backend.package()]);
        let suites =
            backends.iter().flat_map(|backend| backend.suites()).flat_map(|suite| ["--test", *suite]);
        cmd!(sh, "cargo test --locked {packages...} {features...} -- {arguments...}").run().and_then(|()| {
            cmd!(sh, "cargo test --locked --package dlock-suites {suites...} {features...} -- {arguments...}")
                .run()
        })
    };
    stores::clean_up(sh, source)?;
    tested.context("a test has failed")
}

/// Runs both levels of the conformance suite over all backends, and prints the table.
pub(crate) fn conformance(sh: &Shell, write: bool) -> Result<()> {
    let source = stores::provide(sh, &stores::programs(Backend::value_variants()))?;
    build_programs(sh)?;
    let features = stores::features(source);
    let write = write.then_some("--write");
    let ran = cmd!(sh, "cargo run --locked --package dlock-suites {features...} -- {write...}").run();
    stores::clean_up(sh, source)?;
    ran.context("a backend lacks a behaviour")
}

/// Makes faults for minutes, with programs that were built for release.
pub(crate) fn chaos(sh: &Shell, backend: &str, minutes: f64, seed: u64) -> Result<()> {
    let (minutes, seed) = (minutes.to_string(), seed.to_string());
    let chaos = ["--backend", backend, "--minutes", &minutes, "--seed", &seed];
    run_suite(sh, "chaos", backend, &chaos).context("a promise was not kept, or service did not resume")
}

/// Stops holders past their leases, with programs that were built for release.
pub(crate) fn fencing(sh: &Shell, backend: &str, pauses: usize) -> Result<()> {
    let pauses = pauses.to_string();
    run_suite(sh, "fencing", backend, &["--backend", backend, "--pauses", &pauses])
        .context("a late write got through, or the corruption without a check did not appear")
}

/// Measures recoveries, with programs that were built for release.
pub(crate) fn recovery(sh: &Shell, backend: &str, rounds: usize) -> Result<()> {
    let rounds = rounds.to_string();
    run_suite(sh, "recovery", backend, &["--backend", backend, "--rounds", &rounds])
        .context("a target was not met")
}

/// Soaks, with programs that were built for release.
pub(crate) fn soak(sh: &Shell, backend: &str, minutes: f64, arguments: &[String]) -> Result<()> {
    let minutes = minutes.to_string();
    let mut all = vec!["--backend", backend, "--minutes", &minutes];
    all.extend(arguments.iter().map(String::as_str));
    run_suite(sh, "soak", backend, &all).context("something grew, or was left behind")
}

/// Runs a program of the suites over a store, which is provided.
fn run_suite(sh: &Shell, program: &str, backend: &str, arguments: &[&str]) -> Result<()> {
    let store = backend.split('-').next().unwrap_or_default();
    let store = Backend::from_str(store, false).map_err(anyhow::Error::msg).context("--backend")?;
    let source = stores::provide(sh, store.programs())?;
    let features = stores::features(source);
    cmd!(sh, "cargo build --locked --release --bins --package dlock-server --package dlock-cli").run()?;
    let ran = cmd!(
        sh,
        "cargo run --locked --release --package dlock-suites --bin {program} {features...} -- {arguments...}"
    )
    .run();
    stores::clean_up(sh, source)?;
    Ok(ran?)
}

/// Simulates, fast and with all assertions.
pub(crate) fn simulate(sh: &Shell, arguments: &[String]) -> Result<()> {
    let ran =
        cmd!(sh, "cargo run --locked --profile simulation --package dlock-simulation -- {arguments...}");
    ran.run().context("a rule was broken")
}

/// How many tests run at a time, unless the user says so.
fn test_threads(sh: &Shell) -> PushEnv<'_> {
    const NAME: &str = "RUST_TEST_THREADS";
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = std::env::var(NAME).unwrap_or_else(|_| cores.max(THREADS_MIN).to_string());
    sh.push_env(NAME, threads)
}

fn build_programs(sh: &Shell) -> Result<()> {
    cmd!(sh, "cargo build --locked --bins --package dlock-server --package dlock-cli")
        .run()
        .context("the programs under test do not build")
}
