//! `dlockctl bench`.

use super::duration;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::time::Duration;

const HELP: &str = "Without --rate the load is a closed loop: as many locks as --in-flight says are under way all the time, and each
begins when the one before it has ended. That shows what the service can do. With --rate the loop is open: locks begin
when they are due, and are timed from that moment on, however late they began (no coordinated omission). That shows
what a client waits at that rate.

Examples:
  dlockctl bench --clients 4 --in-flight 64 --floor         pairs per second beside a plain gRPC echo
  dlockctl bench --in-flight 64 --rate 5000                 latencies at 5,000 pairs per second
  dlockctl bench --workload hot --clients 4 --in-flight 64  how fast a lock goes from hand to hand
  dlockctl bench --workload read-shared --held 10000        the cost of one more holder beside 10,000
  dlockctl bench --workload idle-sessions --sessions 100000 --connections 4";

/// `dlockctl bench`
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Bench {
    /// What is done
    #[arg(long, value_enum, default_value = "uncontended")]
    pub(crate) workload: Workload,
    /// How many clients, each with a session of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// How many connections they share: one each unless --unary; for idle-sessions 1 [default: one for each client]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: Option<u32>,
    /// How many locks are under way at a time, of all clients together; with --rate, at most
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) in_flight: u32,
    /// Begin so many pairs per second, whether or not those before have ended (an open loop)
    #[arg(long, value_name = "PAIRS", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// How long to measure; the floor takes as long again
    #[arg(long, allow_hyphen_values = true, value_parser = duration, default_value = "5s")]
    pub(crate) duration: Duration,
    /// How long to run before that
    #[arg(long, allow_hyphen_values = true, value_parser = duration, default_value = "1s")]
    pub(crate) warm_up: Duration,
    /// The sessions' time to live
    #[arg(long, allow_hyphen_values = true, value_parser = duration, default_value = "10s")]
    pub(crate) ttl: Duration,
    /// Measure a plain gRPC echo beside it, in turns, with as many connections and messages in flight, and print the ratio
    #[arg(long)]
    pub(crate) floor: bool,
    /// Lock by unary calls, as clients without the SDK do, and not by sessions on streams
    #[arg(long)]
    pub(crate) unary: bool,
    /// How many threads make the load [default: half of the processors, at least one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: Option<u32>,
    /// On which thread the SDK does its work
    #[arg(long, value_enum, default_value = "own")]
    pub(crate) driver: Driver,
    /// How many locks are held all the while: on the resource that is locked for read-shared, else on others
    #[arg(long, default_value_t = 0, value_name = "LOCKS", value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    pub(crate) held: u32,
    /// mixed: how many names there are
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) names: u32,
    /// mixed: what names and modes are drawn from; the same numbers for the same seed
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// idle-sessions: how many sessions
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) sessions: u32,
}

/// What `bench` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Every lock on a resource of its own, EX
    Uncontended,
    /// All on one resource, EX
    Hot,
    /// On --names names, some much more often than others (Zipf); nine of ten in CR or PR, one in CW, PW or EX
    Mixed,
    /// All on one resource, PR
    ReadShared,
    /// From PR to EX and back, each on a resource of its own
    Convert,
    /// All try one resource, EX, which another holds but for moments: mostly refused
    Try,
    /// A client connects, opens a session, locks once, and closes it
    Sessions,
    /// No locks: only the heartbeats of --sessions sessions
    IdleSessions,
}

/// On which thread the SDK works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Driver {
    /// The SDK's own, shared by all clients, which is its default: a busy program can't hold up its heartbeats
    Own,
    /// The one that makes the load (`on_current_runtime`): fewer threads to wake
    Load,
}
