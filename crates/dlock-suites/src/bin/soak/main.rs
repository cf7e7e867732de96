//! A long and mixed load on a whole lock service, to see that nothing grows that should not.
//!
//! Many idle sessions live from heartbeat to heartbeat; a few clients lock, convert and release without a pause; others come,
//! lock something, and close their session, or go without a word. Meanwhile memory, descriptors, threads and tasks of
//! each server and the records in the store are counted. In the end everybody leaves, and nothing may be left behind.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod idle;
mod report;
mod sample;
mod unary;
mod visitors;

use clap::Parser;
use dlock_runtime::{BootClock, Clock as _};
use dlock_suites::{Backend, Deployment, Load};
use idle::Idle;
use report::Report;
use sample::Sampler;
use std::process::ExitCode;
use std::time::Duration;
use visitors::Visitors;

const SERVERS: usize = 3;
const RESOURCES: usize = 16;
/// Ended sessions are remembered for ten minutes, and the store is gone through once a minute, more or less.
const DRAIN_MAX: Duration = Duration::from_secs(20 * 60);

#[derive(Parser)]
#[command(about = "Loads a whole lock service for long, and looks whether anything grows")]
struct Arguments {
    /// The store, and how it is set up.
    #[arg(long, value_parser = Backend::from_name, default_value = "embedded")]
    backend: Backend,
    /// How long the load lasts, without its beginning and its end.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Sessions that do nothing but live.
    #[arg(long, default_value_t = 100_000)]
    idle: usize,
    /// The idle sessions' time to live, in seconds; they send a heartbeat in each third of it.
    #[arg(long, default_value_t = 120)]
    idle_ttl: u64,
    /// Clients that lock without a pause, each with two locks under way at a time.
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Sessions that come and go, per second.
    #[arg(long, default_value_t = 30.0)]
    visitors: f64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = tokio::runtime::Runtime::new().unwrap().block_on(soak(&arguments));
    println!("{report}");
    if report.is_flat() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn soak(arguments: &Arguments) -> Report {
    let deployment = Deployment::start(arguments.backend, SERVERS);
    let sampler = Sampler::new(&deployment).await;
    let idle = Idle::start(&deployment, arguments.idle, Duration::from_secs(arguments.idle_ttl)).await;
    eprintln!("{} sessions are idle", arguments.idle);
    let load = Load::start(&deployment, arguments.clients, RESOURCES, Duration::from_secs(10)).await;
    let visitors = Visitors::start(&deployment, arguments.visitors).await;

    let begun = BootClock.now();
    let length = Duration::from_secs_f64(arguments.minutes * 60.0);
    let mut samples = Vec::new();
    while BootClock.now().since(begun) < length {
        tokio::time::sleep(length / report::PARTS / report::SAMPLES).await;
        let sample = sampler.take(BootClock.now().since(begun)).await;
        eprintln!("{sample}");
        samples.push(sample);
    }
    let grants_by_load = load.grants();
    let load = load.finish().await;
    let visited = visitors.finish().await;
    let kept = idle.finish().await;
    let drained = sampler.wait_until_empty(DRAIN_MAX).await;
    Report { title: title(arguments), samples, grants_by_load, load, visited, kept, drained }
}

fn title(arguments: &Arguments) -> String {
    let Arguments { backend, idle, clients, visitors, .. } = arguments;
    format!("{}, {idle} idle sessions, {clients} clients, {visitors} visitors a second", backend.title())
}
