//! etcd.

use crate::{Port, Process};
use std::ffi::OsString;
use tempfile::TempDir;

/// One etcd node with a directory of its own.
#[derive(Debug)]
pub struct EtcdServer {
    process: Process,
    client: Port,
    peer: Port,
    directory: TempDir,
}

impl EtcdServer {
    /// Starts a node, and waits until it serves.
    pub fn start() -> EtcdServer {
        let (client, peer) = (Port::reserve(), Port::reserve());
        let directory = tempfile::tempdir().unwrap();
        let mut process = launch(&client, &peer, &directory);
        process.wait_for_port(client.number());
        EtcdServer { process, client, peer, directory }
    }

    /// As `127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        self.client.address()
    }

    /// The process: to pause, resume and kill.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again on its directory, after it was killed.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.client, &self.peer, &self.directory);
        self.process.wait_for_port(self.client.number());
    }
}

fn launch(client: &Port, peer: &Port, directory: &TempDir) -> Process {
    let url = |port: &Port| format!("http://{}", port.address());
    let data = directory.path().join("data");
    let arguments: Vec<OsString> = vec![
        "--name".into(),
        "node".into(),
        "--data-dir".into(),
        data.into(),
        "--listen-client-urls".into(),
        url(client).into(),
        "--advertise-client-urls".into(),
        url(client).into(),
        "--listen-peer-urls".into(),
        url(peer).into(),
        "--initial-advertise-peer-urls".into(),
        url(peer).into(),
        "--initial-cluster".into(),
        format!("node={}", url(peer)).into(),
    ];
    Process::start("etcd", &arguments, &directory.path().join("log"))
}
