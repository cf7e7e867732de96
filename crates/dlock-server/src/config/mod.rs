//! The server's configuration: raw as it is written, then parsed into what can't be wrong.
//!
//! Each setting is taken from the first of these that has it: flag, environment variable, file, default. The whole of it is in
//! `docs/configuration.md`.

mod address;
mod flags;
mod raw;

pub use address::parse_address;
use dlock_backend_etcd::EtcdConfig;
use dlock_backend_nats::NatsConfig;
pub use flags::Flags;

use dlock_core::Namespace;
use dlock_core::name::DEFAULT_NAMESPACE;
use dlock_engine::{EngineConfig, Mastering};
use raw::Raw;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Where the server listens if it isn't told.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:5055";
/// How long a drain waits for sessions to move if it isn't told.
pub const DEFAULT_DRAIN_GRACE: Duration = Duration::from_secs(10);

/// What a server is to be.
#[derive(Debug)]
pub struct Config {
    /// Where gRPC is served.
    pub addr: SocketAddr,
    /// How clients reach it, told to them and to other servers; by default the address it listens on.
    pub advertise_addr: Option<String>,
    /// Where metrics are served, if anywhere.
    pub metrics_addr: Option<SocketAddr>,
    /// Where the records live.
    pub store: StoreConfig,
    /// What is logged.
    pub log_level: EnvFilter,
    /// How it is logged.
    pub log_format: LogFormat,
    /// How long a drain waits for sessions to move.
    pub drain_grace: Duration,
    /// The engine's limits.
    pub engine: EngineConfig,
}

/// Where the records live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// In this process, for as long as it runs.
    Memory,
    /// In a directory.
    Directory(PathBuf),
    /// In etcd.
    Etcd(EtcdConfig),
    /// In Redis.
    Redis(dlock_backend_redis::Settings),
    /// In NATS JetStream.
    Nats(NatsConfig),
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// A setting can't be taken as it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file {} can't be read: {why}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The file is not what it should be.
    #[error("the configuration {source_name} is wrong: {why}")]
    Malformed {
        /// The file, or where else it came from.
        source_name: String,
        /// What is wrong, and where.
        why: String,
    },
    /// A value is not allowed.
    #[error("{setting} is {value:?}: {why}")]
    Value {
        /// Which setting, as it is written.
        setting: String,
        /// What was given.
        value: String,
        /// What is allowed.
        why: String,
    },
    /// More than one store is named.
    #[error("more than one store is configured ({}): keep one", stores.join(", "))]
    ManyStores {
        /// Which.
        stores: Vec<&'static str>,
    },
}

impl ConfigError {
    fn value(setting: &str, value: impl Into<String>, why: impl Into<String>) -> ConfigError {
        ConfigError::Value { setting: setting.to_owned(), value: value.into(), why: why.into() }
    }
}

impl Config {
    /// The configuration of flags (which hold the environment's values, too) over that of the file they name.
    pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
        let file = flags.config.as_deref().map(Raw::read).transpose()?.unwrap_or_default();
        Config::parse(flags.over(file))
    }

    /// The configuration of a file's text: JSON if it begins like it, else TOML.
    pub fn from_text(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Raw::parse(text, raw::looks_like_json(text), "the configuration")?)
    }

    fn parse(raw: Raw) -> Result<Config, ConfigError> {
        let store = raw.store()?;
        let addr = parse_address("addr", raw.addr.as_deref().unwrap_or(DEFAULT_ADDRESS))?;
        let metrics_addr = raw.metrics_addr.as_deref().filter(|text| !text.is_empty());
        let level = raw.log_level.unwrap_or_else(|| "info".to_owned());
        let log_level = EnvFilter::try_new(&level).map_err(|_| {
            ConfigError::value(
                "log_level",
                &level,
                "use error, warn, info, debug or trace, or directives of them",
            )
        })?;
        let drain_grace = match raw.drain_grace {
            Some(text) => duration("drain_grace", &text, Duration::ZERO, Duration::from_secs(3600))?,
            None => DEFAULT_DRAIN_GRACE,
        };
        let mastering = raw.mastered_namespaces.map(|names| mastering(&names)).transpose()?;
        let limits = raw.limits.unwrap_or_default();
        let default = EngineConfig::default();
        let engine = EngineConfig {
            sessions_max: positive("limits.sessions_max", limits.sessions_max, default.sessions_max)?,
            locks_per_session_max: positive(
                "limits.locks_per_session_max",
                limits.locks_per_session_max,
                default.locks_per_session_max,
            )?,
            requests_in_flight_max: positive(
                "limits.requests_in_flight_max",
                limits.requests_in_flight_max,
                default.requests_in_flight_max,
            )?,
            waiters_max: positive("limits.waiters_max", limits.waiters_max, default.waiters_max)?,
            mastering,
            ..default
        };
        Ok(Config {
            addr,
            advertise_addr: raw.advertise_addr,
            metrics_addr: metrics_addr.map(|text| parse_address("metrics_addr", text)).transpose()?,
            store,
            log_level,
            log_format: raw.log_format.unwrap_or_default(),
            drain_grace,
            engine,
        })
    }
}

fn duration(setting: &str, text: &str, min: Duration, max: Duration) -> Result<Duration, ConfigError> {
    let parsed = humantime::parse_duration(text).map_err(|error| {
        ConfigError::value(setting, text, format!("{error}: write a duration such as 500ms, 3s or 2m"))
    })?;
    if parsed < min || parsed > max {
        let why = format!(
            "it must be between {} and {}",
            humantime::format_duration(min),
            humantime::format_duration(max)
        );
        return Err(ConfigError::value(setting, text, why));
    }
    Ok(parsed)
}

/// What stands for all namespaces. None has this name.
const ALL_NAMESPACES: &str = "*";

fn mastering(names: &[String]) -> Result<Mastering, ConfigError> {
    const SETTING: &str = "mastered_namespaces";
    if names.iter().any(|name| name == ALL_NAMESPACES) {
        return match names {
            [_] => Ok(Mastering::All),
            _ => {
                let why = format!("{ALL_NAMESPACES} means all namespaces: give it alone, or only names");
                Err(ConfigError::value(SETTING, names.join(","), why))
            }
        };
    }
    let namespace = |name: &String| {
        let refused = |why: String| {
            let way_out = format!("{why}: name namespaces, or {ALL_NAMESPACES} alone for all");
            ConfigError::value(SETTING, name, way_out)
        };
        // To a client, an empty one means the default: here it is more likely a comma too many.
        if name.is_empty() {
            return Err(refused(format!("an empty name; the default namespace is {DEFAULT_NAMESPACE:?}")));
        }
        Namespace::new(name).map_err(|error| refused(error.to_string()))
    };
    let namespaces: BTreeSet<Namespace> = names.iter().map(namespace).collect::<Result<_, _>>()?;
    Ok(if namespaces.is_empty() { Mastering::Off } else { Mastering::Namespaces(namespaces) })
}

fn positive<T: PartialEq + Default + ToString>(
    setting: &str,
    given: Option<T>,
    default: T,
) -> Result<T, ConfigError> {
    match given {
        Some(zero) if zero == T::default() => {
            Err(ConfigError::value(setting, zero.to_string(), "it must be at least 1"))
        }
        Some(given) => Ok(given),
        None => Ok(default),
    }
}

/// A path as people write it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
