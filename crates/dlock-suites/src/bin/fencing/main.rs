//! Client processes that are stopped in the middle of their critical sections, past their leases, and then go on: what
//! becomes of the resource that the lock protects, with its tokens checked and without.
//!
//! A stand-in for storage ([`resource`]) keeps a counter. Client processes ([`client`]) lock, read it, check their guard, and
//! write the next number. The harness ([`stage`]) stops one of them between the check and the write with SIGSTOP, until
//! another has the lock, and then lets it go on: a late write, which no lease can prevent. Every number that was written
//! and does not count in the end is a lost update.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod client;
mod report;
mod resource;
mod stage;
mod wire;

use clap::{Parser, Subcommand};
use dlock_suites::{Backend, Deployment};
use report::Row;
use resource::Check;
use stage::Stage;
use std::process::ExitCode;

const SERVERS: usize = 3;

#[derive(Parser)]
#[command(about = "Stops holders past their leases, and shows what becomes of the protected resource")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// The store, and how it is set up.
    #[arg(long, value_parser = Backend::from_name, default_value = "embedded")]
    backend: Backend,
    /// How often a holder is stopped in each run.
    #[arg(long, default_value_t = 10)]
    pauses: usize,
    /// Client processes.
    #[arg(long, default_value_t = 4)]
    clients: usize,
}

#[derive(Subcommand)]
enum Role {
    /// One of the client processes: the harness starts them.
    #[command(hide = true)]
    Client(client::Arguments),
}

fn main() -> ExitCode {
    let Arguments { role, backend, pauses, clients } = Arguments::parse();
    if let Some(Role::Client(arguments)) = role {
        client::run(&arguments);
        return ExitCode::SUCCESS;
    }
    let deployment = Deployment::start(backend, SERVERS);
    println!("{}", report::HEAD);
    let mut as_claimed = true;
    for check in [Check::Never, Check::Writes, Check::ReadsAndWrites] {
        let tally = Stage::set(&deployment, check, clients).run(pauses);
        let row = Row { check, pauses, tally };
        println!("{row}");
        as_claimed &= row.is_as_claimed();
    }
    if as_claimed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
