//! etcd.

use crate::http::{get, post};
use crate::{Port, Process};
use std::ffi::OsString;
use tempfile::TempDir;

/// One etcd node with a directory of its own.
#[derive(Debug)]
pub struct EtcdServer {
    process: Process,
    node: Node,
    cluster: String,
}

#[derive(Debug)]
struct Node {
    name: String,
    client: Port,
    peer: Port,
    directory: TempDir,
    options: Vec<String>,
    tls: bool,
}

/// Certificates in PEM format of a node that speaks TLS.
#[derive(Clone, Copy, Debug)]
pub struct EtcdTls<'a> {
    /// The authority that has to have signed the clients' certificates.
    pub ca: &'a str,
    /// The node's certificate.
    pub cert: &'a str,
    /// Its key.
    pub key: &'a str,
}

impl EtcdServer {
    /// Starts a node, and waits until it serves.
    pub fn start() -> EtcdServer {
        EtcdServer::start_with(&[])
    }

    /// Starts a node with these options besides those that say where it is.
    pub fn start_with(options: &[&str]) -> EtcdServer {
        EtcdServer::start_node(Node::new("node", options))
    }

    /// Starts a node that talks to clients over TLS, and to those only that have a certificate.
    pub fn start_with_tls(tls: EtcdTls<'_>) -> EtcdServer {
        let mut node = Node::new("node", &[]);
        node.tls = true;
        for (option, name, text) in [
            ("--trusted-ca-file", "ca.pem", tls.ca),
            ("--cert-file", "cert.pem", tls.cert),
            ("--key-file", "key.pem", tls.key),
        ] {
            let path = node.directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            node.options.extend([option.to_owned(), path.to_str().unwrap().to_owned()]);
        }
        node.options.push("--client-cert-auth".to_owned());
        EtcdServer::start_node(node)
    }

    fn start_node(node: Node) -> EtcdServer {
        let cluster = node.in_cluster();
        let mut process = node.launch(&cluster);
        process.wait_for_port(node.client.number());
        if !node.tls {
            // A node that is killed before it has formed its cluster never forms it.
            process.wait_until("healthy", || is_healthy(&node.client.address()));
        }
        EtcdServer { process, node, cluster }
    }

    /// As `127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        self.node.client.address()
    }

    /// The process: to pause, resume and kill.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again on its directory, after it was killed.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = self.node.launch(&self.cluster);
        self.process.wait_for_port(self.node.client.number());
    }
}

/// Three etcd nodes.
#[derive(Debug)]
pub struct EtcdCluster {
    nodes: Vec<EtcdServer>,
    hurt: Option<usize>,
}

impl EtcdCluster {
    /// Starts three nodes, and waits until they have a leader.
    pub fn start() -> EtcdCluster {
        let nodes: Vec<Node> = ["one", "two", "three"].into_iter().map(|name| Node::new(name, &[])).collect();
        let cluster = nodes.iter().map(Node::in_cluster).collect::<Vec<_>>().join(",");
        // All are started before the first is waited for: none serves without another.
        let nodes = nodes.into_iter().map(|node| {
            let process = node.launch(&cluster);
            EtcdServer { process, node, cluster: cluster.clone() }
        });
        let mut cluster = EtcdCluster { nodes: nodes.collect(), hurt: None };
        for index in 0..cluster.nodes.len() {
            let port = cluster.nodes[index].node.client.number();
            cluster.nodes[index].process.wait_for_port(port);
        }
        cluster.leader();
        cluster
    }

    /// Each as `127.0.0.1:PORT`.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(EtcdServer::endpoint).collect()
    }

    /// SIGKILL to the leader.
    pub fn kill_leader(&mut self) {
        let leader = self.leader();
        self.nodes[leader].process.kill();
        self.hurt = Some(leader);
    }

    /// Starts the node that was killed.
    pub fn restart_killed(&mut self) {
        if let Some(killed) = self.hurt.take() {
            self.nodes[killed].restart();
        }
    }

    /// SIGSTOP to the leader.
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

    /// The leader's index; waits until there is one.
    fn leader(&mut self) -> usize {
        let mut found = None;
        let endpoints = self.endpoints();
        self.nodes[0].process.wait_until("in a cluster with a leader", || {
            found = endpoints.iter().position(|endpoint| is_leader(endpoint));
            found.is_some()
        });
        found.expect("a leader")
    }
}

fn is_healthy(endpoint: &str) -> bool {
    get(endpoint, "/health").is_some_and(|answer| answer.contains(r#""health":"true""#))
}

/// By etcd's JSON gateway: whether the node's own id is the leader's.
fn is_leader(endpoint: &str) -> bool {
    let Some(status) = post(endpoint, "/v3/maintenance/status", "{}") else { return false };
    let field = |name: &str| {
        let after = status.split(&format!("\"{name}\":\"")).nth(1)?;
        after.split('"').next().map(str::to_owned)
    };
    field("leader").is_some_and(|leader| Some(leader) == field("member_id"))
}

impl Node {
    fn new(name: &str, options: &[&str]) -> Node {
        Node {
            name: name.to_owned(),
            client: Port::reserve(),
            peer: Port::reserve(),
            directory: tempfile::tempdir().unwrap(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            tls: false,
        }
    }

    fn in_cluster(&self) -> String {
        format!("{}=http://{}", self.name, self.peer.address())
    }

    fn launch(&self, cluster: &str) -> Process {
        let client = format!("{}://{}", if self.tls { "https" } else { "http" }, self.client.address());
        let peer = format!("http://{}", self.peer.address());
        let mut arguments: Vec<OsString> = vec![
            "--name".into(),
            self.name.clone().into(),
            "--data-dir".into(),
            self.directory.path().join("data").into(),
            "--listen-client-urls".into(),
            client.clone().into(),
            "--advertise-client-urls".into(),
            client.into(),
            "--listen-peer-urls".into(),
            peer.clone().into(),
            "--initial-advertise-peer-urls".into(),
            peer.into(),
            "--initial-cluster".into(),
            cluster.into(),
        ];
        arguments.extend(self.options.iter().map(OsString::from));
        Process::start("etcd", &arguments, &self.directory.path().join("log"))
    }
}
