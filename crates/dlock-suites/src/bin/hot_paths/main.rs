//! One hot path, carried out so many times, for a profiler that counts instructions: `cargo xtask bench --instructions`
//! runs each path twice under callgrind, with different counts, and so leaves the beginning out.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod core;
mod engine;
mod service;

use clap::{Parser, ValueEnum};
use dlock_engine::Mastering;

/// As in `dlock` and `dlockctl`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Carries out one hot path, so many times")]
struct Arguments {
    /// Which.
    #[arg(value_enum)]
    path: Path,
    /// How often.
    count: u64,
}

/// A hot path. Each is a pair: an acquire and a release of the same lock.
#[derive(Clone, Copy, ValueEnum)]
enum Path {
    /// `Resource::apply`, nobody else there.
    Apply,
    /// `Resource::apply` beside 10,000 other holders.
    ApplyShared,
    /// `Resource::apply`: a hand-over to the first of 1,000 who wait, and the former holder waits again.
    ApplyHandOver,
    /// A record with a holder, to bytes and back.
    Codec,
    /// The coordinator, with a store that answers at once.
    Coordinator,
    /// The engine over the embedded store in memory, one request at a time, each with a commit.
    Engine,
    /// The same, 64 requests at a time.
    EngineBatch,
    /// The engine from its own memory, one request at a time.
    Mastered,
    /// The same, 64 requests at a time.
    MasteredBatch,
    /// The server's side of a session's stream, from the frame's bytes to the answer's: no connection.
    Frame,
    /// The same with 64 requests in a frame.
    FrameBatch,
    /// The server's side of unary calls: no connection.
    Unary,
    /// The SDK, HTTP/2 on both sides, and the server, joined by a pipe in memory; one lock at a time.
    Whole,
    /// The same with 64 locks under way.
    WholeBatch,
}

fn main() {
    let Arguments { path, count } = Arguments::parse();
    match path {
        Path::Apply => core::apply(0, count),
        Path::ApplyShared => core::apply(10_000, count),
        Path::ApplyHandOver => core::hand_over(1_000, count),
        Path::Codec => core::codec(count),
        Path::Coordinator => core::coordinator(count),
        Path::Engine => engine::pairs(Mastering::Off, 1, count),
        Path::EngineBatch => engine::pairs(Mastering::Off, 64, count),
        Path::Mastered => engine::pairs(Mastering::All, 1, count),
        Path::MasteredBatch => engine::pairs(Mastering::All, 64, count),
        Path::Frame => service::frames(1, count),
        Path::FrameBatch => service::frames(64, count),
        Path::Unary => service::unary(count),
        Path::Whole => service::whole(1, count),
        Path::WholeBatch => service::whole(64, count),
    }
}
