//! `dlockctl` against a real `dlock`, as a person or a script uses them.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod bench;
mod lock;
mod lost;
mod terminal;
mod views;
mod world;
