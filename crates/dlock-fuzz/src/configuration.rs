//! Configuration files: a configuration, or an error that names the setting.

use dlock_server::config::{Config, ConfigError};
use figment::providers::{Format, Json, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Provider};
use std::net::SocketAddr;

/// Every setting is described there.
const DOCUMENTATION: &str = include_str!("../../../docs/configuration.md");

/// TOML, or JSON if it begins like it.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let settings = settings(text);
    if settings.as_ref().is_some_and(asks_the_network) {
        return;
    }
    match Config::from_text(text) {
        Ok(config) => assert!(settings.is_some(), "{config:?} out of what can't be read"),
        Err(error) => check(&error, settings.as_ref()),
    }
}

fn check(error: &ConfigError, settings: Option<&Dict>) {
    match error {
        ConfigError::Value { setting, value: _, why } => {
            let name = setting.rsplit('.').next().unwrap_or_default();
            assert!(DOCUMENTATION.contains(name) && !name.is_empty(), "there is no setting {setting}");
            assert!(!why.is_empty(), "{error:?}");
        }
        ConfigError::Malformed { source_name: _, why } => {
            let named = settings.is_none_or(|settings| {
                names(settings)
                    .any(|name| why.contains(format!("{name:?}").trim_matches('"')) || why.contains(name))
            });
            assert!(named && !why.is_empty(), "it does not say which setting is wrong: {why}");
        }
        ConfigError::ManyStores { stores } => assert!(stores.len() > 1, "{error}"),
        ConfigError::Unreadable { .. } => panic!("{error}, and there was no file"),
    }
}

/// What the text says, if it says anything.
fn settings(text: &str) -> Option<Dict> {
    fn read(provider: impl Provider) -> Option<Dict> {
        Figment::from(provider).extract().ok()
    }
    if text.trim_start().starts_with('{') { read(Json::string(text)) } else { read(Toml::string(text)) }
}

/// All names in it, those of sections included.
fn names(settings: &Dict) -> Box<dyn Iterator<Item = &str> + '_> {
    Box::new(settings.iter().flat_map(|(name, value)| {
        let within: Box<dyn Iterator<Item = &str>> = match value {
            Value::Dict(_, within) => names(within),
            _ => Box::new(std::iter::empty()),
        };
        std::iter::once(name.as_str()).chain(within)
    }))
}

/// Whether an address has a host's name, which would be looked up.
fn asks_the_network(settings: &Dict) -> bool {
    let host_and_port = |name: &str| {
        let text = settings.get(name)?.as_str()?;
        let address = text.split_once("://").map_or(text, |(_, address)| address);
        let (host, port) = address.rsplit_once(':')?;
        let looked_up =
            port.parse::<u16>().is_ok() && !host.is_empty() && address.parse::<SocketAddr>().is_err();
        looked_up.then_some(())
    };
    ["addr", "metrics_addr"].into_iter().any(|name| host_and_port(name).is_some())
}
