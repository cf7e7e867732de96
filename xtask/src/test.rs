//! `cargo xtask test`: all tests, with all that they need.

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// Builds the programs that the end-to-end tests start, and runs every test of the workspace.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> Result<()> {
    cmd!(sh, "cargo build --locked --bins --package dlock-server --package dlock-cli")
        .run()
        .context("the programs under test do not build")?;
    cmd!(sh, "cargo test --locked --workspace -- {arguments...}").run().context("a test has failed")?;
    Ok(())
}
