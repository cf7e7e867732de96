//! What is fuzzed: functions that take any bytes, from the network, from the store, from files. They must neither panic nor
//! hang on any, what they accept must be sound, and what they refuse must be refused by name.
//!
//! `cargo xtask fuzz` looks for bytes on which they don't; `fuzz/corpus` has those that reach different parts of the code, and
//! the tests run all of them again.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "what fails here is a finding")]

mod answers;
mod calls;
mod commands;
mod configuration;
mod frames;
mod names;
mod records;
mod service;

pub use calls::methods;
pub use service::session;

/// Something that takes any bytes.
pub struct Target {
    /// What it is called: also the name of its corpus and of its program in `fuzz`.
    pub name: &'static str,
    /// Runs it.
    ///
    /// # Panics
    /// When something is found.
    pub run: fn(&[u8]),
}

/// All there is.
pub const TARGETS: [Target; 8] = [
    Target { name: "answers", run: answers::run },
    Target { name: "calls", run: calls::run },
    Target { name: "commands", run: commands::run },
    Target { name: "configuration", run: configuration::run },
    Target { name: "envelopes", run: records::envelopes },
    Target { name: "frames", run: frames::run },
    Target { name: "names", run: names::run },
    Target { name: "records", run: records::run },
];

/// Runs a target by its name.
///
/// # Panics
/// When something is found, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target {name}")).run)(data);
}
