//! Where etcd is, and how to use it.

use dlock_store::config::{Secret, duration};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach an etcd cluster. Only the endpoints have no default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdConfig {
    /// The members, each as `HOST:PORT` or `http(s)://HOST:PORT`: requests go to those that answer.
    pub endpoints: Vec<String>,
    /// The user, where etcd asks for one.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A file that has the password, on its first line.
    pub password_file: Option<PathBuf>,
    /// What all of dlock's keys begin with; `dlock/` by default. Services that share a cluster need different ones.
    pub prefix: Option<String>,
    /// TLS; `https://` endpoints use the system's certificate authorities if this is not given.
    pub tls: Option<TlsConfig>,
    /// How long to wait for a connection: `5s` by default.
    #[serde(default, deserialize_with = "duration")]
    pub connect_timeout: Option<Duration>,
    /// Compaction of etcd's history by dlock.
    #[serde(default)]
    pub compaction: CompactionConfig,
}

/// The certificates of a TLS connection, as PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate authorities that sign the servers' certificates.
    pub ca_file: Option<PathBuf>,
    /// This client's certificate.
    pub cert_file: Option<PathBuf>,
    /// The key of this client's certificate.
    pub key_file: Option<PathBuf>,
    /// The name in the servers' certificates, if it is not the endpoints' host.
    pub server_name: Option<String>,
}

/// Compaction by dlock. It concerns the whole cluster: whoever else uses it loses the history, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompactionConfig {
    /// Whether dlock compacts.
    #[serde(default)]
    pub mode: CompactionMode,
    /// How much history is kept: `5m` by default, at least `10s`.
    #[serde(default, deserialize_with = "duration")]
    pub retention: Option<Duration>,
}

impl CompactionConfig {
    pub(crate) fn retention(&self) -> Duration {
        self.retention.unwrap_or(Duration::from_secs(5 * 60))
    }
}

/// Whether dlock compacts etcd's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompactionMode {
    /// If nobody else has keys in the cluster.
    #[default]
    Auto,
    /// In any case.
    On,
    /// Never: etcd does (`--auto-compaction-retention`), or somebody else.
    Off,
}

impl EtcdConfig {
    pub(crate) fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or("dlock/")
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(5))
    }
}
