//! Redis.

use crate::{Port, Process};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
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

    /// Runs a command; the answer as it is on the wire, without the sizes of its parts.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn command(&self, words: &[&str]) -> String {
        run(&self.port.address(), words).unwrap()
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

    /// Starts it again without its data.
    pub fn restart_empty(&mut self) {
        self.process.kill();
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
        self.process = launch(&self.port, &self.directory, &self.options);
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
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

/// Runs a command on a server: the parts of its answer, one a line; an error is what the server refuses it with.
pub(crate) fn run(address: &str, words: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes())?;
    let (mut reader, mut parts) = (BufReader::new(stream), Vec::new());
    let mut wanted = 1;
    while wanted > 0 {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((kind, rest)) = line.trim_end().split_at_checked(1) else {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        };
        wanted -= 1;
        match kind {
            "-" => return Err(std::io::Error::other(rest.to_owned())),
            "*" => wanted += rest.parse::<i64>().unwrap().max(0),
            "$" if rest != "-1" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                reader.read_exact(&mut bytes)?;
                parts.push(String::from_utf8_lossy(&bytes).trim_end().to_owned());
            }
            _ => parts.push(rest.to_owned()),
        }
    }
    Ok(parts.join("\n"))
}
