//! `cargo xtask bench`: how fast all of it is, and the documentation of that.

mod criterion;
mod document;
mod instructions;
mod loads;
mod machine;
mod plan;
mod plots;
mod results;
mod tables;
mod targets;

use crate::stores::{self, Backend};
use anyhow::{Context, Result, bail};
use clap::Args;
use plan::{Case, What};
use results::Results;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// The document with the tables.
const DOCUMENT: &str = "docs/performance.md";
/// The pictures in it.
const PICTURES: &str = "docs/performance";

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// For the record.
    Whole,
    /// Shortly, to see that everything runs: the figures say little.
    Quick,
}

/// `cargo xtask bench`
#[derive(Args)]
pub(crate) struct Arguments {
    /// Measure shortly, only to see that everything runs; the documentation stays as it is.
    #[arg(long)]
    quick: bool,
    /// Only these parts: streams, unary, durable, hot, shared, workloads, rates, idle, million, stores, criterion,
    /// instructions.
    #[arg(long, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<String>,
    /// Measure nothing: write the documentation from what was measured before.
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    from_results: bool,
    /// Only count instructions, with callgrind.
    #[arg(long, conflicts_with_all = ["quick", "only", "from_results"])]
    instructions: bool,
    /// Fail if a path has more than a tenth more instructions than its checked-in limit.
    #[arg(long, requires = "instructions")]
    check: bool,
    /// Make the counted instructions the limits.
    #[arg(long, requires = "instructions", conflicts_with = "check")]
    write_limits: bool,
}

/// Measures, and writes the documentation.
pub(crate) fn run(sh: &Shell, arguments: &Arguments) -> Result<()> {
    let target = target_directory(sh)?;
    let kept = target.join(if arguments.quick { "bench-quick" } else { "bench" });
    let mut results = Results::load(&kept)?;
    if arguments.instructions {
        let counted = instructions::measure(sh, &target)?;
        if arguments.write_limits {
            instructions::write_limits(sh, &counted)?;
        }
        results.keep("instructions", counted.clone())?;
        return if arguments.check { instructions::check(&counted) } else { Ok(()) };
    }
    let extent = if arguments.quick { Extent::Quick } else { Extent::Whole };
    if !arguments.from_results {
        measure(sh, extent, &arguments.only, &target, &mut results)?;
    }
    if extent == Extent::Quick {
        // Rendered all the same, to see that it can be.
        let rendered = kept.join("performance.md");
        std::fs::write(&rendered, render(sh, &results)?)?;
        plots::draw(&results, &kept)?;
        eprintln!("the figures of a quick run are in {}, not in {DOCUMENT}", rendered.display());
        return Ok(());
    }
    sh.write_file(DOCUMENT, render(sh, &results)?)?;
    plots::draw(&results, &sh.current_dir().join(PICTURES))
}

fn measure(sh: &Shell, extent: Extent, only: &[String], target: &Path, results: &mut Results) -> Result<()> {
    let cases = plan::cases(extent);
    if let Some(unknown) = only.iter().find(|name| cases.iter().all(|case| case.name != **name)) {
        let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
        bail!("--only: there is no {unknown:?}; there are {}", names.join(", "));
    }
    cmd!(sh, "cargo build --locked --release --bins --package dlock-server --package dlock-cli").run()?;
    results.keep("machine", machine::describe(sh))?;
    for Case { name, what } in cases {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        eprintln!("--- {name}");
        let measured = match what {
            What::Loads(runs) => loads::measure(&target.join("release"), &runs),
            What::Stores => compare(sh, extent),
            What::Criterion => criterion::measure(sh, target, extent == Extent::Quick),
            What::Instructions => instructions::measure(sh, target),
        };
        results.keep(name, measured.with_context(|| format!("{name} could not be measured"))?)?;
    }
    Ok(())
}

/// Each store beside itself and the recipe.
fn compare(sh: &Shell, extent: Extent) -> Result<Value> {
    let source = stores::provide(sh, &stores::programs(&[Backend::Etcd, Backend::Redis, Backend::Nats]))?;
    let features = stores::features(source);
    let extent: &[&str] = match extent {
        Extent::Whole => &["--seconds", "9"],
        Extent::Quick => &["--seconds", "0.9"],
    };
    let compared = cmd!(
        sh,
        "cargo run --locked --release --package dlock-suites --bin compare {features...} -- --json {extent...}"
    )
    .read();
    stores::clean_up(sh, source)?;
    let rows: Vec<Value> = compared?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(json!({ "rows": rows }))
}

/// The document with all parts for which there are results.
fn render(sh: &Shell, results: &Results) -> Result<String> {
    let mut document = sh.read_file(DOCUMENT)?;
    for (name, text) in tables::all(results) {
        document = document::replace(&document, name, &text)?;
    }
    document::replace(&document, "targets", &targets::table(results))
}

fn target_directory(sh: &Shell) -> Result<PathBuf> {
    let metadata = cmd!(sh, "cargo metadata --format-version 1 --no-deps --locked").quiet().read()?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    Ok(metadata["target_directory"].as_str().context("the target directory")?.into())
}
