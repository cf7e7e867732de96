//! Servers over one store.

use crate::{Backend, DlockServer, Proxy, StoreServer};
use dlock_client::{Client, ClientBuilder};
use dlock_core::lease::TTL_DEFAULT;
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
    _directory: TempDir,
}

impl Deployment {
    /// Starts the store and as many servers, or as many as the store can have.
    pub fn start(backend: Backend, servers: usize) -> Deployment {
        Deployment::build(backend, servers, false)
    }

    /// With a proxy between each server and the store.
    pub fn with_proxies(backend: Backend, servers: usize) -> Deployment {
        Deployment::build(backend, servers, true)
    }

    fn build(backend: Backend, servers: usize, proxied: bool) -> Deployment {
        let directory = tempfile::tempdir().unwrap();
        let store = backend.start(directory.path());
        let mut proxies = Vec::new();
        let start = |number: usize| {
            let mut addresses = store.addresses();
            if proxied {
                let own: Vec<Proxy> = addresses.iter().map(|address| Proxy::to(address)).collect();
                addresses = own.iter().map(Proxy::address).collect();
                proxies.push(own);
            }
            let config = directory.path().join(format!("server-{number}.toml"));
            std::fs::write(&config, store.config(&addresses)).unwrap();
            DlockServer::start(&format!("server-{number}"), directory.path(), &config)
        };
        let servers = (0..backend.servers(servers)).map(start).collect();
        Deployment { backend, servers, store, proxies, _directory: directory }
    }

    /// The servers' addresses.
    pub fn endpoints(&self) -> Vec<String> {
        self.servers.iter().map(DlockServer::endpoint).collect()
    }

    /// A client of one server, round and round, that does not go elsewhere.
    pub async fn client(&self, number: usize) -> Client {
        let endpoint = self.servers[number % self.servers.len()].endpoint();
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

    fn builder(&self) -> ClientBuilder {
        Client::builder().request_timeout(Duration::from_secs(30))
    }
}
