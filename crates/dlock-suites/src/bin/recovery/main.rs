//! Measures how soon service is there again after a death: a server's, a store's leader's, a holder's; and what a rolling
//! restart costs. Each figure stands beside its target.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod figures;
mod holder;
mod rolling;
mod server;
mod store;

use clap::Parser;
use dlock_suites::Backend;
use figures::Row;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Measures how soon service is there again after a death")]
struct Arguments {
    /// The stores, and how each is set up.
    #[arg(long, value_parser = Backend::from_name, value_delimiter = ',', default_value = "embedded")]
    backend: Vec<Backend>,
    /// How often each death is caused.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() -> ExitCode {
    let Arguments { backend, rounds } = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("{}", figures::HEAD);
    let mut met = true;
    for backend in backend {
        let mut rows: Vec<Row> = vec![runtime.block_on(holder::killed(backend, rounds))];
        rows.extend(runtime.block_on(server::killed(backend, rounds)));
        if backend != Backend::Embedded {
            rows.push(runtime.block_on(store::leader_killed(backend, rounds)));
        }
        rows.extend(runtime.block_on(rolling::restarted(backend, rounds)));
        for row in rows {
            println!("{}", row.of(backend));
            met &= row.is_met();
        }
    }
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
