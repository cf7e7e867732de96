//! `cargo xtask miri`: the core's tests in Miri, an interpreter that finds undefined behaviour. It is part of nightly Rust only.

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// How many random cases each property is tried with, in place of hundreds.
const PROPTEST_CASES: &str = "4";

/// Runs the core's tests. Sizes are smaller there: the interpreter is hundreds of times slower.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> Result<()> {
    cmd!(sh, "rustup run nightly cargo miri --version")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .context(
            "there is no Miri: `rustup toolchain install nightly --component miri,rust-src` installs it",
        )?;
    // The scripts of the resource's tests are files.
    let _flags = sh.push_env("MIRIFLAGS", "-Zmiri-disable-isolation");
    let _cases = sh.push_env("PROPTEST_CASES", PROPTEST_CASES);
    cmd!(sh, "rustup run nightly cargo miri test --locked --package dlock-core -- {arguments...}")
        .run()
        .context("a test has failed, or does something undefined")
}
