//! The settings: raw as they are written in a file, then parsed into what can't be wrong.

use dlock_store::config::Secret;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What every key of ours begins with, if it isn't told.
pub const DEFAULT_PREFIX: &str = "dlock";
/// How long an answer is waited for, if it isn't told. Two of them must fit into the engine's own time-out.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest prefix, in bytes.
pub const PREFIX_BYTES_MAX: usize = 64;

/// How Redis is reached, as it is written: every setting may be left out but the address.
///
/// `{"network": "tcp", "addr": "127.0.0.1:6379"}`, as the first dlock had it, is one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `single`, `sentinel`, `cluster` or `quorum`; `single` if left out.
    pub mode: Option<String>,
    /// `tcp` or `unix`; `tcp` if left out. Only for one node.
    pub network: Option<String>,
    /// `HOST:PORT`, or the socket's path.
    pub addr: Option<String>,
    /// `HOST:PORT` of several: the sentinels, some nodes of the cluster, all nodes of the quorum.
    pub addrs: Option<Vec<String>>,
    /// What Sentinel is asked for; only with `mode = "sentinel"`.
    pub sentinel: Option<SentinelConfig>,
    /// The ACL user; Redis' default user if left out.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// A file with its password, read whenever a connection is made, so that the password can be changed.
    pub password_file: Option<PathBuf>,
    /// The number of the database; 0 if left out. A cluster has only that.
    pub db: Option<i64>,
    /// What every key begins with; [`DEFAULT_PREFIX`] if left out.
    pub prefix: Option<String>,
    /// Encrypt connections; an empty section trusts the system's certificates.
    pub tls: Option<TlsConfig>,
    /// How many replicas must have a write before it counts; 0 if left out.
    pub replicas: Option<u32>,
    /// How long an answer of Redis is waited for, such as `2s`; [`DEFAULT_TIMEOUT`] if left out.
    pub timeout: Option<String>,
}

/// What Sentinel is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentinelConfig {
    /// The name of the monitored master.
    pub master: String,
    /// The ACL user of the sentinels themselves.
    pub user: Option<String>,
    /// The password of the sentinels themselves.
    pub password: Option<Secret>,
    /// A file with that password.
    pub password_file: Option<PathBuf>,
}

/// How connections are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of the authorities that are trusted, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's own certificate chain; together with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's own key.
    pub key_file: Option<PathBuf>,
}

/// A setting can't be taken as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("redis.{setting} is {value:?}: {why}")]
pub struct SettingError {
    /// Which, below `redis`.
    pub setting: &'static str,
    /// What was given.
    pub value: String,
    /// What is allowed.
    pub why: String,
}

/// How Redis is reached, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub(crate) deployment: Deployment,
    pub(crate) login: Login,
    pub(crate) db: i64,
    pub(crate) prefix: String,
    pub(crate) tls: Option<Tls>,
    pub(crate) replicas: u32,
    pub(crate) timeout: Duration,
}

/// What kind of Redis it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deployment {
    Single(Address),
    Sentinel { sentinels: Vec<Address>, master: String, login: Login },
    Cluster { seeds: Vec<Address> },
    Quorum { nodes: Vec<Address> },
}

/// Where one server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Who we are to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Password>,
}

/// Where a password comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Password {
    Given(Secret),
    File(PathBuf),
}

/// The files of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) ca_file: Option<PathBuf>,
    /// Certificate chain and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

impl TryFrom<&RedisConfig> for Settings {
    type Error = SettingError;

    fn try_from(config: &RedisConfig) -> Result<Settings, SettingError> {
        let deployment = deployment(config)?;
        let db = config.db.unwrap_or(0);
        if db < 0 {
            return Err(refuse("db", db, "a database has a number from 0 on"));
        }
        if db != 0 && matches!(deployment, Deployment::Cluster { .. }) {
            return Err(refuse("db", db, "a cluster has only database 0: leave it out"));
        }
        let replicas = config.replicas.unwrap_or(0);
        if replicas != 0 && matches!(deployment, Deployment::Quorum { .. }) {
            return Err(refuse("replicas", replicas, "the nodes of a quorum have no replicas: leave it out"));
        }
        let login = login(
            ["user", "password", "password_file"],
            (&config.user, &config.password, &config.password_file),
        )?;
        Ok(Settings {
            deployment,
            login,
            db,
            prefix: prefix(config.prefix.as_deref())?,
            tls: tls(config)?,
            replicas,
            timeout: timeout(config.timeout.as_deref())?,
        })
    }
}

fn refuse(setting: &'static str, value: impl ToString, why: impl Into<String>) -> SettingError {
    SettingError { setting, value: value.to_string(), why: why.into() }
}

fn deployment(config: &RedisConfig) -> Result<Deployment, SettingError> {
    let mode = config.mode.as_deref().unwrap_or("single");
    let network = config.network.as_deref().unwrap_or("tcp");
    if !["tcp", "unix"].contains(&network) {
        return Err(refuse("network", network, "use tcp or unix"));
    }
    if network == "unix" && mode != "single" {
        return Err(refuse("network", network, "a unix socket reaches one node only: leave mode out"));
    }
    if config.sentinel.is_some() && mode != "sentinel" {
        return Err(refuse("mode", mode, "with a section redis.sentinel, write mode = \"sentinel\""));
    }
    let addresses = || addresses(config);
    match mode {
        "single" if network == "unix" => match (&config.addr, &config.addrs) {
            (Some(path), None) if !path.is_empty() => Ok(Deployment::Single(Address::Unix(path.into()))),
            _ => Err(refuse("addr", config.addr.as_deref().unwrap_or(""), "write the socket's path")),
        },
        "single" => {
            let mut addresses = addresses()?;
            match (addresses.pop(), addresses.is_empty()) {
                (Some(address), true) => Ok(Deployment::Single(address)),
                _ => Err(refuse(
                    "addrs",
                    config.addrs.clone().unwrap_or_default().join(", "),
                    "one node has one address: name the mode sentinel, cluster or quorum, or keep one",
                )),
            }
        }
        "sentinel" => {
            let Some(sentinel) = &config.sentinel else {
                return Err(refuse("mode", mode, "write the master's name: [redis.sentinel] master = \"…\""));
            };
            if sentinel.master.is_empty() {
                return Err(refuse("sentinel.master", "", "write the name that the sentinels know it by"));
            }
            let login = login(
                ["sentinel.user", "sentinel.password", "sentinel.password_file"],
                (&sentinel.user, &sentinel.password, &sentinel.password_file),
            )?;
            Ok(Deployment::Sentinel { sentinels: addresses()?, master: sentinel.master.clone(), login })
        }
        "cluster" => Ok(Deployment::Cluster { seeds: addresses()? }),
        "quorum" => {
            let nodes = addresses()?;
            let distinct: std::collections::HashSet<_> = nodes.iter().collect();
            if ![3, 5, 7].contains(&nodes.len()) || distinct.len() != nodes.len() {
                let given = config.addrs.clone().unwrap_or_default().join(", ");
                return Err(refuse("addrs", given, "a quorum is of 3, 5 or 7 different nodes: name all"));
            }
            Ok(Deployment::Quorum { nodes })
        }
        _ => Err(refuse("mode", mode, "use single, sentinel, cluster or quorum")),
    }
}

fn addresses(config: &RedisConfig) -> Result<Vec<Address>, SettingError> {
    let given: Vec<&str> = match (&config.addr, &config.addrs) {
        (Some(addr), None) => vec![addr],
        (None, Some(addrs)) => addrs.iter().map(String::as_str).collect(),
        (Some(addr), Some(_)) => return Err(refuse("addr", addr, "there is addrs, too: keep one of them")),
        (None, None) => Vec::new(),
    };
    if given.is_empty() {
        return Err(refuse("addr", "", "write HOST:PORT, such as 127.0.0.1:6379"));
    }
    given.into_iter().map(address).collect()
}

/// Reads `HOST:PORT`; an IPv6 address stands in brackets.
pub(crate) fn address(text: &str) -> Result<Address, SettingError> {
    let why = "write HOST:PORT, such as 127.0.0.1:6379";
    let Some((host, port)) = text.rsplit_once(':') else { return Err(refuse("addr", text, why)) };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match port.parse() {
        Ok(port) if port != 0 && !host.is_empty() && !host.contains('/') => {
            Ok(Address::Tcp { host: host.to_owned(), port })
        }
        _ => Err(refuse("addr", text, why)),
    }
}

fn login(
    [_, password_name, file_name]: [&'static str; 3],
    (user, password, file): (&Option<String>, &Option<Secret>, &Option<PathBuf>),
) -> Result<Login, SettingError> {
    let password = match (password, file) {
        (Some(_), Some(file)) => {
            let why = format!("there is {password_name}, too: keep one of them");
            return Err(refuse(file_name, file.display(), why));
        }
        (Some(password), None) => Some(Password::Given(password.clone())),
        (None, Some(file)) => Some(Password::File(file.clone())),
        (None, None) => None,
    };
    Ok(Login { user: user.clone(), password })
}

fn prefix(given: Option<&str>) -> Result<String, SettingError> {
    let prefix = given.unwrap_or(DEFAULT_PREFIX);
    let allowed = |c: char| c.is_ascii_graphic() && !"{}*?[]\\".contains(c);
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !prefix.chars().all(allowed) {
        let why = format!("use 1 to {PREFIX_BYTES_MAX} ASCII characters without spaces and {{}}*?[]\\");
        return Err(refuse("prefix", prefix, why));
    }
    Ok(prefix.to_owned())
}

fn tls(config: &RedisConfig) -> Result<Option<Tls>, SettingError> {
    let Some(tls) = &config.tls else { return Ok(None) };
    if config.network.as_deref() == Some("unix") {
        return Err(refuse("network", "unix", "a unix socket is not encrypted: leave redis.tls out"));
    }
    let client = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        (None, None) => None,
        (Some(cert), None) => {
            return Err(refuse("tls.cert_file", cert.display(), "its key is missing: write tls.key_file"));
        }
        (None, Some(key)) => {
            return Err(refuse(
                "tls.key_file",
                key.display(),
                "its certificate is missing: write tls.cert_file",
            ));
        }
    };
    Ok(Some(Tls { ca_file: tls.ca_file.clone(), client }))
}

fn timeout(given: Option<&str>) -> Result<Duration, SettingError> {
    let Some(text) = given else { return Ok(DEFAULT_TIMEOUT) };
    match humantime::parse_duration(text) {
        Ok(timeout) if (Duration::from_millis(50)..=Duration::from_secs(60)).contains(&timeout) => {
            Ok(timeout)
        }
        Ok(_) => Err(refuse("timeout", text, "it must be between 50ms and 1m")),
        Err(error) => Err(refuse("timeout", text, format!("{error}: write a duration such as 500ms or 2s"))),
    }
}

#[cfg(test)]
mod tests;
