//! The dlock server as a library: the gRPC services over an engine, and all that the program `dlock` is made of.
#![forbid(unsafe_code)]

pub mod config;
mod convert;
mod fault;
pub mod log;
pub mod metrics;
mod serve;
mod service;
pub mod store;
mod unreadable;
mod workers;

pub use serve::{FRAME_BYTES_MAX, drain, routes, serve, serve_listener};
pub use workers::{WorkerError, serve_on_threads};
