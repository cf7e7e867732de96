//! What a client is told at its start.

use crate::client::Inner;
use crate::connector::{Connector, TcpConnector};
use crate::driver::thread::Executor;
use crate::driver::transport::Transport;
use crate::wire::ClientIdentity;
use crate::{Client, Endpoint, Error};
use dlock_core::{Namespace, lease};
use dlock_runtime::Environment;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

const TIMEOUT_MIN: Duration = Duration::from_millis(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Configures a [`Client`]; see each method for its default.
#[derive(Clone)]
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
    pub(crate) discover: bool,
}

impl Default for ClientBuilder {
    fn default() -> ClientBuilder {
        ClientBuilder {
            endpoints: vec!["127.0.0.1:5055".to_owned()],
            ttl: lease::TTL_DEFAULT,
            lock_delay: Duration::ZERO,
            client_name: None,
            namespace: String::new(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            environment: Environment::real(),
            connector: Arc::new(TcpConnector),
            current_runtime: false,
            discover: true,
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

    /// How long one attempt to reach one server may take, session included; up to an hour. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long to wait for an answer that does not depend on who else holds a lock; up to an
    /// hour. Default: 10 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Whether to go to servers that the service tells of, too, when none of the endpoints helps. To be switched off where
    /// the servers' own addresses can't, or must not, be used: behind a proxy or a forwarded port. Default: true.
    pub fn discover(mut self, discover: bool) -> Self {
        self.discover = discover;
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
        self.check()?;
        let endpoints =
            self.endpoints.iter().map(|text| text.parse()).collect::<Result<Vec<Endpoint>, _>>()?;
        let identity = ClientIdentity::new(&self.client_name.clone().unwrap_or_else(program_name));
        let executor = if self.current_runtime { Executor::current() } else { Executor::shared_thread() }?;
        let transport = Arc::new(Transport {
            endpoints,
            connector: self.connector.clone(),
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
            clock: self.environment.clock.clone(),
            executor,
            last: Mutex::new(None),
        });
        transport.any(0).await?;
        Ok(Client { inner: Arc::new(Inner::new(&self, transport, identity)) })
    }

    fn check(&self) -> Result<(), Error> {
        let within = |field, value: Duration, least: Duration, most: Duration| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(Error::invalid(field, format!("{value:?} is not between {least:?} and {most:?}")))
            }
        };
        within("ttl", self.ttl, lease::TTL_MIN, lease::TTL_MAX)?;
        within("lock_delay", self.lock_delay, Duration::ZERO, lease::LOCK_DELAY_MAX)?;
        within("connect_timeout", self.connect_timeout, TIMEOUT_MIN, TIMEOUT_MAX)?;
        within("request_timeout", self.request_timeout, TIMEOUT_MIN, TIMEOUT_MAX)?;
        Namespace::new(&self.namespace)?;
        if self.endpoints.is_empty() {
            return Err(Error::invalid("endpoints", "there is none: give at least one HOST:PORT"));
        }
        Ok(())
    }
}

/// What the running program is called, as far as it knows.
fn program_name() -> String {
    let program = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
