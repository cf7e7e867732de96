//! The server by its own protocol, as a client in any language sees it.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod bad_input;
mod binary;
mod calls;
mod first_dlock;
mod health;
mod raw;
mod stream;
mod world;
