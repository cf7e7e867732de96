//! What was measured, for people and for programs. Times are in microseconds.

use super::counts::{Counts, Latencies};
use super::floor::EchoSlice;
use super::load::Slice;
use super::usage::{Busy, Used};
use crate::arguments::{Bench, Driver, OutputFormat, Workload};
use crate::exit::Exit;
use crate::output;
use serde::Serialize;

/// What a load has shown.
#[derive(Serialize)]
pub(super) struct Report {
    workload: Workload,
    /// `closed`: as fast as the answers come; `open`: at a rate, timed from when each turn was due.
    #[serde(rename = "loop")]
    kind: &'static str,
    /// What an open loop was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    /// `stream` or `unary`.
    calls: &'static str,
    clients: u32,
    connections: u32,
    in_flight: u32,
    threads: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<Driver>,
    seconds: f64,
    slices: usize,
    /// Turns done in full: an acquire and a release, or the conversions up and down.
    pairs: u64,
    pairs_per_second: f64,
    /// Turns that were refused, as a *try* is.
    refused: u64,
    refused_per_second: f64,
    /// Turns that an open loop was too far behind to begin.
    omitted: u64,
    errors: u64,
    /// The first half of a pair, for *convert* the way up.
    acquire: Latency,
    /// The second half, for *convert* the way down.
    release: Latency,
    pair: Latency,
    /// *hot*: from a release sent to the next one's grant received.
    #[serde(skip_serializing_if = "Option::is_none")]
    hand_over: Option<Latency>,
    /// Per million turns, user and system.
    client_cpu_seconds_per_million: Option<f64>,
    /// The same, of all servers together.
    server_cpu_seconds_per_million: Option<f64>,
    client_bytes_peak: Option<u64>,
    /// Since the servers' start.
    server_bytes_peak: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<Floor>,
}

/// Locks that were held all the while.
#[derive(Serialize)]
pub(super) struct Held {
    pub(super) locks: u32,
    pub(super) acquired_per_second: f64,
    pub(super) server_bytes_each: Option<f64>,
    pub(super) client_bytes_each: Option<f64>,
}

/// The plain echo beside it.
#[derive(Serialize)]
struct Floor {
    in_flight: u32,
    echoes_per_second: f64,
    echo: Latency,
    client_cpu_seconds_per_million: Option<f64>,
    server_cpu_seconds_per_million: Option<f64>,
    /// The load's messages (each way) per second by the echo's, slice by slice: 1 would mean that locks cost nothing.
    ratio: Spread,
    /// A pair's median time by two echoes'; for *hot* a hand-over's by one echo's.
    latency_ratio: f64,
    /// The processors' time, of both sides, for as many messages: the echo's by the load's. 1 would mean that locks cost
    /// nothing. It varies less than the rates on a machine that others use, too.
    cpu_ratio: Option<f64>,
}

/// Of several slices.
#[derive(Serialize)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let last = values.len().saturating_sub(1);
        Spread { min: at(0), median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, max: at(last) }
    }
}

/// How long something takes, in microseconds.
#[derive(Serialize)]
pub(super) struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Latency {
    pub(super) fn of(latencies: &Latencies) -> Latency {
        Latency {
            p50: latencies.quantile(0.5),
            p90: latencies.quantile(0.9),
            p99: latencies.quantile(0.99),
            p999: latencies.quantile(0.999),
            max: latencies.max(),
        }
    }

    fn cells(&self, what: &str) -> Vec<String> {
        let cells = [self.p50, self.p90, self.p99, self.p999, self.max].map(|value| format!("{value:.0}"));
        std::iter::once(what.to_owned()).chain(cells).collect()
    }
}

/// Sessions that only live.
#[derive(Serialize)]
pub(super) struct Idle {
    pub(super) workload: Workload,
    pub(super) sessions: u32,
    pub(super) connections: u32,
    pub(super) ttl_seconds: f64,
    pub(super) opened_per_second: f64,
    pub(super) seconds: f64,
    pub(super) acknowledged: u64,
    pub(super) acknowledged_per_second: f64,
    /// From a heartbeat sent to its acknowledgement.
    pub(super) heartbeat: Latency,
    pub(super) errors: u64,
    /// How many processors the servers kept busy.
    pub(super) server_processors: Option<f64>,
    pub(super) client_processors: Option<f64>,
    pub(super) server_bytes_each: Option<f64>,
    pub(super) client_bytes_each: Option<f64>,
}

/// Everything that a report is made of.
pub(super) struct Results {
    pub(super) connections: u32,
    pub(super) threads: u32,
    pub(super) slices: Vec<Slice>,
    /// Beside each slice, and how many messages were in flight.
    pub(super) echoes: Option<(u32, Vec<EchoSlice>)>,
    pub(super) held: Option<Held>,
    /// What all have used in the end.
    pub(super) used: Used,
}

impl Report {
    pub(super) fn new(arguments: &Bench, results: Results) -> Result<Report, Exit> {
        let mut counts = Counts::new()?;
        let (mut seconds, mut busy) = (0.0, Busy::default());
        for slice in &results.slices {
            counts.add(&slice.counts);
            seconds += slice.seconds;
            busy.add(slice.busy);
        }
        if let Some(error) = &counts.first_error {
            output::complain(&format!("{} errors, the first: {error}", counts.errors));
        }
        // Busy processors were added up over the slices, which are all equally long.
        let per_slice = seconds / results.slices.len() as f64;
        let turns = (counts.pairs + counts.refused).max(1) as f64;
        let per_million = |busy: f64| busy * per_slice * 1e6 / turns;
        let floor = match &results.echoes {
            Some((in_flight, echoes)) => {
                let cpu_per_turn = busy.total().map(|busy| busy * per_slice / turns);
                Some(Floor::new(
                    arguments.workload,
                    *in_flight,
                    &results.slices,
                    echoes,
                    &counts,
                    cpu_per_turn,
                )?)
            }
            None => None,
        };
        Ok(Report {
            workload: arguments.workload,
            kind: if arguments.rate.is_some() { "open" } else { "closed" },
            rate: arguments.rate,
            calls: if arguments.unary { "unary" } else { "stream" },
            clients: arguments.clients,
            connections: results.connections,
            in_flight: arguments.in_flight,
            threads: results.threads,
            driver: (!arguments.unary).then_some(arguments.driver),
            seconds,
            slices: results.slices.len(),
            pairs: counts.pairs,
            pairs_per_second: counts.pairs as f64 / seconds,
            refused: counts.refused,
            refused_per_second: counts.refused as f64 / seconds,
            omitted: counts.omitted,
            errors: counts.errors,
            acquire: Latency::of(&counts.first),
            release: Latency::of(&counts.second),
            pair: Latency::of(&counts.whole),
            hand_over: (counts.hand_over.count() > 0).then(|| Latency::of(&counts.hand_over)),
            client_cpu_seconds_per_million: busy.client.map(per_million),
            server_cpu_seconds_per_million: busy.server.map(per_million),
            client_bytes_peak: results.used.client.map(|used| used.resident_bytes_peak),
            server_bytes_peak: results.used.server.map(|used| used.resident_bytes_peak),
            held: results.held,
            floor,
        })
    }

    pub(super) fn show(&self, format: OutputFormat) -> Result<(), Exit> {
        if format == OutputFormat::Json {
            return output::json(self);
        }
        let Report { clients, in_flight, pairs_per_second, refused, errors, omitted, .. } = self;
        output::line(&format!(
            "{pairs_per_second:.0} pairs per second ({} loop, {clients} clients, {in_flight} in flight, {:.1} s)",
            self.kind, self.seconds
        ))?;
        if refused + errors + omitted > 0 {
            output::line(&format!(
                "{:.0} refused per second; {errors} errors; {omitted} too late to begin",
                self.refused_per_second
            ))?;
        }
        let names = if self.workload == Workload::Convert { ["up", "down"] } else { ["acquire", "release"] };
        let mut rows =
            vec![self.acquire.cells(names[0]), self.release.cells(names[1]), self.pair.cells("pair")];
        rows.extend(self.hand_over.as_ref().map(|latency| latency.cells("hand-over")));
        rows.extend(self.floor.as_ref().map(|floor| floor.echo.cells("echo")));
        latency_table(&rows)?;
        output::line(&format!(
            "CPU seconds per million: client {}, server {}; memory at most: client {}, server {}",
            number(self.client_cpu_seconds_per_million),
            number(self.server_cpu_seconds_per_million),
            mebibytes(self.client_bytes_peak),
            mebibytes(self.server_bytes_peak),
        ))?;
        if let Some(Held { locks, acquired_per_second, server_bytes_each, client_bytes_each }) = &self.held {
            output::line(&format!(
                "{locks} locks held beside it, acquired at {acquired_per_second:.0} per second: server {} bytes each, client {}",
                number(*server_bytes_each),
                number(*client_bytes_each),
            ))?;
        }
        self.floor.as_ref().map_or(Ok(()), Floor::show)
    }
}

impl Floor {
    fn new(
        workload: Workload,
        in_flight: u32,
        slices: &[Slice],
        echoes: &[EchoSlice],
        counts: &Counts,
        cpu_per_turn: Option<f64>,
    ) -> Result<Floor, Exit> {
        // A hand-over is one message to and fro: a release that is answered by another's grant.
        let hot = workload == Workload::Hot;
        let messages =
            |counts: &Counts| (if hot { counts.pairs } else { 2 * counts.pairs + counts.refused }) as f64;
        let ratios = slices
            .iter()
            .zip(echoes)
            .map(|(slice, echo)| messages(&slice.counts) / slice.seconds / echo.per_second());
        let ratio = Spread::of(ratios.collect());
        let (mut latency, mut seconds, mut busy, mut count) = (Latencies::new()?, 0.0, Busy::default(), 0);
        for echo in echoes {
            latency.add(&echo.latency);
            seconds += echo.seconds;
            busy.add(echo.busy);
            count += echo.messages;
        }
        let (per_slice, count) = (seconds / echoes.len() as f64, count.max(1) as f64);
        let messages_per_turn =
            (2 * counts.pairs + counts.refused) as f64 / (counts.pairs + counts.refused) as f64;
        let cpu_ratio = busy
            .total()
            .zip(cpu_per_turn)
            .map(|(echo, cpu_per_turn)| echo * per_slice / count * messages_per_turn / cpu_per_turn);
        let latency_ratio = if hot {
            counts.hand_over.quantile(0.5) / latency.quantile(0.5)
        } else {
            counts.whole.quantile(0.5) / (2.0 * latency.quantile(0.5))
        };
        Ok(Floor {
            in_flight,
            echoes_per_second: count / seconds,
            echo: Latency::of(&latency),
            client_cpu_seconds_per_million: busy.client.map(|busy| busy * per_slice * 1e6 / count),
            server_cpu_seconds_per_million: busy.server.map(|busy| busy * per_slice * 1e6 / count),
            ratio,
            latency_ratio,
            cpu_ratio,
        })
    }

    fn show(&self) -> Result<(), Exit> {
        let Floor { in_flight, echoes_per_second, ratio: Spread { min, median, max }, .. } = self;
        output::line(&format!(
            "echo, {in_flight} in flight: {echoes_per_second:.0} messages per second; CPU seconds per million: client {}, server {}",
            number(self.client_cpu_seconds_per_million),
            number(self.server_cpu_seconds_per_million),
        ))?;
        output::line(&format!(
            "locks to echo: rate of messages {median:.2} ({min:.2} to {max:.2}), CPU {}, median latency {:.2}",
            self.cpu_ratio.map_or_else(|| "unknown".to_owned(), |ratio| format!("{ratio:.2}")),
            self.latency_ratio,
        ))
    }
}

impl Idle {
    pub(super) fn show(&self, format: OutputFormat) -> Result<(), Exit> {
        if format == OutputFormat::Json {
            return output::json(self);
        }
        let Idle { sessions, connections, opened_per_second, acknowledged_per_second, errors, .. } = self;
        output::line(&format!(
            "{sessions} sessions on {connections} connections, opened at {opened_per_second:.0} per second; {errors} errors"
        ))?;
        output::line(&format!(
            "{acknowledged_per_second:.0} heartbeats acknowledged per second ({:.1} s, time to live {} s)",
            self.seconds, self.ttl_seconds
        ))?;
        latency_table(&[self.heartbeat.cells("heartbeat")])?;
        let percent = |busy: Option<f64>| number(busy.map(|busy| busy * 100.0));
        output::line(&format!(
            "percent of a processor: server {}, client {}; bytes per session: server {}, client {}",
            percent(self.server_processors),
            percent(self.client_processors),
            number(self.server_bytes_each),
            number(self.client_bytes_each),
        ))
    }
}

fn latency_table(rows: &[Vec<String>]) -> Result<(), Exit> {
    let header = ["MICROSECONDS", "P50", "P90", "P99", "P99.9", "MAX"];
    output::rows(OutputFormat::Table, &header, rows, Vec::clone)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.1}"))
}

fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20))
}
