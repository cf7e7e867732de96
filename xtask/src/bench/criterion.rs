//! What criterion keeps of its benches.

use super::results::number;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use xshell::{Shell, cmd};

/// The packages that have benches of their hot paths, and those.
const BENCHES: [(&str, &str); 2] = [("dlock-core", "core"), ("dlock-engine", "engine")];

/// Runs them, and reads what they have measured.
pub(crate) fn measure(sh: &Shell, target: &Path, quick: bool) -> Result<Value> {
    let kept = target.join("criterion");
    // What was kept of benches that are no more would be taken for theirs.
    sh.remove_path(&kept)?;
    let quick: &[&str] = if quick { &["--quick"] } else { &[] };
    // By name: `--benches` would run the libraries, too, which know none of criterion's options.
    let benches = BENCHES.iter().flat_map(|(package, bench)| ["--package", package, "--bench", bench]);
    cmd!(sh, "cargo bench --locked {benches...} -- --noplot {quick...}").run()?;
    let mut rows = Vec::new();
    for group in entries(&kept)? {
        collect(&group, &mut rows)?;
    }
    rows.sort_by_key(|row| (row["group"].to_string(), row["name"].to_string()));
    let baselines: Vec<(Value, f64)> = rows
        .iter()
        .filter(|row| row["name"] == "baseline")
        .filter_map(|row| Some((row["group"].clone(), number(row, "/nanoseconds")?)))
        .collect();
    for row in &mut rows {
        let baseline = baselines.iter().find(|(group, _)| *group == row["group"]);
        let ratio = baseline.and_then(|(_, baseline)| Some(number(row, "/nanoseconds")? / baseline));
        row["ratio"] = json!(ratio);
    }
    Ok(json!({ "rows": rows }))
}

fn collect(directory: &Path, rows: &mut Vec<Value>) -> Result<()> {
    let read = |name: &str| -> Result<Value> {
        let path = directory.join("new").join(name);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_str(&text)?)
    };
    if !directory.join("new").is_dir() {
        return entries(directory)?.iter().try_for_each(|nested| collect(nested, rows));
    }
    let (bench, estimates) = (read("benchmark.json")?, read("estimates.json")?);
    let name = [&bench["function_id"], &bench["value_str"]].into_iter().filter_map(Value::as_str);
    rows.push(json!({
        "group": bench["group_id"],
        "name": name.collect::<Vec<_>>().join("/"),
        "nanoseconds": estimates["median"]["point_estimate"],
    }));
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "report") {
            found.push(path);
        }
    }
    Ok(found)
}
