//! `dlockctl bench`: a load on a whole system, and what it takes.
//!
//! Closed loop: each of the locks that are under way at a time is acquired and released again and again, as fast as
//! the answers come. Latencies are of what was begun after the warm-up.

mod echo;
mod load;

use crate::arguments::{Bench, Global, OutputFormat, Workload};
use crate::exit::Exit;
use crate::output;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

pub(crate) use echo::serve as serve_echo;

/// What was measured. Times are in microseconds.
#[derive(Serialize)]
struct Report {
    workload: Workload,
    clients: u32,
    in_flight: u32,
    seconds: f64,
    pairs: u64,
    pairs_per_second: f64,
    /// Requests that were refused, as a *try* is.
    refused: u64,
    errors: u64,
    acquire: Latency,
    release: Latency,
    pair: Latency,
    /// Of this program, user and system, per million pairs.
    client_cpu_seconds_per_million: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<Floor>,
}

/// The plain echo beside it.
#[derive(Serialize)]
struct Floor {
    echoes_per_second: f64,
    /// Two messages each way make a pair: pairs × 2 / echoes.
    ratio: f64,
}

/// How long something takes, in microseconds.
#[derive(Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }

    fn cells(&self, what: &str) -> Vec<String> {
        let cells = [self.p50, self.p90, self.p99, self.p999, self.max].map(|value| format!("{value:.0}"));
        std::iter::once(what.to_owned()).chain(cells).collect()
    }
}

/// What is counted while it runs; times in nanoseconds.
struct Counts {
    pairs: u64,
    refused: u64,
    errors: u64,
    first_error: Option<String>,
    acquire: Histogram<u64>,
    release: Histogram<u64>,
    pair: Histogram<u64>,
}

impl Counts {
    fn new() -> Result<Counts, Exit> {
        // Up to ten minutes, three digits.
        let histogram = || {
            Histogram::new_with_bounds(1, 600_000_000_000, 3).map_err(|e| Exit::new(crate::exit::FAILURE, e))
        };
        let (acquire, release, pair) = (histogram()?, histogram()?, histogram()?);
        Ok(Counts { pairs: 0, refused: 0, errors: 0, first_error: None, acquire, release, pair })
    }

    fn add(&mut self, other: Counts) {
        self.pairs += other.pairs;
        self.refused += other.refused;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        for (mine, theirs) in [
            (&mut self.acquire, other.acquire),
            (&mut self.release, other.release),
            (&mut self.pair, other.pair),
        ] {
            // Both have the same bounds.
            let _ = mine.add(theirs);
        }
    }

    fn error(&mut self, error: &dlock_client::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }
}

pub(crate) async fn run(global: &Global, arguments: Bench) -> Result<u8, Exit> {
    if arguments.in_flight < arguments.clients {
        return Err(Exit::usage("--in-flight: give each client at least one lock (--clients is greater)"));
    }
    // Interleaved with the echo, so that a machine that changes its speed changes it for both.
    let rounds: u32 = if arguments.floor { 2 } else { 1 };
    let part = arguments.duration / rounds;
    let echo = if arguments.floor { Some(echo::Echo::start().await?) } else { None };
    let (mut counts, mut took, mut cpu, mut echoes) = (Counts::new()?, Duration::ZERO, 0.0, 0.0);
    for _ in 0..rounds {
        let measured = load::run(global, &arguments, part).await?;
        counts.add(measured.counts);
        took += measured.took;
        cpu += measured.cpu_seconds;
        if let Some(echo) = &echo {
            echoes += echo.measure(arguments.clients, arguments.in_flight, arguments.warm_up, part).await?;
        }
    }
    let pairs_per_second = counts.pairs as f64 / took.as_secs_f64();
    let floor = echo.map(|_| {
        let echoes_per_second = echoes / f64::from(rounds);
        Floor { echoes_per_second, ratio: pairs_per_second * 2.0 / echoes_per_second }
    });
    let report = Report {
        workload: arguments.workload,
        clients: arguments.clients,
        in_flight: arguments.in_flight,
        seconds: took.as_secs_f64(),
        pairs: counts.pairs,
        pairs_per_second,
        refused: counts.refused,
        errors: counts.errors,
        acquire: Latency::of(&counts.acquire),
        release: Latency::of(&counts.release),
        pair: Latency::of(&counts.pair),
        client_cpu_seconds_per_million: cpu * 1e6 / (counts.pairs.max(1) as f64),
        floor,
    };
    if let Some(error) = &counts.first_error {
        output::complain(&format!("{} errors, the first: {error}", counts.errors));
    }
    match global.output {
        OutputFormat::Json => output::json(&report)?,
        OutputFormat::Table => show(&report)?,
    }
    Ok(0)
}

fn show(report: &Report) -> Result<(), Exit> {
    let Report { clients, in_flight, pairs_per_second, refused, errors, .. } = report;
    output::line(&format!(
        "{pairs_per_second:.0} acquire+release pairs per second ({clients} clients, {in_flight} in flight, {:.1} s)",
        report.seconds
    ))?;
    if refused + errors > 0 {
        output::line(&format!("{refused} refused, {errors} errors"))?;
    }
    let rows = [("acquire", &report.acquire), ("release", &report.release), ("pair", &report.pair)];
    let header = ["MICROSECONDS", "P50", "P90", "P99", "P99.9", "MAX"];
    let cells: Vec<Vec<String>> = rows.into_iter().map(|(what, latency)| latency.cells(what)).collect();
    output::rows(OutputFormat::Table, &header, &cells, Vec::clone)?;
    output::line(&format!(
        "{:.1} s of this program's CPU per million pairs",
        report.client_cpu_seconds_per_million
    ))?;
    if let Some(Floor { echoes_per_second, ratio }) = &report.floor {
        output::line(&format!(
            "echo: {echoes_per_second:.0} messages per second; pairs x 2 / echoes = {ratio:.2}"
        ))?;
    }
    Ok(())
}
