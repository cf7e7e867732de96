//! Redis with replicas, and sentinels that replace a master that fails.

use crate::redis::run;
use crate::{Port, Process, RedisServer};
use std::ffi::OsString;
use tempfile::TempDir;

/// What the sentinels know the master by.
const MASTER: &str = "locks";
/// How many of each.
const COUNT: usize = 3;

/// One master, two replicas and three sentinels, who agree within seconds that a silent master is to be replaced.
#[derive(Debug)]
pub struct RedisSentinels {
    sentinels: Vec<Sentinel>,
    nodes: Vec<RedisServer>,
}

#[derive(Debug)]
struct Sentinel {
    _process: Process,
    port: Port,
    _directory: TempDir,
}

impl RedisSentinels {
    /// Starts them, and waits until all know each other.
    pub fn start() -> RedisSentinels {
        let durable = ["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"];
        let master = RedisServer::start_with(&durable);
        let address = master.address();
        let (host, port) = address.split_once(':').unwrap();
        let replica = || RedisServer::start_with(&[&durable[..], &["--replicaof", host, port]].concat());
        let nodes = vec![replica(), replica(), master];
        let sentinels = (0..COUNT).map(|_| Sentinel::start(host, port)).collect();
        let started = RedisSentinels { sentinels, nodes };
        for sentinel in &started.sentinels {
            sentinel.wait_until(|state| {
                let told = |field: &str, value: usize| state.contains(&format!("\n{field}\n{value}\n"));
                told("num-slaves", COUNT - 1) && told("num-other-sentinels", COUNT - 1)
            });
        }
        started.wait_for_replicas();
        started
    }

    /// What the sentinels know the master by.
    pub fn master_name(&self) -> &'static str {
        MASTER
    }

    /// The sentinels, each as `127.0.0.1:PORT`.
    pub fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(|sentinel| sentinel.port.address()).collect()
    }

    /// The node that the sentinels take for the master.
    pub fn master(&mut self) -> &mut RedisServer {
        let asked = self.sentinels[0].ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        let address = asked.replace('\n', ":");
        self.nodes.iter_mut().find(|node| node.address() == address).unwrap()
    }

    /// Waits until another node than this one is the master for all sentinels, and for the node that is left.
    pub fn wait_for_failover(&self, from: &str) {
        let named = |sentinel: &Sentinel| sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        wait_until("agreed on another master", || {
            let named: Vec<String> =
                self.sentinels.iter().map(|sentinel| named(sentinel).replace('\n', ":")).collect();
            let [first, others @ ..] = &named[..] else { return false };
            let follows = |node: &RedisServer| {
                let port = first.rsplit_once(':').map_or("", |(_, port)| port);
                let state = node.command(&["INFO", "replication"]);
                state.contains(&format!("master_port:{port}\r\n")) && state.contains("master_link_status:up")
            };
            let left = |node: &&RedisServer| ![from, first.as_str()].contains(&node.address().as_str());
            first != from
                && others.iter().all(|other| other == first)
                && self.nodes.iter().filter(left).all(follows)
        });
    }

    /// All nodes.
    pub fn nodes(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }

    /// Waits until the replicas have what the master has.
    fn wait_for_replicas(&self) {
        let connected =
            |node: &RedisServer| node.command(&["INFO", "replication"]).contains("master_link_status:up");
        wait_until("in step", || self.nodes[..COUNT - 1].iter().all(connected));
    }
}

impl Sentinel {
    fn start(host: &str, master_port: &str) -> Sentinel {
        let (port, directory) = (Port::reserve(), tempfile::tempdir().unwrap());
        let config = directory.path().join("sentinel.conf");
        let text = format!(
            "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} {host} {master_port} 2\n\
             sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 5000\n",
            port.number(),
            directory.path().display(),
        );
        std::fs::write(&config, text).unwrap();
        let arguments: Vec<OsString> = vec![config.into(), "--sentinel".into()];
        let mut process = Process::start("redis-server", &arguments, &directory.path().join("log"));
        process.wait_for_port(port.number());
        Sentinel { _process: process, port, _directory: directory }
    }

    fn ask(&self, words: &[&str]) -> String {
        run(&self.port.address(), words).unwrap()
    }

    fn wait_until(&self, ready: impl Fn(&str) -> bool) {
        wait_until("agreed", || ready(&self.ask(&["SENTINEL", "MASTER", MASTER])));
    }
}

/// Waits until it is so.
///
/// # Panics
/// When it is not so within a minute.
pub(crate) fn wait_until(what: &str, ready: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !ready() {
        assert!(started.elapsed().as_secs() < 60, "the servers are not {what} within a minute");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
