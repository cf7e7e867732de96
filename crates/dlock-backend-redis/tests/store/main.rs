//! The store against real servers of Redis.
#![allow(clippy::unwrap_used)]

mod cluster;
mod sentinel;
mod single;
mod tls;
mod world;
