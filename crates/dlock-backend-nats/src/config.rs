//! Where NATS is, and how to use it.

use dlock_store::config::{Secret, duration};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// A bucket of several replicas whose leader has gone says nothing for so long: NATS elects another after four to nine
/// seconds, which can't be set.
const ELECTION_MAX: Duration = Duration::from_secs(10);

/// How to reach NATS, and how the bucket is made. Either `endpoint` or `endpoints` has to be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// One server, as `nats://HOST:PORT` or `tls://HOST:PORT`.
    pub endpoint: Option<String>,
    /// Several servers of one cluster.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// The bucket's name: `dlock` by default.
    pub bucket: Option<String>,
    /// How many servers keep the bucket: 1 by default, 3 or 5 in a cluster.
    pub replicas: Option<usize>,
    /// What the bucket is kept in.
    #[serde(default)]
    pub storage: StorageConfig,
    /// A credentials file (a token and its seed).
    pub credentials_file: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey_seed_file: Option<PathBuf>,
    /// The user, with a password.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A file that has the password, on its first line.
    pub password_file: Option<PathBuf>,
    /// A token, where NATS asks for one.
    pub token: Option<Secret>,
    /// TLS; `tls://` endpoints use the system's certificate authorities if this is not given.
    pub tls: Option<TlsConfig>,
    /// How long to wait for a connection, and for more of the bucket while it is read: `5s` by default. With several
    /// replicas the bucket may be silent for 10 s more, the time of an election.
    #[serde(default, deserialize_with = "duration")]
    pub connect_timeout: Option<Duration>,
}

/// What a bucket is kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageConfig {
    /// Files: survives the end of the servers' processes.
    #[default]
    File,
    /// Memory: lost with the last server that has it.
    Memory,
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
}

impl NatsConfig {
    /// All endpoints that are named.
    pub fn all_endpoints(&self) -> Vec<String> {
        self.endpoint.iter().chain(&self.endpoints).cloned().collect()
    }

    pub(crate) fn bucket(&self) -> &str {
        self.bucket.as_deref().unwrap_or("dlock")
    }

    pub(crate) fn replicas(&self) -> usize {
        self.replicas.unwrap_or(1)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(5))
    }

    /// How long the bucket may say nothing at the start.
    pub(crate) fn silence_max(&self) -> Duration {
        self.connect_timeout() + if self.replicas() > 1 { ELECTION_MAX } else { Duration::ZERO }
    }
}
