//! What can be said on the command line.

mod bench;

pub(crate) use bench::{Bench, Driver, Workload};

use crate::exit;
use clap::{Args, Parser, Subcommand, ValueEnum};
use dlock_core::Mode;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  dlockctl lock deploy -- ./deploy.sh        run a command while nobody else does
  dlockctl lock --try backup -- ./backup.sh  run it only if nobody else does
  dlockctl inspect deploy                    who holds it, who waits, since when

Exit codes: 64 misuse, 69 no server, 70 failure, 71 the system, 75 the lock was not to be had, 76 the lock was lost,
77 permission denied, 126/127 the command can't be run, 128+N ended by signal N; else the command's own.";

/// Distributed locks from the command line.
#[derive(Debug, Parser)]
#[command(name = "dlockctl", version, about, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What holds for every verb.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The servers
    #[arg(
        long,
        global = true,
        env = "DLOCK_ENDPOINTS",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:5055"
    )]
    pub(crate) endpoints: Vec<String>,
    /// Where names are looked up
    #[arg(long, global = true, env = "DLOCK_NAMESPACE", value_name = "NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// A table for people, or JSON for programs
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub(crate) output: OutputFormat,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a command under a lock, or hold one until interrupted
    Lock(Lock),
    /// List resources that somebody holds or waits for
    Ls(Ls),
    /// Show who holds a resource and who waits for it
    Inspect(Inspect),
    /// List sessions
    Sessions,
    /// List servers
    Members,
    /// Follow changes of resources
    Watch(Ls),
    /// Take a lock from its session
    Release(Release),
    /// End a session: all its locks are free
    EndSession(EndSession),
    /// Tell whether a fencing token is still a holder's: exit code 0 if it is, 1 if not
    CheckToken(CheckToken),
    /// Tell whether a server serves: exit code 0 if it does, 69 if not
    Health,
    /// Measure a whole system: acquire and release in a loop
    Bench(Bench),
    /// Print completions for a shell
    Completions(Completions),
    /// Write man pages to a directory
    Man(Man),
    /// Echo frames, as a floor for `bench`
    #[command(hide = true)]
    EchoServer,
}

const LOCK_HELP: &str = "The command gets in its environment:
  DLOCK_TOKEN        the fencing token: pass it to what the lock protects
  DLOCK_LOCK_NAME    the resource's name
  DLOCK_NAMESPACE    its namespace
  DLOCK_MODE         the mode held, such as EX
  DLOCK_SESSION      the session's id
  DLOCK_DEADLINE     until when the lock is held if it can't be renewed, in milliseconds of Unix time, as of the start

INT, TERM, HUP, QUIT, USR1 and USR2 are passed on to the command and all that it started. When the lock is lost, they get
TERM, and after --kill-after KILL. A command that is stopped from the terminal goes on: it would lose its lock.";

/// `dlockctl lock`
#[derive(Debug, Args)]
#[command(after_help = LOCK_HELP)]
pub(crate) struct Lock {
    /// NL, CR, CW, PR (shared), PW or EX (exclusive)
    #[arg(long, default_value = "EX", value_name = "MODE")]
    pub(crate) mode: Mode,
    /// Wait this long at most, such as 500ms, 3s or 2m [default: for ever]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = duration, conflicts_with = "try_only")]
    pub(crate) wait: Option<Duration>,
    /// Don't wait
    #[arg(long = "try")]
    pub(crate) try_only: bool,
    /// How long the lock outlives this program if it dies: 1s to 10m
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = duration, default_value = "10s")]
    pub(crate) ttl: Duration,
    /// How much longer it then stays locked for others: 0s to 60s
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = duration, default_value = "0s")]
    pub(crate) lock_delay: Duration,
    /// The exit code when the lock was not to be had
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = exit::CONFLICT)]
    pub(crate) conflict_exit_code: u8,
    /// The exit code when the lock was lost
    #[arg(long, value_name = "CODE", default_value_t = exit::LOST)]
    pub(crate) lost_exit_code: u8,
    /// How long the command has between TERM and KILL when the lock is lost [default: a tenth of the ttl]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = duration)]
    pub(crate) kill_after: Option<Duration>,
    /// Run this with `sh -c` when the lock is lost
    #[arg(long, value_name = "COMMAND")]
    pub(crate) on_lost: Option<OsString>,
    /// Say who is in the way, and what happens
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// The resource
    pub(crate) name: String,
    /// The command and its arguments; without one, the lock is held until INT or TERM
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// `dlockctl ls`, `dlockctl watch`
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only names that begin with this
    #[arg(default_value = "")]
    pub(crate) prefix: String,
}

/// `dlockctl inspect`
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The resource
    pub(crate) name: String,
}

/// `dlockctl release`
#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Really: whoever holds it believes to be alone
    #[arg(long)]
    pub(crate) force: bool,
    /// Only the lock of this session
    #[arg(long, value_name = "ID", required_unless_present = "all")]
    pub(crate) session: Option<String>,
    /// Only this lock of the session
    #[arg(long, value_name = "NUMBER", requires = "session")]
    pub(crate) lock: Option<u64>,
    /// Only if it is still held with this token
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<u64>,
    /// Every lock that is held on the resource
    #[arg(long, conflicts_with_all = ["session", "lock"])]
    pub(crate) all: bool,
    /// The resource
    pub(crate) name: String,
}

/// `dlockctl end-session`
#[derive(Debug, Args)]
pub(crate) struct EndSession {
    /// The session's id
    pub(crate) session: String,
}

/// `dlockctl check-token`
#[derive(Debug, Args)]
pub(crate) struct CheckToken {
    /// The resource
    pub(crate) name: String,
    /// The token
    pub(crate) token: u64,
}

/// `dlockctl completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `dlockctl man`
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to
    #[arg(default_value = ".")]
    pub(crate) directory: PathBuf,
}

/// The longest duration that makes sense on a command line.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text)
        .map_err(|error| format!("{error}: write a duration such as 500ms, 3s or 2m"))?;
    if parsed > DURATION_MAX {
        return Err("it is longer than ten years: leave it out to wait for ever".to_owned());
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_are_read_and_absurd_ones_refused() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "-1s", "3", "soon", "99999999y"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_exit_code_out_of_range_is_refused_not_cut() {
        let parse = |code| Arguments::try_parse_from(["dlockctl", "lock", "-E", code, "name"]);
        assert!(parse("255").is_ok() && parse("256").is_err() && parse("-1").is_err());
    }
}
