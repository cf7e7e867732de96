//! Checks configurations of the model, and says how many states they have; or refutes mutants, and says how.

use anyhow::{Result, bail};
use clap::Parser;
use dlock_model::mutants::{self, Mutant};
use dlock_model::{Config, Service, catalogue};
use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, HasDiscoveries, Model};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Checks dlock's protocol: every interleaving of a few servers and clients.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Configurations or mutants, or `all`, `large` or `mutants`; without any, their names are listed.
    names: Vec<String>,
    /// How many threads check.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Explore configurations by breadth: needs much more memory, and finds the shortest counterexamples.
    #[arg(long)]
    breadth_first: bool,
    /// Stop after so many steps, though there are more.
    #[arg(long)]
    steps: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut out = std::io::stdout();
    let (configs, large, mutants) = (catalogue::all(), catalogue::large(), mutants::all());
    if arguments.names.is_empty() {
        for config in configs {
            writeln!(out, "{:30} {}", config.name, config.about)?;
        }
        for config in large {
            writeln!(out, "{:30} large: {}", config.name, config.about)?;
        }
        for mutant in mutants {
            writeln!(out, "{:30} mutant: {}", mutant.config.name, mutant.violates)?;
        }
        return Ok(());
    }
    let known = |name: &str| {
        matches!(name, "all" | "large" | "mutants")
            || configs.iter().chain(&large).any(|config| config.name == name)
            || mutants.iter().any(|mutant| mutant.config.name == name)
    };
    if let Some(name) = arguments.names.iter().find(|name| !known(name)) {
        bail!("there is no configuration or mutant {name:?}; without a name, all are listed");
    }
    let chosen = |name: &str, group: &str| arguments.names.iter().any(|wish| wish == name || wish == group);
    let mut states = 0;
    for config in configs.iter().filter(|config| chosen(config.name, "all")) {
        states += check(config, arguments, &mut out)?;
    }
    for config in large.iter().filter(|config| chosen(config.name, "large")) {
        states += check(config, arguments, &mut out)?;
    }
    for mutant in mutants.iter().filter(|mutant| chosen(mutant.config.name, "mutants")) {
        refute(mutant, &mut out)?;
    }
    if states > 0 {
        writeln!(out, "{states} different states in all")?;
    }
    Ok(())
}

/// The number of different states, if all properties hold.
fn check(config: &Config, arguments: &Arguments, out: &mut (impl Write + Send)) -> Result<usize> {
    writeln!(out, "{}: {}", config.name, config.about)?;
    let mut builder = Service { config: config.clone() }
        .checker()
        .threads(arguments.threads)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(steps) = arguments.steps {
        builder = builder.target_state_count(steps);
    }
    let whole = arguments.steps.is_none();
    let mut progress = Progress { out };
    if arguments.breadth_first {
        judge(config, whole, &builder.spawn_bfs().join_and_report(&mut progress))
    } else {
        judge(config, whole, &builder.spawn_dfs().join_and_report(&mut progress))
    }
}

/// The number of different states, if all properties hold in the `whole` of them, or in those that were explored.
fn judge(config: &Config, whole: bool, checker: &impl Checker<Service>) -> Result<usize> {
    for property in checker.model().properties() {
        let found = checker.discovery(property.name).is_some();
        let is_failure = property.expectation.discovery_is_failure();
        // What was to be possible may come later.
        if found == is_failure && (whole || is_failure) {
            bail!("{}: it does not hold that {}", config.name, property.name);
        }
    }
    Ok(checker.unique_state_count())
}

/// Prints how the mutant comes to what it violates.
fn refute(mutant: &Mutant, out: &mut (impl Write + Send)) -> Result<()> {
    let checker = mutant.checker().spawn_dfs().join();
    let Some(path) = checker.discovery(mutant.violates) else {
        bail!("the mutant {} was not refuted: {}", mutant.config.name, mutant.violates);
    };
    let steps = path.into_actions();
    let (name, states) = (mutant.config.name, checker.unique_state_count());
    writeln!(out, "{name}: after {states} states, {} steps violate: {}", steps.len(), mutant.violates)?;
    for step in steps {
        writeln!(out, "  {step:?}")?;
    }
    Ok(())
}

/// Says how far the checker has come, and what it found.
struct Progress<'a, W> {
    out: &'a mut W,
}

impl<W: Write> Progress<'_, W> {
    /// What can't be printed is not worth stopping a check for.
    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        drop(self.out.write_fmt(line));
    }
}

impl<W: Write> Reporter<Service> for Progress<'_, W> {
    fn report_checking(&mut self, data: ReportData) {
        let ReportData { total_states, unique_states, max_depth, duration, done } = data;
        let (done, seconds) = (if done { "done" } else { "so far" }, duration.as_secs());
        self.say(format_args!(
            "  {done}: {unique_states} different states, {total_states} steps, depth {max_depth}, {seconds} s\n"
        ));
    }

    fn report_discoveries(
        &mut self,
        _: &Service,
        discoveries: BTreeMap<&'static str, ReportDiscovery<Service>>,
    ) {
        for (property, discovery) in discoveries {
            if matches!(discovery.classification, stateright::DiscoveryClassification::Example) {
                continue;
            }
            self.say(format_args!("  violated: {property}\n"));
            for step in discovery.path.into_actions() {
                self.say(format_args!("    {step:?}\n"));
            }
        }
    }

    fn delay(&self) -> Duration {
        Duration::from_secs(10)
    }
}
