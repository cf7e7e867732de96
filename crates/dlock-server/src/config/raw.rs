//! The configuration as it is written in a file.

use super::{ConfigError, LogFormat, StoreConfig, shown};
use dlock_backend_etcd::EtcdConfig;
use dlock_backend_nats::NatsConfig;
use dlock_backend_redis::{RedisConfig, Settings};
use figment::Figment;
use figment::error::Kind;
use figment::providers::{Format, Json, Toml};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A file's settings, each of which may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) addr: Option<String>,
    pub(super) advertise_addr: Option<String>,
    pub(super) metrics_addr: Option<String>,
    pub(super) log_level: Option<String>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) drain_grace: Option<String>,
    pub(super) mastered_namespaces: Option<Vec<String>>,
    pub(super) limits: Option<Limits>,
    pub(super) embedded: Option<Embedded>,
    pub(super) etcd: Option<EtcdConfig>,
    pub(super) redis: Option<RedisConfig>,
    pub(super) jetstream: Option<NatsConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) sessions_max: Option<usize>,
    pub(super) locks_per_session_max: Option<usize>,
    pub(super) requests_in_flight_max: Option<usize>,
    pub(super) waiters_max: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Embedded {
    pub(super) data_dir: Option<PathBuf>,
}

pub(super) fn looks_like_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

impl Raw {
    /// Reads a file: JSON if it is named so or begins like it, else TOML.
    pub(super) fn read(path: &Path) -> Result<Raw, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), why: error.to_string() })?;
        let named = path.extension().and_then(|extension| extension.to_str());
        let json = match named {
            Some("json") => true,
            Some("toml") => false,
            _ => looks_like_json(&text),
        };
        Raw::parse(&text, json, &shown(path))
    }

    pub(super) fn parse(text: &str, json: bool, source_name: &str) -> Result<Raw, ConfigError> {
        let figment =
            if json { Figment::from(Json::string(text)) } else { Figment::from(Toml::string(text)) };
        figment.extract().map_err(|error| ConfigError::Malformed {
            source_name: source_name.to_owned(),
            why: explain(&error),
        })
    }

    /// The one store that is named, or the embedded one.
    pub(super) fn store(&self) -> Result<StoreConfig, ConfigError> {
        let mut stores: Vec<(&'static str, StoreConfig)> = Vec::new();
        if let Some(embedded) = &self.embedded {
            let store = embedded.data_dir.clone().map_or(StoreConfig::Memory, StoreConfig::Directory);
            stores.push(("embedded", store));
        }
        if let Some(etcd) = &self.etcd {
            if etcd.endpoints.is_empty() {
                return Err(ConfigError::value("etcd.endpoints", "[]", "name at least one endpoint"));
            }
            stores.push(("etcd", StoreConfig::Etcd(etcd.clone())));
        }
        if let Some(redis) = &self.redis {
            let settings = Settings::try_from(redis).map_err(|error| {
                ConfigError::value(&format!("redis.{}", error.setting), &error.value, &error.why)
            })?;
            stores.push(("redis", StoreConfig::Redis(settings)));
        }
        if let Some(nats) = &self.jetstream {
            if nats.all_endpoints().is_empty() {
                return Err(ConfigError::value("jetstream.endpoint", "", "name at least one server"));
            }
            stores.push(("jetstream", StoreConfig::Nats(nats.clone())));
        }
        if stores.len() > 1 {
            return Err(ConfigError::ManyStores {
                stores: stores.into_iter().map(|(name, _)| name).collect(),
            });
        }
        Ok(stores.pop().map_or(StoreConfig::Memory, |(_, store)| store))
    }
}

/// What is wrong and where, with the key that was probably meant.
fn explain(error: &figment::Error) -> String {
    let mut text = String::new();
    if !error.path.is_empty() && !matches!(error.kind, Kind::UnknownField(..)) {
        text.push_str(&format!("{}: ", error.path.join(".")));
    }
    match &error.kind {
        Kind::UnknownField(field, known) => {
            let section =
                error.path.iter().take(error.path.len().saturating_sub(1)).cloned().collect::<Vec<_>>();
            let name =
                section.iter().map(String::as_str).chain([field.as_str()]).collect::<Vec<_>>().join(".");
            text.push_str(&format!("there is no setting {name:?}"));
            let similar = |known: &&&str| strsim::jaro_winkler(field, known);
            let nearest = known.iter().max_by(|a, b| similar(a).total_cmp(&similar(b)));
            match nearest.filter(|nearest| similar(nearest) > 0.7) {
                Some(nearest) => text.push_str(&format!("; did you mean {nearest:?}?")),
                None => text.push_str(&format!("; there are {}", known.join(", "))),
            }
        }
        kind => text.push_str(&kind.to_string()),
    }
    text
}
