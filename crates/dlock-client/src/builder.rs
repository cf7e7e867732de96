//! What a client is told at its start.

use crate::connector::{Connector, TcpConnector};
use crate::{Client, Error};
use dlock_runtime::Environment;
use std::sync::Arc;
use std::time::Duration;

/// Configures a [`Client`]; see each method for its default.
#[must_use = "a builder does nothing until `connect` is called"]
pub struct ClientBuilder {
    pub(crate) endpoints: Vec<String>,
    pub(crate) ttl: Duration,
    pub(crate) lock_delay: Duration,
    pub(crate) client_name: Option<String>,
    pub(crate) namespace: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) environment: Environment,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) current_runtime: bool,
}

impl Default for ClientBuilder {
    fn default() -> ClientBuilder {
        ClientBuilder {
            endpoints: vec!["127.0.0.1:5055".to_owned()],
            ttl: Duration::from_secs(10),
            lock_delay: Duration::ZERO,
            client_name: None,
            namespace: String::new(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            environment: Environment::real(),
            connector: Arc::new(TcpConnector),
            current_runtime: false,
        }
    }
}

impl ClientBuilder {
    /// The servers to use, as `HOST:PORT` or `http://HOST:PORT`: any of one service. One is used at a time, the others
    /// are for when it fails. Default: `127.0.0.1:5055`.
    pub fn endpoints<E: Into<String>>(mut self, endpoints: impl IntoIterator<Item = E>) -> Self {
        self.endpoints = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// The session's time to live, 1 s to 10 min: how long after a silent death of this process its locks stay
    /// locked, and how long a failure of the network or of a server may last without a lock being lost. Default: 10 s.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How much longer the locks stay locked when the session has expired, up to 60 s: time for a paused process's
    /// last writes to arrive, where its resources can't check a token. Default: none.
    pub fn lock_delay(mut self, lock_delay: Duration) -> Self {
        self.lock_delay = lock_delay;
        self
    }

    /// What people see beside this client's locks, up to 256 bytes. Default: the program's name.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = Some(name.into());
        self
    }

    /// The namespace of names that say none. Default: `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long one attempt to reach one server may take, session included. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long to wait for an answer that does not depend on who else holds a lock. Default: 10 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Where time and randomness come from. Default: the machine's.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// How connections are made. Default: TCP.
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connector = Arc::new(connector);
        self
    }

    /// Drives the client on the caller's tokio runtime, instead of a thread of its own.
    ///
    /// For simulations under paused time, and for programs that never block their runtime: there, heartbeats stop
    /// while the runtime is blocked, and locks are lost that a thread of its own would have kept.
    pub fn on_current_runtime(mut self) -> Self {
        self.current_runtime = true;
        self
    }

    /// Checks the configuration and connects to the first server that answers. No session is opened before the first
    /// lock is asked for.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a setting that is not valid, [`Error::Unreachable`] when every endpoint was
    /// tried once in vain.
    pub async fn connect(self) -> Result<Client, Error> {
        unimplemented!()
    }
}
