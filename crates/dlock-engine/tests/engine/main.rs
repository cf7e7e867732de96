//! The engine over the store in memory, under paused time, and over one whose power is cut.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod alone;
mod gated;
mod locks;
mod many_servers;
mod mastering;
mod power_cuts;
mod sessions;
mod unguarded;
mod world;
