//! Making connections.

use crate::config::{Address, Login, Password, Settings, Tls};
use crate::error::OpenError;
use crate::fault::Fault;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, TlsCertificates,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How many requests wait for the driver's task before those who send are held back.
const REQUESTS_MAX: usize = 1024;

/// Makes connections to whatever address, with the settings' login, encryption and time-outs.
pub(crate) struct Connector {
    login: Login,
    certificates: Option<TlsCertificates>,
    db: i64,
    protocol: ProtocolVersion,
    timeout: Duration,
}

impl Connector {
    /// For the nodes that have the data.
    pub(crate) fn for_data(settings: &Settings) -> Result<Connector, OpenError> {
        Connector::new(settings, settings.login.clone(), settings.db, ProtocolVersion::RESP3)
    }

    /// For another kind of server, such as a sentinel.
    pub(crate) fn for_others(settings: &Settings, login: Login) -> Result<Connector, OpenError> {
        Connector::new(settings, login, 0, ProtocolVersion::RESP2)
    }

    fn new(
        settings: &Settings,
        login: Login,
        db: i64,
        protocol: ProtocolVersion,
    ) -> Result<Connector, OpenError> {
        let certificates = settings.tls.as_ref().map(certificates).transpose()?;
        if let Some(Password::File(path)) = &login.password {
            read("password_file", path)?;
        }
        Ok(Connector { login, certificates, db, protocol, timeout: settings.timeout })
    }

    /// How long an answer is waited for.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A connection whose pushed messages, if any are asked for, go to `pushes`.
    pub(crate) async fn connect(
        &self,
        address: &Address,
        pushes: Option<Arc<dyn AsyncPushSender>>,
    ) -> Result<MultiplexedConnection, Fault> {
        let client = self.client(address)?;
        // A script that waits for replicas answers later than within the time-out; callers have a bound of their own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_pipeline_buffer_size(REQUESTS_MAX);
        let config = match pushes {
            Some(pushes) => config.set_push_sender(pushes),
            None => config,
        };
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(Fault::from_connecting)
            .map_err(|fault| fault.at(address))
    }

    fn client(&self, address: &Address) -> Result<Client, Fault> {
        let addr = match address {
            Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
            Address::Tcp { host, port } if self.certificates.is_some() => {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
            }
            Address::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
        };
        let mut login = RedisConnectionInfo::default()
            .set_protocol(self.protocol)
            .set_db(self.db)
            .set_lib_name("dlock", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &self.login.user {
            login = login.set_username(user);
        }
        match &self.login.password {
            None => {}
            Some(Password::Given(secret)) => login = login.set_password(secret.expose()),
            Some(Password::File(path)) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    Fault::Refused(format!("redis.password_file {} can't be read: {error}", path.display()))
                })?;
                login = login.set_password(text.trim_end_matches(['\r', '\n']));
            }
        }
        let info = addr.into_connection_info().map_err(Fault::from_connecting)?;
        let info = info.set_redis_settings(login).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
        .map_err(Fault::from_connecting)
    }
}

impl Fault {
    /// The same, with the address that it is about.
    pub(crate) fn at(self, address: &Address) -> Fault {
        let told = |reason: String| format!("{address}: {reason}");
        match self {
            Fault::Unreached(reason) => Fault::Unreached(told(reason)),
            Fault::NotNow(reason) => Fault::NotNow(told(reason)),
            Fault::Refused(reason) => Fault::Refused(told(reason)),
            Fault::Full(reason) => Fault::Full(told(reason)),
            Fault::Foreign(reason) => Fault::Foreign(told(reason)),
            Fault::Unknown(reason) => Fault::Unknown(told(reason)),
            Fault::NoScript => Fault::NoScript,
        }
    }
}

fn certificates(tls: &Tls) -> Result<TlsCertificates, OpenError> {
    // The driver takes the process's provider, and panics if there is none. Whoever installed another has one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client_tls = match &tls.client {
        Some((cert, key)) => Some(ClientTlsConfig {
            client_cert: read("tls.cert_file", cert)?,
            client_key: read("tls.key_file", key)?,
        }),
        None => None,
    };
    let root_cert = tls.ca_file.as_deref().map(|path| read("tls.ca_file", path)).transpose()?;
    Ok(TlsCertificates { client_tls, root_cert })
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|error| OpenError::File {
        setting,
        path: path.to_owned(),
        why: error.to_string(),
    })
}
