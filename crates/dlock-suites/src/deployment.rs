//! Servers over one store.

use crate::{Backend, DlockServer, Proxy, StoreServer};
use dlock_client::{Client, ClientBuilder};
use dlock_core::lease::TTL_DEFAULT;
use dlock_test_stores::Port;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A store, and the servers over it.
pub struct Deployment {
    /// Which store.
    pub backend: Backend,
    /// The servers.
    pub servers: Vec<DlockServer>,
    /// The store.
    pub store: Box<dyn StoreServer>,
    /// What each server reaches the store's nodes through, where that was asked for.
    pub proxies: Vec<Vec<Proxy>>,
    /// What clients reach each server through, where that was asked for.
    pub fronts: Vec<Proxy>,
    directory: TempDir,
}

/// What stands between the parts of a deployment.
#[derive(Clone, Debug, Default)]
pub struct Between {
    /// A proxy between each server and each node of the store.
    pub store: bool,
    /// A proxy between the clients and each server.
    pub clients: bool,
    /// Where the embedded store has its files, if not in a directory of the deployment's own.
    pub data: Option<PathBuf>,
    /// What each server has in its environment.
    pub environment: Vec<Vec<(OsString, OsString)>>,
    /// The namespace of which servers master resources.
    pub mastered: Option<&'static str>,
}

impl Deployment {
    /// Starts the store and as many servers, or as many as the store can have.
    pub fn start(backend: Backend, servers: usize) -> Deployment {
        Deployment::build(backend, servers, Between::default())
    }

    /// With a proxy between each server and the store.
    pub fn with_proxies(backend: Backend, servers: usize) -> Deployment {
        Deployment::build(backend, servers, Between { store: true, ..Between::default() })
    }

    /// With what is asked for between clients, servers and store.
    pub fn build(backend: Backend, servers: usize, between: Between) -> Deployment {
        let directory = tempfile::tempdir().unwrap();
        let data = between.data.clone().unwrap_or_else(|| directory.path().to_owned());
        let store = backend.start(&data);
        let (mut proxies, mut fronts) = (Vec::new(), Vec::new());
        let start = |number: usize| {
            let mut addresses = store.addresses();
            if between.store {
                let own: Vec<Proxy> = addresses.iter().map(|address| Proxy::to(address)).collect();
                addresses = own.iter().map(Proxy::address).collect();
                proxies.push(own);
            }
            let name = format!("server-{number}");
            let config = directory.path().join(format!("{name}.toml"));
            std::fs::write(&config, store.config(&addresses)).unwrap();
            let mut options: Vec<OsString> = vec!["--config".into(), config.into()];
            if let Some(namespace) = between.mastered {
                options.extend(["--mastered-namespaces".into(), namespace.into()]);
            }
            let port = Port::reserve();
            if between.clients {
                let front = Proxy::to(&port.address());
                options.extend(["--advertise-addr".into(), front.address().into()]);
                fronts.push(front);
            }
            let environment = between.environment.get(number).cloned().unwrap_or_default();
            DlockServer::start(port, &directory.path().join(format!("{name}.log")), options, environment)
        };
        let servers = (0..backend.servers(servers)).map(start).collect();
        Deployment { backend, servers, store, proxies, fronts, directory }
    }

    /// Leaves the servers' settings and logs where they are, and says where that is.
    pub fn keep_logs(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.directory.path()
    }

    /// The servers' addresses for clients.
    pub fn endpoints(&self) -> Vec<String> {
        if self.fronts.is_empty() {
            self.servers.iter().map(DlockServer::endpoint).collect()
        } else {
            self.fronts.iter().map(Proxy::address).collect()
        }
    }

    /// A client of one server, round and round, that does not go elsewhere.
    pub async fn client(&self, number: usize) -> Client {
        let endpoint = self.endpoints().swap_remove(number % self.servers.len());
        self.builder().endpoints([endpoint]).discover(false).connect().await.expect("a connection")
    }

    /// A client that knows all servers, and begins with one of them.
    pub async fn client_of_all(&self, first: usize) -> Client {
        self.client_with_ttl(first, TTL_DEFAULT).await
    }

    /// The same, with a time to live.
    pub async fn client_with_ttl(&self, first: usize, ttl: Duration) -> Client {
        let mut endpoints = self.endpoints();
        let count = endpoints.len();
        endpoints.rotate_left(first % count);
        self.builder().endpoints(endpoints).ttl(ttl).connect().await.expect("a connection")
    }

    /// A client of one server whose names are in this namespace.
    pub async fn client_in(&self, number: usize, namespace: &str) -> Client {
        let endpoint = self.endpoints().swap_remove(number % self.servers.len());
        let builder = self.builder().endpoints([endpoint]).discover(false).namespace(namespace);
        builder.connect().await.expect("a connection")
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder().request_timeout(Duration::from_secs(30))
    }
}
