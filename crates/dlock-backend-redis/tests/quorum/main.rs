//! The quorum against real servers of Redis.
#![allow(clippy::unwrap_used)]

mod conformance;
mod nodes;
mod world;
