//! Instructions per operation of the hot paths, counted by callgrind: the same on a busy machine as on an idle one.
//!
//! Each path is run twice, with different counts. What differs is the operations' own; the beginning and the end, which both
//! runs have, cancel out. The lines that instructions belong to say which crate they are of, inlined ones included.

use super::document::shown;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use xshell::{Shell, cmd};

/// The paths of the program `hot_paths`, how often each is carried out in the shorter run, and what an operation is.
const PATHS: [(&str, u64, &str); 14] = [
    ("apply", 2_000, "core: `apply`, acquire and release"),
    ("apply-shared", 2_000, "core: the same beside 10,000 holders"),
    ("apply-hand-over", 2_000, "core: release, promotion of one of 1,000 waiters, acquire"),
    ("codec", 2_000, "core: a record to bytes and back"),
    ("coordinator", 2_000, "core: coordinator, a pair"),
    ("engine", 1_024, "engine: a pair, a request at a time, each with a commit"),
    ("engine-batch", 1_024, "engine: the same, 64 requests at a time"),
    ("mastered", 1_024, "engine: a pair from memory, a request at a time"),
    ("mastered-batch", 1_024, "engine: the same, 64 requests at a time"),
    ("frame", 512, "server: a pair on a session's stream, a request a frame"),
    ("frame-batch", 1_024, "server: a pair, 64 requests a frame"),
    ("unary", 512, "server: a pair by unary calls"),
    ("whole", 512, "SDK, HTTP/2 and server in one process: a pair, one lock at a time"),
    ("whole-batch", 1_024, "SDK, HTTP/2 and server in one process: a pair, 64 locks under way"),
];

/// Where the limits are checked in: the instructions of each path when somebody last looked at them.
pub(crate) const LIMITS: &str = "xtask/instructions.json";
/// How far above its limit a path may be, in percent.
const ALLOWANCE: f64 = 10.0;

/// Counts all paths.
pub(crate) fn measure(sh: &Shell, target: &Path) -> Result<Value> {
    cmd!(sh, "valgrind --version").quiet().ignore_stdout().run().context("install valgrind")?;
    cmd!(sh, "cargo build --locked --release --package dlock-suites --bin hot_paths").run()?;
    let limits = limits(sh)?;
    let mut rows = Vec::new();
    for (path, count, title) in PATHS {
        let (less, more) = (profile(sh, target, path, count)?, profile(sh, target, path, 3 * count)?);
        let mut crates: Vec<(String, f64)> = more
            .iter()
            .map(|(name, cost)| {
                let before = less.get(name).copied().unwrap_or(0);
                (name.clone(), (*cost as f64 - before as f64) / (2 * count) as f64)
            })
            .collect();
        crates.sort_by(|a, b| b.1.total_cmp(&a.1));
        let instructions = crates.iter().map(|(_, cost)| cost).sum::<f64>().round();
        let largest: Vec<String> = crates
            .iter()
            .take(8)
            .map(|(name, cost)| format!("{name} {}", shown(Some(cost.round()))))
            .collect();
        eprintln!("{instructions:>9} {path}: {}", largest.join(", "));
        rows.push(json!({
            "path": title,
            "name": path,
            "instructions": instructions,
            "limit": limits.get(path),
            "largest": largest.join(", "),
            "crates": crates.into_iter().collect::<BTreeMap<_, _>>(),
        }));
    }
    Ok(json!({ "rows": rows }))
}

/// Fails if a path has become dearer than its limit allows.
pub(crate) fn check(counted: &Value) -> Result<()> {
    let mut above = Vec::new();
    for row in counted["rows"].as_array().into_iter().flatten() {
        let (Some(found), name) = (row["instructions"].as_f64(), &row["name"]) else { continue };
        match row["limit"].as_f64() {
            Some(limit) if found <= limit * (1.0 + ALLOWANCE / 100.0) => {}
            Some(limit) => above.push(format!("{name}: {found} instructions, and {limit} before")),
            None => above.push(format!("{name} has no limit in {LIMITS}")),
        }
    }
    if !above.is_empty() {
        bail!(
            "more than {ALLOWANCE} % above the limit; find out why, or accept it with --write-limits:\n{}",
            above.join("\n")
        );
    }
    Ok(())
}

/// Makes what was counted the limits.
pub(crate) fn write_limits(sh: &Shell, counted: &Value) -> Result<()> {
    let rows = counted["rows"].as_array().context("rows")?.iter();
    let limits: BTreeMap<&str, &Value> =
        rows.filter_map(|row| Some((row["name"].as_str()?, &row["instructions"]))).collect();
    Ok(sh.write_file(LIMITS, format!("{}\n", serde_json::to_string_pretty(&limits)?))?)
}

fn limits(sh: &Shell) -> Result<BTreeMap<String, f64>> {
    if !sh.path_exists(LIMITS) {
        return Ok(BTreeMap::new());
    }
    serde_json::from_str(&sh.read_file(LIMITS)?).context(LIMITS)
}

/// The instructions of one run, by crate.
fn profile(sh: &Shell, target: &Path, path: &str, count: u64) -> Result<BTreeMap<String, u64>> {
    let (program, file) = (target.join("release/hot_paths"), target.join("callgrind.out"));
    let count = count.to_string();
    cmd!(sh, "valgrind --tool=callgrind --callgrind-out-file={file} --quiet {program} {path} {count}")
        .quiet()
        .ignore_stderr()
        .run()
        .with_context(|| format!("{path} does not run under valgrind"))?;
    Ok(by_crate(&sh.read_file(&file)?))
}

/// Sums the costs in callgrind's output by the crate that each line of source is of.
fn by_crate(profile: &str) -> BTreeMap<String, u64> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut costs, mut current, mut of_a_call) = (BTreeMap::new(), String::new(), false);
    for line in profile.lines() {
        let file = ["fl=", "fi=", "fe=", "cfl=", "cfi="].iter().find_map(|kind| line.strip_prefix(kind));
        if let Some(file) = file {
            // `(7) name` the first time, `(7)` later.
            let (id, name) = file.split_once(' ').unwrap_or((file, ""));
            if !name.is_empty() {
                names.insert(id, name);
            }
            // What is called has costs of its own elsewhere.
            if !line.starts_with('c') {
                current = crate_of(names.get(id).copied().unwrap_or("?"));
            }
        } else if line.starts_with("calls=") {
            of_a_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            // The line after a call says what the call cost in all, which is counted where it was spent.
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            if !std::mem::take(&mut of_a_call) {
                *costs.entry(current.clone()).or_default() += cost.unwrap_or(0);
            }
        }
    }
    costs
}

/// The crate that a file of source belongs to.
fn crate_of(path: &str) -> String {
    let part_after = |mark: &str| path.split_once(mark).and_then(|(_, rest)| rest.split('/').next());
    if let Some(package) = path.split_once("/registry/src/").and_then(|(_, rest)| rest.split('/').nth(1)) {
        // Without its version.
        let version =
            package.rfind("-").filter(|at| package[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
        package[..version.unwrap_or(package.len())].to_owned()
    } else if let Some(library) = part_after("/library/") {
        library.to_owned()
    } else if let Some(own) = part_after("crates/") {
        own.to_owned()
    } else if path.contains("malloc") {
        "malloc".to_owned()
    } else {
        "libc and others".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_summed_by_crate_and_calls_are_not_counted_twice() {
        let profile = "events: Ir\n\
            fl=(1) crates/dlock-core/src/mode.rs\nfn=(1) a\n0 5\n\
            fi=(2) /x/registry/src/index-1/h2-0.4.20/src/lib.rs\n0 7\nfe=(1)\n0 1\n\
            cfi=(3) /rustc/abc/library/alloc/src/vec.rs\ncfn=(2) b\ncalls=1 0\n0 100\n0 2\n\
            fl=(3)\nfn=(2)\n0 100\n\
            fl=(4) ./malloc/malloc.c\nfn=(3) malloc\n0 30\n";
        let expected = [("alloc", 100), ("dlock-core", 8), ("h2", 7), ("malloc", 30)];
        let found = by_crate(profile);
        assert_eq!(found.iter().map(|(name, cost)| (name.as_str(), *cost)).collect::<Vec<_>>(), expected);
        assert_eq!(crate_of("/x/registry/src/i/tokio-stream-0.1.17/src/lib.rs"), "tokio-stream");
    }

    #[test]
    fn what_is_above_its_limit_by_more_than_the_allowance_fails() {
        let counted = |found: u64| json!({ "rows": [{ "name": "x", "instructions": found, "limit": 1000 }] });
        assert!(check(&counted(1100)).is_ok() && check(&counted(1101)).is_err());
        assert!(check(&json!({ "rows": [{ "name": "x", "instructions": 1, "limit": null }] })).is_err());
    }
}
