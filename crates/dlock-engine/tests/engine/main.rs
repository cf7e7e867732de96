//! The engine over the store in memory, under paused time.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod gated;
mod locks;
mod many_servers;
mod sessions;
mod world;
