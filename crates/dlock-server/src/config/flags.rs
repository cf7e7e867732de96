//! Flags, each with its environment variable.

use super::LogFormat;
use super::raw::{Embedded, Raw};
use clap::Parser;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  dlock                                  in memory, on 127.0.0.1:5055
  dlock --data-dir /var/lib/dlock        durable
  dlock --config dlock.toml              as the file says

Exit codes: 0 stopped, 1 failed while it ran, 2 could not start as it was told.";

/// A distributed lock manager: the server.
#[derive(Debug, Default, Parser)]
#[command(name = "dlock", version, about, after_help = EXAMPLES)]
pub struct Flags {
    /// Where to listen: HOST:PORT, or tcp4://HOST:PORT [default: 127.0.0.1:5055]
    #[arg(long, env = "DLOCK_ADDR", value_name = "HOST:PORT")]
    pub addr: Option<String>,
    /// How clients reach this server, if not at the address it listens on
    #[arg(long, env = "DLOCK_ADVERTISE_ADDR", value_name = "HOST:PORT")]
    pub advertise_addr: Option<String>,
    /// Where to serve /metrics and /healthz over HTTP; nowhere if left out
    #[arg(long, env = "DLOCK_METRICS_ADDR", value_name = "HOST:PORT")]
    pub metrics_addr: Option<String>,
    /// Keep locks in this directory, made if need be; in memory if left out
    #[arg(long, env = "DLOCK_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A configuration file, TOML or JSON
    #[arg(long, env = "DLOCK_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or directives [default: info]
    #[arg(long, env = "DLOCK_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How to log: for people or as JSON [default: auto, for people on a terminal]
    #[arg(long, env = "DLOCK_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// How long to wait for sessions to move when told to stop [default: 10s]
    #[arg(long, env = "DLOCK_DRAIN_GRACE", value_name = "DURATION")]
    pub drain_grace: Option<String>,
    /// Namespaces whose resources this server may grant from its memory, or * for all [default: all in memory, else none]
    #[arg(long, env = "DLOCK_MASTERED_NAMESPACES", value_name = "NAMESPACES", value_delimiter = ',')]
    pub mastered_namespaces: Option<Vec<String>>,
}

impl Flags {
    /// The file's settings, replaced by those that are given here.
    pub(super) fn over(&self, file: Raw) -> Raw {
        let mut raw = Raw {
            addr: self.addr.clone().or(file.addr),
            advertise_addr: self.advertise_addr.clone().or(file.advertise_addr),
            metrics_addr: self.metrics_addr.clone().or(file.metrics_addr),
            log_level: self.log_level.clone().or(file.log_level),
            log_format: self.log_format.or(file.log_format),
            drain_grace: self.drain_grace.clone().or(file.drain_grace),
            mastered_namespaces: self.mastered_namespaces().or(file.mastered_namespaces),
            ..file
        };
        if let Some(directory) = &self.data_dir {
            // It names the store, whatever store the file names.
            raw.embedded = Some(Embedded { data_dir: Some(directory.clone()) });
            (raw.etcd, raw.redis, raw.jetstream) = (None, None, None);
        }
        raw
    }

    /// As given; an empty text means none, whatever the file says.
    fn mastered_namespaces(&self) -> Option<Vec<String>> {
        let mut names = self.mastered_namespaces.clone()?;
        if names == [""] {
            names.clear();
        }
        Some(names)
    }
}
