//! Chores of the dlock workspace: `cargo xtask help` names them.
#![allow(clippy::print_stderr)] // chores talk to their developer

mod bench;
mod codegen;
mod fuzz;
mod miri;
mod purity;
mod stores;
mod test;
mod verify;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::Path;
use xshell::Shell;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the dlock workspace")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Generate the protocol's code from proto/.
    Codegen {
        /// Change nothing; fail if the checked-in code is not what would be generated.
        #[arg(long)]
        check: bool,
    },
    /// Check format, generated code, purity of the core, lints and documentation.
    Verify,
    /// Mend format and generated code.
    Fix,
    /// Print which behaviours each backend has; with --write, into the documentation.
    Conformance {
        /// Write docs/conformance.md and README's table of features.
        #[arg(long)]
        write: bool,
    },
    /// Disturb servers, store and clients for minutes, and check what the clients were promised.
    Chaos {
        /// The store, and how it is set up: embedded, etcd, etcd-cluster, redis, redis-sentinel, redis-cluster,
        /// redis-quorum, nats or nats-cluster.
        #[arg(long, default_value = "embedded")]
        backend: String,
        /// How long.
        #[arg(long, default_value_t = 5.0)]
        minutes: f64,
        /// What decides on the faults.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Stop holders past their leases, and show what becomes of a resource that checks tokens, and of one that doesn't.
    Fencing {
        /// The store, and how it is set up.
        #[arg(long, default_value = "embedded")]
        backend: String,
        /// How often a holder is stopped in each run.
        #[arg(long, default_value_t = 10)]
        pauses: usize,
    },
    /// Simulate the whole service, one run for each seed, and show what breaks a rule.
    Simulate {
        /// What to pass on, such as `--seeds N --from S --jobs J`, `--bug NAME` or `--trace`; `--help` tells more.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzz what takes bytes from the network, the store and files: `docs/reliability.md` names the targets.
    Fuzz {
        /// Only this one.
        #[arg(long)]
        target: Option<String>,
        /// How long each is fuzzed.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Add inputs to fuzz/corpus that reach what those in it do not.
        #[arg(long)]
        keep: bool,
        /// What to pass on to libFuzzer instead of the corpora, such as an input that it found.
        #[arg(last = true, requires = "target")]
        arguments: Vec<String>,
    },
    /// Run the core's tests in Miri, which finds undefined behaviour; needs nightly Rust.
    Miri {
        /// Passed on to the test programs.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Load a whole lock service for long, and look whether anything grows.
    Soak {
        /// The store, and how it is set up.
        #[arg(long, default_value = "embedded")]
        backend: String,
        /// How long the load lasts.
        #[arg(long, default_value_t = 60.0)]
        minutes: f64,
        /// What to pass on, such as `-- --idle 1000`; `-- --help` tells more.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Measure how soon service is there again after a death.
    Recovery {
        /// The store, and how it is set up.
        #[arg(long, default_value = "embedded")]
        backend: String,
        /// How often each death is caused.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Measure how fast all of it is, and write docs/performance.md from that.
    Bench(bench::Arguments),
    /// Run all tests, with real stores: programs of the PATH, else containers, else Debian's packages.
    Test {
        /// Only the suites of these backends.
        #[arg(long, value_enum, value_delimiter = ',')]
        backend: Vec<stores::Backend>,
        /// Passed on to the test programs.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> Result<()> {
    let Arguments { chore } = Arguments::parse();
    let sh = Shell::new()?;
    // Cargo says at run time which checkout this is: several may share one target directory, and so this program.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    sh.change_dir(Path::new(&package).join(".."));
    match chore {
        Chore::Codegen { check: false } => codegen::write(&sh),
        Chore::Codegen { check: true } => codegen::check(&sh),
        Chore::Verify => verify::run(&sh),
        Chore::Fix => verify::fix(&sh),
        Chore::Conformance { write } => test::conformance(&sh, write),
        Chore::Chaos { backend, minutes, seed } => test::chaos(&sh, &backend, minutes, seed),
        Chore::Fencing { backend, pauses } => test::fencing(&sh, &backend, pauses),
        Chore::Simulate { arguments } => test::simulate(&sh, &arguments),
        Chore::Fuzz { target, seconds, keep, arguments } => {
            fuzz::run(&sh, target.as_deref(), seconds, keep, &arguments)
        }
        Chore::Miri { arguments } => miri::run(&sh, &arguments),
        Chore::Soak { backend, minutes, arguments } => test::soak(&sh, &backend, minutes, &arguments),
        Chore::Recovery { backend, rounds } => test::recovery(&sh, &backend, rounds),
        Chore::Bench(arguments) => bench::run(&sh, &arguments),
        Chore::Test { backend, arguments } => test::run(&sh, &backend, &arguments),
    }
}
