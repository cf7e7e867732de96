//! The stores that dlock runs over, as real servers.

use dlock_test_stores::{
    EtcdCluster, EtcdServer, NatsCluster, NatsServer, RedisCluster, RedisQuorum, RedisSentinels, RedisServer,
};
use std::path::{Path, PathBuf};

/// A backend with its store set up in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Durable, in a directory of one server.
    Embedded,
    /// One etcd node.
    Etcd,
    /// Three etcd nodes.
    EtcdCluster,
    /// One Redis node that appends every write to its file.
    Redis,
    /// Three Redis nodes with three sentinels; a write counts when one replica has it.
    RedisSentinel,
    /// Six Redis nodes: three masters, each with a replica; a write counts when the replica has it.
    RedisCluster,
    /// Five Redis nodes that know nothing of each other; two of them are hurt at a time.
    RedisQuorum,
    /// One NATS node with file storage.
    Nats,
    /// Three NATS nodes, each of which keeps the bucket.
    NatsCluster,
}

/// A store that can be hurt. Of a cluster, it is the leader that is.
pub trait StoreServer: Send + Sync {
    /// Where its nodes listen, as `HOST:PORT`; none for a store that is no server.
    fn addresses(&self) -> Vec<String>;

    /// The configuration of a dlock server over it, as TOML, with these addresses in place of its own.
    fn config(&self, addresses: &[String]) -> String;

    /// SIGKILL.
    fn kill(&mut self);

    /// Starts what was killed again, on its directory.
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
            Backend::EtcdCluster => Box::new(EtcdCluster::start()),
            Backend::Redis => Box::new(RedisServer::start()),
            Backend::RedisSentinel => Box::new(HurtSentinels { store: RedisSentinels::start(), hurt: None }),
            Backend::RedisCluster => Box::new(HurtCluster { store: RedisCluster::start(), hurt: None }),
            Backend::RedisQuorum => Box::new(RedisQuorum::start(5)),
            Backend::Nats => Box::new(NatsServer::start()),
            Backend::NatsCluster => Box::new(NatsCluster::start()),
        }
    }

    /// All of them.
    pub const ALL: [Backend; 9] = [
        Backend::Embedded,
        Backend::Etcd,
        Backend::EtcdCluster,
        Backend::Redis,
        Backend::RedisSentinel,
        Backend::RedisCluster,
        Backend::RedisQuorum,
        Backend::Nats,
        Backend::NatsCluster,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Embedded => "embedded",
            Backend::Etcd => "etcd",
            Backend::EtcdCluster => "etcd-cluster",
            Backend::Redis => "redis",
            Backend::RedisSentinel => "redis-sentinel",
            Backend::RedisCluster => "redis-cluster",
            Backend::RedisQuorum => "redis-quorum",
            Backend::Nats => "nats",
            Backend::NatsCluster => "nats-cluster",
        }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// What the names are, if none has this one.
    pub fn from_name(name: &str) -> Result<Backend, String> {
        let names: Vec<&str> = Backend::ALL.iter().map(|backend| backend.name()).collect();
        let found = Backend::ALL.into_iter().find(|backend| backend.name() == name);
        found.ok_or_else(|| format!("there is no {name:?}: use one of {}", names.join(", ")))
    }

    /// Its name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Backend::Embedded => "embedded",
            Backend::Etcd => "etcd",
            Backend::EtcdCluster => "etcd, 3 nodes",
            Backend::Redis => "Redis",
            Backend::RedisSentinel => "Redis Sentinel",
            Backend::RedisCluster => "Redis Cluster",
            Backend::RedisQuorum => "Redis quorum",
            Backend::Nats => "NATS",
            Backend::NatsCluster => "NATS, 3 nodes",
        }
    }

    /// Whether a proxy can stand between a server and the store: not where there is none, nor where the nodes name each
    /// other.
    pub fn can_be_proxied(self) -> bool {
        !matches!(self, Backend::Embedded | Backend::RedisSentinel | Backend::RedisCluster)
    }

    /// How many servers can share the store, of those that a suite would like to start.
    pub fn servers(self, wanted: usize) -> usize {
        if self == Backend::Embedded { 1 } else { wanted }
    }
}

struct EmbeddedDirectory(PathBuf);

impl StoreServer for EmbeddedDirectory {
    fn addresses(&self) -> Vec<String> {
        Vec::new()
    }

    fn config(&self, _: &[String]) -> String {
        format!("[embedded]\ndata_dir = {:?}\n", self.0.to_str().unwrap())
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

/// The faults of a cluster's leader.
macro_rules! one_of_many {
    () => {
        fn kill(&mut self) {
            self.kill_leader();
        }

        fn restart(&mut self) {
            self.restart_killed();
        }

        fn pause(&mut self) {
            self.pause_leader();
        }

        fn resume(&mut self) {
            self.resume_paused();
        }
    };
}

impl StoreServer for EtcdServer {
    fn addresses(&self) -> Vec<String> {
        vec![self.endpoint()]
    }

    fn config(&self, addresses: &[String]) -> String {
        etcd(addresses)
    }

    one_process!();
}

impl StoreServer for EtcdCluster {
    fn addresses(&self) -> Vec<String> {
        self.endpoints()
    }

    fn config(&self, addresses: &[String]) -> String {
        etcd(addresses)
    }

    one_of_many!();
}

fn etcd(addresses: &[String]) -> String {
    format!("[etcd]\nendpoints = {addresses:?}\n")
}

impl StoreServer for RedisServer {
    fn addresses(&self) -> Vec<String> {
        vec![self.address()]
    }

    fn config(&self, addresses: &[String]) -> String {
        format!("[redis]\nnetwork = \"tcp\"\naddr = {:?}\n", addresses[0])
    }

    one_process!();
}

impl StoreServer for NatsServer {
    fn addresses(&self) -> Vec<String> {
        vec![self.address()]
    }

    fn config(&self, addresses: &[String]) -> String {
        nats(addresses, 1)
    }

    one_process!();
}

impl StoreServer for NatsCluster {
    fn addresses(&self) -> Vec<String> {
        NatsCluster::addresses(self)
    }

    fn config(&self, addresses: &[String]) -> String {
        nats(addresses, 3)
    }

    one_of_many!();
}

fn nats(addresses: &[String], replicas: usize) -> String {
    let urls: Vec<String> = addresses.iter().map(|address| format!("nats://{address}")).collect();
    format!("[jetstream]\nendpoints = {urls:?}\nreplicas = {replicas}\n")
}

struct HurtSentinels {
    store: RedisSentinels,
    /// The node's port.
    hurt: Option<String>,
}

impl HurtSentinels {
    fn hurt(&mut self, how: impl FnOnce(&mut RedisServer)) {
        let master = self.store.master();
        how(master);
        self.hurt = Some(master.address());
    }

    fn heal(&mut self, how: impl FnOnce(&mut RedisServer)) {
        let hurt = self.hurt.take();
        if let Some(node) = self.store.nodes().iter_mut().find(|node| Some(node.address()) == hurt) {
            how(node);
        }
    }
}

impl StoreServer for HurtSentinels {
    fn addresses(&self) -> Vec<String> {
        self.store.addresses()
    }

    fn config(&self, addresses: &[String]) -> String {
        let master = self.store.master_name();
        format!(
            "[redis]\nmode = \"sentinel\"\naddrs = {addresses:?}\nreplicas = 1\n[redis.sentinel]\nmaster = \"{master}\"\n"
        )
    }

    fn kill(&mut self) {
        self.hurt(|node| node.process().kill());
    }

    /// Once it is replaced. If it came back before, a replica that was not told yet would follow it: its writes would
    /// count, and be lost, which no setting of Redis prevents.
    fn restart(&mut self) {
        if let Some(hurt) = &self.hurt {
            self.store.wait_for_failover(hurt);
        }
        self.heal(RedisServer::restart);
    }

    fn pause(&mut self) {
        self.hurt(|node| node.process().pause());
    }

    fn resume(&mut self) {
        self.heal(|node| node.process().resume());
    }
}

struct HurtCluster {
    store: RedisCluster,
    hurt: Option<usize>,
}

impl HurtCluster {
    /// The master of the first slot, by what the last node knows, which is a replica.
    fn hurt(&mut self, how: impl FnOnce(&mut RedisServer)) {
        let last = self.store.nodes().len() - 1;
        let master = self.store.master_of(0, last);
        how(&mut self.store.nodes()[master]);
        self.hurt = Some(master);
    }

    fn heal(&mut self, how: impl FnOnce(&mut RedisServer)) {
        if let Some(hurt) = self.hurt.take() {
            how(&mut self.store.nodes()[hurt]);
        }
    }
}

impl StoreServer for HurtCluster {
    fn addresses(&self) -> Vec<String> {
        self.store.addresses()
    }

    fn config(&self, addresses: &[String]) -> String {
        format!("[redis]\nmode = \"cluster\"\naddrs = {addresses:?}\nreplicas = 1\n")
    }

    fn kill(&mut self) {
        self.hurt(|node| node.process().kill());
    }

    fn restart(&mut self) {
        self.heal(RedisServer::restart);
    }

    fn pause(&mut self) {
        self.hurt(|node| node.process().pause());
    }

    fn resume(&mut self) {
        self.heal(|node| node.process().resume());
    }
}

/// As many as may be gone.
const MINORITY: usize = 2;

impl StoreServer for RedisQuorum {
    fn addresses(&self) -> Vec<String> {
        RedisQuorum::addresses(self)
    }

    fn config(&self, addresses: &[String]) -> String {
        format!("[redis]\nmode = \"quorum\"\naddrs = {addresses:?}\n")
    }

    fn kill(&mut self) {
        self.nodes()[..MINORITY].iter_mut().for_each(|node| node.process().kill());
    }

    fn restart(&mut self) {
        self.nodes()[..MINORITY].iter_mut().for_each(RedisServer::restart);
    }

    fn pause(&mut self) {
        self.nodes()[..MINORITY].iter_mut().for_each(|node| node.process().pause());
    }

    fn resume(&mut self) {
        self.nodes()[..MINORITY].iter_mut().for_each(|node| node.process().resume());
    }
}
