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
    cmd!(sh, "cargo build --locked --bins --package dlock-server --package dlock-cli")
        .run()
        .context("the programs under test do not build")?;
    let features: &[&str] = match source {
        Source::Path => &[],
        Source::Containers => &["--features", "dlock-test-stores/containers"],
    };
    let tested = if backends.is_empty() {
        cmd!(sh, "cargo test --locked --workspace {features...} -- {arguments...}").run()
    } else {
        let packages = backends.iter().flat_map(|backend| ["--package", backend.package()]);
        cmd!(sh, "cargo test --locked {packages...} {features...} -- {arguments...}").run()
    };
    stores::clean_up(sh, source)?;
    tested.context("a test has failed")
}
