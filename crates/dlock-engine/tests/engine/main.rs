//! The engine over the store in memory, under paused time.

mod locks;
mod many_servers;
mod sessions;
mod world;
