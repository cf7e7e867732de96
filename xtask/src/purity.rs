//! The core's purity, gated: what it is built of is a short list, none of which can do I/O or tell the time.

use anyhow::{Result, bail};
use std::collections::BTreeSet;
use xshell::{Shell, cmd};

/// Crates that `dlock-core` may be built of, besides procedural macros and what they are built of.
const ALLOWED: [&str; 10] = [
    "bytes",
    "dlock-core",
    "equivalent",
    "foldhash",
    "hashbrown",
    "indexmap",
    "prost",
    "smallvec",
    "thiserror",
    "autocfg",
];

/// Fails with the names of crates that the core must not be built of.
pub(crate) fn check(sh: &Shell) -> Result<()> {
    let tree =
        cmd!(sh, "cargo tree --locked --package dlock-core --edges normal,no-proc-macro --prefix none")
            .read()?;
    let names: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(|n| !n.is_empty()).collect();
    let foreign: Vec<&str> = names.into_iter().filter(|name| !ALLOWED.contains(name)).collect();
    if !foreign.is_empty() {
        bail!(
            "dlock-core is pure and must stay so, but it is built of {}: keep I/O, clocks and randomness out, or add a \
             crate that has none to the list in xtask/src/purity.rs",
            foreign.join(", ")
        );
    }
    Ok(())
}
