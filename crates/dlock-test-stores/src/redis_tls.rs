//! Redis with encrypted connections only, which asks its clients for certificates.

use crate::{Authority, Port, Process};
use std::ffi::OsString;
use std::path::PathBuf;
use tempfile::TempDir;

/// One Redis node that serves TLS, and the files with which a client reaches it.
#[derive(Debug)]
pub struct RedisTls {
    _process: Process,
    port: Port,
    directory: TempDir,
}

impl RedisTls {
    /// Makes an authority and certificates, starts a node, and waits until it listens.
    pub fn start() -> RedisTls {
        let (port, directory) = (Port::reserve(), tempfile::tempdir().unwrap());
        let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text).unwrap();
        let authority = Authority::new();
        write("ca.pem", authority.pem().to_owned());
        for name in ["server", "client"] {
            let (certificate, key) = authority.certificate("127.0.0.1");
            write(&format!("{name}.pem"), certificate);
            write(&format!("{name}.key"), key);
        }
        let file = |name: &str| directory.path().join(name).into_os_string();
        let arguments: Vec<OsString> = vec![
            "--port".into(),
            "0".into(),
            "--tls-port".into(),
            port.number().to_string().into(),
            "--bind".into(),
            "127.0.0.1".into(),
            "--dir".into(),
            directory.path().into(),
            "--tls-cert-file".into(),
            file("server.pem"),
            "--tls-key-file".into(),
            file("server.key"),
            "--tls-ca-cert-file".into(),
            file("ca.pem"),
        ];
        let mut process = Process::start("redis-server", &arguments, &directory.path().join("log"));
        process.wait_for_port(port.number());
        RedisTls { _process: process, port, directory }
    }

    /// As `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// The authority's certificate, the client's, and the client's key.
    pub fn files(&self) -> [PathBuf; 3] {
        ["ca.pem", "client.pem", "client.key"].map(|name| self.directory.path().join(name))
    }
}
