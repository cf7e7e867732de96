//! The stores that dlock runs over, as real servers.

use dlock_test_stores::{EtcdServer, NatsServer, RedisServer};
use std::path::{Path, PathBuf};

/// A backend with its store set up in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Durable, in a directory of one server.
    Embedded,
    /// One etcd node.
    Etcd,
    /// One Redis node that appends every write to its file.
    Redis,
    /// One NATS node with file storage.
    Nats,
}

/// A store that can be hurt.
pub trait StoreServer: Send + Sync {
    /// The configuration of a dlock server over it, as TOML; `address` is where to reach it, if not directly.
    fn config(&self, address: Option<&str>) -> String;

    /// Where it listens, as `HOST:PORT`, for a proxy in front of it; `None` for a store that is no server.
    fn address(&self) -> Option<String>;

    /// SIGKILL.
    fn kill(&mut self);

    /// Starts it again on its directory, after it was killed.
    fn restart(&mut self);

    /// It stands still.
    fn pause(&mut self);

    /// It goes on.
    fn resume(&mut self);
}

impl Backend {
    /// Starts the store; `directory` is for one that has no server.
    pub fn start(self, directory: &Path) -> Box<dyn StoreServer> {
        match self {
            Backend::Embedded => Box::new(EmbeddedDirectory(directory.join("data"))),
            Backend::Etcd => Box::new(EtcdServer::start()),
            Backend::Redis => Box::new(RedisServer::start()),
            Backend::Nats => Box::new(NatsServer::start()),
        }
    }

    /// How many servers can share the store, of those that a suite would like to start.
    pub fn servers(self, wanted: usize) -> usize {
        if self == Backend::Embedded { 1 } else { wanted }
    }
}

struct EmbeddedDirectory(PathBuf);

impl StoreServer for EmbeddedDirectory {
    fn config(&self, _: Option<&str>) -> String {
        format!("[embedded]\ndata_dir = {:?}\n", self.0.to_str().unwrap())
    }

    fn address(&self) -> Option<String> {
        None
    }

    fn kill(&mut self) {}

    fn restart(&mut self) {}

    fn pause(&mut self) {}

    fn resume(&mut self) {}
}

/// The faults of a store that is one process.
macro_rules! one_process {
    () => {
        fn kill(&mut self) {
            self.process().kill();
        }

        fn restart(&mut self) {
            self.restart();
        }

        fn pause(&mut self) {
            self.process().pause();
        }

        fn resume(&mut self) {
            self.process().resume();
        }
    };
}

impl StoreServer for EtcdServer {
    fn config(&self, address: Option<&str>) -> String {
        format!("[etcd]\nendpoints = [\"{}\"]\n", address.unwrap_or(&self.endpoint()))
    }

    fn address(&self) -> Option<String> {
        Some(self.endpoint())
    }

    one_process!();
}

impl StoreServer for RedisServer {
    fn config(&self, address: Option<&str>) -> String {
        let own = RedisServer::address(self);
        format!("[redis]\nnetwork = \"tcp\"\naddr = \"{}\"\n", address.unwrap_or(&own))
    }

    fn address(&self) -> Option<String> {
        Some(RedisServer::address(self))
    }

    one_process!();
}

impl StoreServer for NatsServer {
    fn config(&self, address: Option<&str>) -> String {
        let own = self.url();
        let url = address.map_or(own, |address| format!("nats://{address}"));
        format!("[jetstream]\nendpoint = \"{url}\"\n")
    }

    fn address(&self) -> Option<String> {
        Some(self.url().trim_start_matches("nats://").to_owned())
    }

    one_process!();
}
