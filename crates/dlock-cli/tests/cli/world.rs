//! The programs, found and started.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

pub const DLOCKCTL: &str = env!("CARGO_BIN_EXE_dlockctl");

/// The server's program: beside `dlockctl`, built if it isn't there.
fn dlock_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let directory = Path::new(DLOCKCTL).parent().unwrap();
        let program = directory.join("dlock");
        if !program.exists() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--package", "dlock-server", "--bin", "dlock"]);
            if directory.ends_with("release") {
                build.arg("--release");
            }
            build.env("CARGO_TARGET_DIR", directory.parent().unwrap());
            assert!(build.status().unwrap().success(), "the server does not build");
        }
        program
    })
}

/// A server, killed at the end of its test.
pub struct Server {
    pub child: Child,
    pub address: String,
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Server {
        let mut command = Command::new(dlock_program());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DLOCK_")) {
            command.env_remove(name);
        }
        command.args(["--addr", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().nth(1).unwrap().unwrap();
        let address = line.trim_start_matches("at ").trim_end_matches(" (gRPC)").to_owned();
        Server { child, address }
    }

    /// `dlockctl` for this server.
    pub fn ctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(DLOCKCTL);
        command.args(arguments).env("DLOCK_ENDPOINTS", &self.address).stdin(Stdio::null());
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.ctl(arguments).output().unwrap()
    }

    pub fn code(&self, arguments: &[&str]) -> i32 {
        self.output(arguments).status.code().unwrap()
    }

    pub fn text(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.text(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// Starts a lock that is held until the child ends, and waits until it is.
    pub fn hold(&self, arguments: &[&str]) -> Background {
        let mut child = self.ctl(&[&["lock"], arguments].concat()).stdout(Stdio::piped()).spawn().unwrap();
        let first = BufReader::new(child.stdout.take().unwrap()).lines().next();
        assert!(matches!(first, Some(Ok(_))), "the lock was not held");
        Background(child)
    }

    pub fn holders(&self, name: &str) -> usize {
        self.json(&["inspect", name])["holders"].as_array().unwrap().len()
    }

    pub fn waiting(&self, name: &str) -> usize {
        self.json(&["inspect", name])["queue"].as_array().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that is killed at the end of its test.
pub struct Background(pub Child);

impl Drop for Background {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill(); // it may have ended by itself
    child.wait().unwrap();
}

pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Looks again and again until it is so; far longer than anything takes.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("it never became so: {what}");
}

/// Whether a process runs (and is no zombie).
pub fn runs(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}
