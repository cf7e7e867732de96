//! What criterion has measured in this run, each beside its group's baseline. Criterion prints times, which say little on
//! a machine that others use, too.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// The name of each group's baseline.
pub(crate) const BASELINE: &str = "baseline";

/// Prints how many times as long as its baseline everything takes.
pub(crate) fn print(groups: &[&str]) {
    let Some(directory) = directory() else { return };
    for group in groups {
        let Some(baseline) = nanoseconds(&directory.join(group).join(BASELINE)) else { continue };
        println!("{group}: {baseline:.1} ns for the baseline");
        for (name, path) in measured(&directory.join(group)) {
            if let Some(taken) = nanoseconds(&path).filter(|_| name != BASELINE) {
                println!("  {:>8.2} x  {taken:>10.1} ns  {name}", taken / baseline);
            }
        }
    }
}

/// Where criterion keeps its results: beside the program's own directory.
fn directory() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let target = program.ancestors().find(|path| path.join("criterion").is_dir())?;
    Some(target.join("criterion"))
}

/// What a group has measured, by name, nested ones as `FUNCTION/PARAMETER`.
fn measured(group: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for path in entries(group) {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.join("new").is_dir() {
            found.push((name(&path), path.clone()));
        } else {
            let nested = entries(&path).into_iter().filter(|path| path.join("new").is_dir());
            found.extend(nested.map(|nested| (format!("{}/{}", name(&path), name(&nested)), nested)));
        }
    }
    found.sort();
    found
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn nanoseconds(bench: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(bench.join("new/estimates.json")).ok()?;
    let estimates: Value = serde_json::from_str(&text).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}
