//! Disturbs a whole lock service for minutes: real servers over a real store, clients through the SDK and the command line,
//! and one fault after the other, two at a time now and then. What clients were promised is checked at the end.
//!
//! The seed decides on the faults, their order and their lengths; what the processes make of them differs each time.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod commands;
mod disk;
mod fault;
mod report;
mod site;

use clap::{Parser, Subcommand};
use dlock_suites::Backend;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Disturbs a whole lock service, and checks what its clients were promised")]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// The store, and how it is set up.
    #[arg(long, value_parser = Backend::from_name, default_value = "embedded")]
    backend: Backend,
    /// How long faults are made.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// What decides on the faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Clients through the SDK; each has two locks under way at a time.
    #[arg(long, default_value_t = 12)]
    clients: usize,
    /// Let the servers master resources.
    #[arg(long)]
    mastered: bool,
    /// Clients through the command line.
    #[arg(long, default_value_t = 6)]
    commands: usize,
}

#[derive(Subcommand)]
enum Part {
    /// What `dlockctl lock` runs: writes down that it runs, until it has run for long enough.
    #[command(hide = true)]
    Hold { log: PathBuf, milliseconds: u64 },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Part::Hold { log, milliseconds }) = arguments.part {
        commands::hold(&log, Duration::from_millis(milliseconds));
        return ExitCode::SUCCESS;
    }
    let report = site::disturb(&arguments);
    println!("{report}");
    if report.is_safe() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
