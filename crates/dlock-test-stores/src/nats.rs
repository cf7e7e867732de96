//! NATS with JetStream.

use crate::{Port, Process};
use std::ffi::OsString;
use tempfile::TempDir;

/// One NATS node with JetStream in a directory of its own.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    port: Port,
    directory: TempDir,
}

impl NatsServer {
    /// Starts a node, and waits until it serves.
    pub fn start() -> NatsServer {
        let port = Port::reserve();
        let directory = tempfile::tempdir().unwrap();
        let process = launch(&port, &directory);
        NatsServer { process, port, directory }
    }

    /// As `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.port.address())
    }

    /// The process: to pause, resume and kill.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again on its directory, after it was killed.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.port, &self.directory);
    }
}

fn launch(port: &Port, directory: &TempDir) -> Process {
    let arguments: Vec<OsString> = vec![
        "--addr".into(),
        "127.0.0.1".into(),
        "--port".into(),
        port.number().to_string().into(),
        "--jetstream".into(),
        "--store_dir".into(),
        directory.path().into(),
    ];
    let mut process = Process::start("nats-server", &arguments, &directory.path().join("log"));
    process.wait_for_port(port.number());
    process
}
