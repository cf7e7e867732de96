//! Structured logs on standard error: for people on a terminal, JSON elsewhere.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. `level` is a level, or directives as `tracing` has them; checked by the configuration.
pub fn start(level: &EnvFilter, format: LogFormat) {
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let filter = EnvFilter::new(level.to_string());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if json { builder.json().flatten_event(true).try_init() } else { builder.try_init() };
    // Another subscriber is there already, as in tests: it gets the events.
    drop(started);
}
