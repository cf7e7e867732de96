//! PostgreSQL: no store of dlock's, but a resource that checks its tokens.

use crate::program::Program;
use crate::{Port, Process};
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A PostgreSQL server with a directory of its own.
#[derive(Debug)]
pub struct PostgresServer {
    process: Process,
    port: Port,
    _directory: TempDir,
}

impl PostgresServer {
    /// Starts a server that trusts everybody, and waits until it serves.
    pub fn start() -> PostgresServer {
        let (port, directory) = (Port::reserve(), tempfile::tempdir().unwrap());
        let number = port.number().to_string();
        let mut arguments: Vec<OsString> = vec!["postgres".into(), "-p".into(), number.into()];
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
            arguments.extend(["-c".into(), setting.into()]);
        }
        // In a container, the image's own script makes the data directory.
        if Program::exists("postgres") {
            let user = unprivileged_user();
            if user.is_some() {
                std::fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
            }
            let data = directory.path().join("data").into_os_string();
            let mut initdb: Vec<OsString> = vec!["initdb".into(), "-D".into(), data.clone()];
            initdb.extend(
                ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
                    .map(OsString::from),
            );
            let initdb = as_user(user, initdb);
            let made = Command::new(&initdb[0]).args(&initdb[1..]).output().expect("initdb on the PATH");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            arguments.extend(["-D".into(), data]);
            arguments.extend(["-c".into(), "dynamic_shared_memory_type=mmap".into()]);
            arguments = as_user(user, arguments);
        }
        let program = arguments.remove(0).into_string().unwrap();
        let mut process = Process::start(&program, &arguments, &directory.path().join("log"));
        process.wait_until("serving", || serves(&port));
        PostgresServer { process, port, _directory: directory }
    }

    /// The server's parameters, as clients understand them.
    pub fn parameters(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port.number())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Killed, it would leave shared memory behind.
        self.process.interrupt();
    }
}

/// PostgreSQL refuses to run as root: as whom it runs instead, user and group.
fn unprivileged_user() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().unwrap());
        ids.next().zip(ids.next())
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("the user `postgres` or `nobody`"))
}

fn as_user(user: Option<(u32, u32)>, mut command: Vec<OsString>) -> Vec<OsString> {
    if let Some((user, group)) = user {
        let become_user = [
            "setpriv".to_owned(),
            format!("--reuid={user}"),
            format!("--regid={group}"),
            "--clear-groups".to_owned(),
        ];
        command.splice(0..0, become_user.map(OsString::from));
    }
    command
}

/// Whether the server lets a client in; it listens before.
fn serves(port: &Port) -> bool {
    let greet = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect(port.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let parameters = b"\0\x03\0\0user\0postgres\0\0"; // after the protocol's version
        stream.write_all(&u32::try_from(parameters.len() + 4).unwrap().to_be_bytes())?;
        stream.write_all(parameters)?;
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        Ok(kind[0])
    };
    greet().is_ok_and(|kind| kind == b'R')
}
