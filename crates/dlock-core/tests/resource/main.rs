//! The resource's state machine against its rules: readable scripts, and a naive reference under random commands.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod against_the_reference;
mod records;
mod reference;
mod scripts;
