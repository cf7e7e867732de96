//! `cargo xtask verify`: everything that can be said of the code without running its tests. Writes nothing but
//! build output; `cargo xtask fix` mends what can be mended by a program.

use crate::{codegen, purity};
use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// Checks formatting, lints, documentation, generated code and the core's purity.
pub(crate) fn run(sh: &Shell) -> Result<()> {
    cmd!(sh, "cargo fmt --all --check")
        .run()
        .context("some files are not formatted: run `cargo xtask fix`")?;
    codegen::check(sh)?;
    purity::check(sh)?;
    cmd!(sh, "cargo clippy --workspace --all-targets --locked -- -D warnings")
        .run()
        .context("clippy found something")?;
    let _flags = sh.push_env("RUSTDOCFLAGS", "-D warnings");
    cmd!(sh, "cargo doc --workspace --no-deps --all-features --locked")
        .run()
        .context("the documentation has warnings")?;
    Ok(())
}

/// Mends formatting and generated code.
pub(crate) fn fix(sh: &Shell) -> Result<()> {
    codegen::write(sh)?;
    cmd!(sh, "cargo fmt --all").run().context("the files could not be formatted")?;
    Ok(())
}
