//! The suites that every backend passes with the real programs: `dlock` servers as processes, over a real store.
//!
//! [`service`] has the behaviours of the whole lock service, for clients of several servers over one store;
//! [`faults`] kills, pauses, cuts and restarts servers and stores under load, and checks the [`history`] of what
//! the clients were promised.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)] // what a test needs and does not get is a panic

mod backend;
mod deployment;
pub mod faults;
mod handle;
pub mod history;
mod load;
mod proxy;
mod server;
pub mod service;

pub use backend::{Backend, StoreServer};
pub use deployment::{Between, Deployment};
pub use load::{Load, LoadReport};
pub use proxy::{Fault, Proxy};
pub use server::{DlockServer, program};
