//! The protocol of dlock, model-checked with [`stateright`]: every interleaving of a few servers and clients, with a
//! store, a network and clocks that misbehave as far as the design says they may.
//!
//! What is checked is not a copy of the rules: servers run `dlock-core`'s coordinators over its resources, with its
//! leases, session records and sequences; clients run its [`ClientLease`](dlock_core::lease::ClientLease). The model
//! adds what surrounds them: the store, the network, and in what order the engine and the SDK call them, each with the
//! name of the file whose order it repeats.
//!
//! A [`Config`] says what there is and what may go wrong. The [`catalogue`] has those that are checked, and for each
//! [`Rule`] of the protocol a *mutant*: a config without it, in which the checker finds what the rule prevents.
#![forbid(unsafe_code)]

mod beginning;
pub mod catalogue;
mod config;
mod message;
pub mod mutants;
mod part;
mod service;
mod state;
mod step;
mod world;

pub use config::{ClientSetup, Config, Limits, Line, News, Operation, Rule};
pub use message::{Ask, Message};
pub use service::*;
pub use state::{At, State};
pub use step::Step;
