//! Redis.

use crate::{Port, Process};
use std::ffi::OsString;
use tempfile::TempDir;

/// One Redis node with a directory of its own.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    port: Port,
    directory: TempDir,
    options: Vec<OsString>,
}

impl RedisServer {
    /// Starts a node that appends every write to its file before it answers, and waits until it serves.
    pub fn start() -> RedisServer {
        RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a node with these options besides port and directory.
    pub fn start_with(options: &[&str]) -> RedisServer {
        let port = Port::reserve();
        let directory = tempfile::tempdir().unwrap();
        let options: Vec<OsString> = options.iter().map(OsString::from).collect();
        let process = launch(&port, &directory, &options);
        RedisServer { process, port, directory, options }
    }

    /// As `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// The process: to pause, resume and kill.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again on its directory, after it was killed.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.port, &self.directory, &self.options);
    }
}

fn launch(port: &Port, directory: &TempDir, options: &[OsString]) -> Process {
    let mut arguments: Vec<OsString> = vec![
        "--port".into(),
        port.number().to_string().into(),
        "--bind".into(),
        "127.0.0.1".into(),
        "--dir".into(),
        directory.path().into(),
    ];
    arguments.extend(options.iter().cloned());
    let mut process = Process::start("redis-server", &arguments, &directory.path().join("log"));
    process.wait_for_port(port.number());
    process
}
