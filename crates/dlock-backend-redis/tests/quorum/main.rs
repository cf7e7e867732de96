//! The quorum against real servers of Redis.
#![allow(clippy::unwrap_used)]

mod conformance;
mod faults;
mod nodes;
mod world;
