//! The whole dlock server in-process, for tests of programs that lock: the real server on the embedded store, with
//! no mock and no container.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use dlock_testing::TestServer;
//!
//! let server = TestServer::start().await?;
//! let client = server.client().await?;
//!
//! let guard = client.lock("orders/42").acquire().await?;
//! let rival = server.client().await?;
//! assert!(rival.lock("orders/42").try_acquire().await?.is_none());
//! guard.release().await?;
//! assert!(rival.lock("orders/42").try_acquire().await?.is_some());
//! # Ok(())
//! # }
//! ```
//!
//! By default a server listens on a free port of the loopback interface. With [`TestServerBuilder::network`] it is
//! reached through memory alone, so that a test can run under tokio's paused time.
#![forbid(unsafe_code)]

mod network;

use dlock_backend_embedded::{EmbeddedStore, OpenError};
use dlock_client::{Client, ClientBuilder};
use dlock_engine::{Engine, EngineConfig, StartError};
use dlock_runtime::Environment;
use dlock_store::Store;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use network::Network;

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TestServerError {
    /// Its port or directory was refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Its data directory can't be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Its engine did not start.
    #[error(transparent)]
    Engine(#[from] StartError),
}

/// A server in this process; dropped, it is gone without a word, like one that was killed.
pub struct TestServer {
    address: String,
    engine: Engine,
    environment: Environment,
    network: Option<Network>,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    _serving: AbortOnDropHandle<()>,
}

/// How a [`TestServer`] is to be.
#[derive(Default)]
pub struct TestServerBuilder {
    store: Option<Arc<dyn Store>>,
    data_dir: Option<PathBuf>,
    address: Option<String>,
    network: Option<Network>,
    environment: Option<Environment>,
    config: EngineConfig,
}

impl TestServerBuilder {
    /// Keeps its locks in a directory.
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(directory.into());
        self
    }

    /// Keeps its locks in this store: one that another server left, or one that several share.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Listens at this address instead of a free port: that of a server before it, or a name in a [`Network`].
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Is reached through this network in memory instead of the loopback interface.
    pub fn network(mut self, network: &Network) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// Takes time and randomness from here.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Has these limits.
    pub fn config(mut self, config: EngineConfig) -> Self {
        self.config = config;
        self
    }

    /// Starts it on the current tokio runtime.
    pub async fn start(self) -> Result<TestServer, TestServerError> {
        let store: Arc<dyn Store> = match (self.store, self.data_dir) {
            (Some(store), _) => store,
            (None, Some(directory)) => Arc::new(EmbeddedStore::open(&directory)?),
            (None, None) => Arc::new(EmbeddedStore::in_memory()),
        };
        let environment = self.environment.unwrap_or_else(Environment::real);
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let start = |address: String| {
            let config = EngineConfig { address, ..self.config.clone() };
            Engine::start(store.clone(), environment.clone(), config)
        };
        let (address, engine, serving) = match &self.network {
            Some(network) => {
                let address = self.address.unwrap_or_else(|| "dlock:5055".to_owned());
                let incoming = network.listen(&address);
                let engine = start(address.clone()).await?;
                let routes = dlock_server::routes(&engine, &environment);
                (address, engine, spawn(async move { dlock_server::serve(routes, incoming, stopped).await }))
            }
            None => {
                let listener = TcpListener::bind(self.address.as_deref().unwrap_or("127.0.0.1:0")).await?;
                let address = listener.local_addr()?.to_string();
                let engine = start(address.clone()).await?;
                let routes = dlock_server::routes(&engine, &environment);
                (address, engine, spawn(dlock_server::serve_listener(routes, listener, stopped)))
            }
        };
        Ok(TestServer { address, engine, environment, network: self.network, store, stop, _serving: serving })
    }
}

fn spawn<E>(serving: impl Future<Output = Result<(), E>> + Send + 'static) -> AbortOnDropHandle<()> {
    // Its end is the test's own doing, by a stop or a drop.
    AbortOnDropHandle::new(tokio::spawn(async move { serving.await.unwrap_or(()) }))
}

impl TestServer {
    /// A server in memory on a free port.
    pub async fn start() -> Result<TestServer, TestServerError> {
        TestServer::builder().start().await
    }

    /// A server of one's own making.
    pub fn builder() -> TestServerBuilder {
        TestServerBuilder::default()
    }

    /// Where it is reached, HOST:PORT.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its engine: for a look inside.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its store, for a server that comes after it.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// A client of this server.
    pub async fn client(&self) -> Result<Client, dlock_client::Error> {
        self.client_builder().connect().await
    }

    /// The same, to be made to measure.
    pub fn client_builder(&self) -> ClientBuilder {
        let builder = Client::builder().endpoints([self.address.as_str()]);
        match &self.network {
            Some(network) => builder.connector(network.clone()),
            None => builder,
        }
    }

    /// Stops it as SIGTERM would: no new sessions, clients told to move, what is granted kept.
    pub async fn stop(self, grace: std::time::Duration) {
        dlock_server::drain(&self.engine, &self.environment, grace).await;
        self.stop.cancel();
    }
}
