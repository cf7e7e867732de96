//! `cargo xtask test`: all tests, with all that they need.

use crate::stores::{self, Backend, Source};
use anyhow::{Context, Result};
use clap::ValueEnum;
use xshell::{Shell, cmd};

/// Builds the programs that the end-to-end tests start, gets the stores, and runs every test of the workspace, or only
/// the suites of some backends.
pub(crate) fn run(sh: &Shell, backends: &[Backend], arguments: &[String]) -> Result<()> {
    let wanted = if backends.is_empty() { Backend::value_variants() } else { backends };
    let source = stores::provide(sh, wanted)?;
    build_programs(sh)?;
    let features = features(source);
    let tested = if backends.is_empty() {
        cmd!(sh, "cargo test --locked --workspace {features...} -- {arguments...}").run()
    } else {
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
    let source = stores::provide(sh, Backend::value_variants())?;
    build_programs(sh)?;
    let features = features(source);
    let write = write.then_some("--write");
    let ran = cmd!(sh, "cargo run --locked --package dlock-suites {features...} -- {write...}").run();
    stores::clean_up(sh, source)?;
    ran.context("a backend lacks a behaviour")
}

fn build_programs(sh: &Shell) -> Result<()> {
    cmd!(sh, "cargo build --locked --bins --package dlock-server --package dlock-cli")
        .run()
        .context("the programs under test do not build")
}

fn features(source: Source) -> &'static [&'static str] {
    match source {
        Source::Path => &[],
        Source::Containers => &["--features", "dlock-test-stores/containers"],
    }
}
