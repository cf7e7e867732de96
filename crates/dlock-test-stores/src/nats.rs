//! NATS with JetStream.

use crate::http::get;
use crate::{Port, Process};
use std::ffi::OsString;
use std::path::Path;
use tempfile::TempDir;

/// One NATS node with JetStream in a directory of its own.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    node: Node,
}

#[derive(Debug)]
struct Node {
    port: Port,
    monitoring: Port,
    directory: TempDir,
    jetstream: bool,
    options: Vec<String>,
}

impl NatsServer {
    /// Starts a node, and waits until it serves.
    pub fn start() -> NatsServer {
        NatsServer::start_with(&[])
    }

    /// Starts a node with these options besides those that say where it is.
    pub fn start_with(options: &[&str]) -> NatsServer {
        NatsServer::launch(Node::new(options.iter().map(|option| (*option).to_owned()).collect()))
    }

    /// Starts a node that keeps nothing.
    pub fn start_without_jetstream() -> NatsServer {
        NatsServer::launch(Node { jetstream: false, ..Node::new(Vec::new()) })
    }

    fn launch(node: Node) -> NatsServer {
        let mut process = node.launch();
        process.wait_for_port(node.port.number());
        NatsServer { process, node }
    }

    /// As `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.node.port.address()
    }

    /// As `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.node.directory.path()
    }

    /// The process: to pause, resume and kill.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again on its directory, after it was killed.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = self.node.launch();
        self.process.wait_for_port(self.node.port.number());
    }
}

/// Three NATS nodes.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
    _routes: Vec<Port>,
    hurt: Option<usize>,
}

const NAMES: [&str; 3] = ["one", "two", "three"];

impl NatsCluster {
    /// Starts three nodes, and waits until they have a leader.
    pub fn start() -> NatsCluster {
        let routes: Vec<Port> = NAMES.iter().map(|_| Port::reserve()).collect();
        let all =
            routes.iter().map(|port| format!("nats://{}", port.address())).collect::<Vec<_>>().join(",");
        let nodes = NAMES.into_iter().zip(&routes).map(|(name, route)| {
            let listen = format!("nats://{}", route.address());
            let options = ["--name", name, "--cluster_name", "test", "--cluster", &listen, "--routes", &all];
            let node = Node::new(options.map(str::to_owned).to_vec());
            NatsServer { process: node.launch(), node }
        });
        let mut cluster = NatsCluster { nodes: nodes.collect(), _routes: routes, hurt: None };
        let monitoring: Vec<String> =
            cluster.nodes.iter().map(|node| node.node.monitoring.address()).collect();
        for (index, address) in monitoring.iter().enumerate() {
            let port = cluster.nodes[index].node.port.number();
            cluster.nodes[index].process.wait_for_port(port);
            cluster.nodes[index].process.wait_until("in a cluster with a leader", || {
                get(address, "/jsz").is_some_and(|state| {
                    state.contains("\"leader\":") && state.contains("\"cluster_size\": 3")
                })
            });
        }
        cluster
    }

    /// Each as `127.0.0.1:PORT`.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::address).collect()
    }

    /// SIGKILL to the first stream's leader.
    pub fn kill_leader(&mut self) {
        let leader = self.leader();
        self.nodes[leader].process.kill();
        self.hurt = Some(leader);
    }

    /// SIGKILL to a node that does not have the first stream's leader, and all that it kept is lost.
    pub fn lose_follower(&mut self) {
        let follower = (self.leader() + 1) % self.nodes.len();
        let node = &mut self.nodes[follower];
        node.process.kill();
        std::fs::remove_dir_all(node.directory().join("jetstream")).expect("what JetStream kept");
        self.hurt = Some(follower);
    }

    /// Starts the node that was killed.
    pub fn restart_killed(&mut self) {
        if let Some(killed) = self.hurt.take() {
            self.nodes[killed].restart();
        }
    }

    /// SIGSTOP to the first stream's leader.
    pub fn pause_leader(&mut self) {
        let leader = self.leader();
        self.nodes[leader].process.pause();
        self.hurt = Some(leader);
    }

    /// SIGCONT to the node that was stopped.
    pub fn resume_paused(&mut self) {
        if let Some(paused) = self.hurt.take() {
            self.nodes[paused].process.resume();
        }
    }

    /// The index of the first stream's leader; waits until there is one.
    fn leader(&mut self) -> usize {
        let monitoring = self.nodes[0].node.monitoring.address();
        let mut found = None;
        self.nodes[0].process.wait_until("aware of a stream with a leader", || {
            let state = get(&monitoring, "/jsz?streams=true").unwrap_or_default();
            let streams = state.split("\"stream_detail\"").nth(1).unwrap_or_default();
            let leader = streams.split("\"leader\": \"").nth(1).and_then(|rest| rest.split('"').next());
            found = NAMES.iter().position(|name| Some(*name) == leader);
            found.is_some()
        });
        found.expect("a leader")
    }
}

impl Node {
    fn new(options: Vec<String>) -> Node {
        let directory = tempfile::tempdir().unwrap();
        Node { port: Port::reserve(), monitoring: Port::reserve(), directory, jetstream: true, options }
    }

    fn launch(&self) -> Process {
        let mut arguments: Vec<OsString> = vec![
            "--addr".into(),
            "127.0.0.1".into(),
            "--port".into(),
            self.port.number().to_string().into(),
            "--http_port".into(),
            self.monitoring.number().to_string().into(),
            "--store_dir".into(),
            self.directory.path().into(),
        ];
        if self.jetstream {
            arguments.push("--jetstream".into());
        }
        arguments.extend(self.options.iter().map(OsString::from));
        Process::start("nats-server", &arguments, &self.directory.path().join("log"))
    }
}
