//! `dlockctl`, the command line of dlock.

mod arguments;
mod command;
mod exit;
mod output;
mod unsafe_parts;

use arguments::{Arguments, Verb};
use clap::Parser;
use exit::Exit;
use std::process::ExitCode;

/// As the server's: its load generator shares the machine with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for; all else is misuse.
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(exit) => {
            if !exit.message.is_empty() {
                output::complain(&exit.message);
            }
            ExitCode::from(exit.code)
        }
    }
}

fn run(arguments: Arguments) -> Result<u8, Exit> {
    let Arguments { global, verb } = arguments;
    // Commands are started by this thread, which lives as long as the program: the parent-death signal that keeps them
    // from outliving it is bound to the thread that started them.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Exit::system)?;
    let code = runtime.block_on(async {
        match verb {
            Verb::Lock(lock) => command::lock::run(&global, lock).await,
            Verb::Ls(ls) => command::ls::run(&global, ls).await,
            Verb::Inspect(inspect) => command::inspect::run(&global, inspect).await,
            Verb::Sessions => command::sessions::run(&global).await,
            Verb::Members => command::members::run(&global).await,
            Verb::Watch(watch) => command::watch::run(&global, watch).await,
            Verb::Release(release) => command::release::run(&global, release).await,
            Verb::EndSession(end) => command::end_session::run(&global, end).await,
            Verb::CheckToken(check) => command::check_token::run(&global, check).await,
            Verb::Health => command::health::run(&global).await,
            Verb::Bench(bench) => command::bench::run(&global, bench).await,
            Verb::Completions(completions) => command::generate::completions(&completions),
            Verb::Man(man) => command::generate::man(&man),
            Verb::EchoServer => command::bench::serve_echo().await,
        }
    });
    runtime.shutdown_background();
    code
}
