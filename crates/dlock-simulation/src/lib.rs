//! Deterministic simulation of the whole lock service, and a checker of what its clients see.
#![deny(unsafe_code)]

// Without it, the branch at which a `select!` begins depends on how many runtimes the process has had.
#[cfg(not(any(tokio_unstable, doc)))]
compile_error!("simulations need RUSTFLAGS to contain `--cfg tokio_unstable`, as .cargo/config.toml has it");

mod bug;
pub mod check;
mod client;
mod determinism;
mod held;
pub mod history;
mod network;
mod panics;
mod process;
mod recipe;
mod register;
mod scenario;
mod simulation;
mod store;
mod trace;
mod world;

pub use bug::Bug;
pub use register::Writes;
pub use scenario::{Options, Recipe};
pub use simulation::{Report, run};
pub use trace::{Keep, Trace};
pub use world::Time;
