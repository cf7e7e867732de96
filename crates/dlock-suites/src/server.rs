//! A `dlock` server: the real program.

use dlock_test_stores::{Port, Process};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A server on an address of its own, which it keeps when it is restarted.
#[derive(Debug)]
pub struct DlockServer {
    process: Process,
    port: Port,
    arguments: Vec<OsString>,
    log: PathBuf,
}

impl DlockServer {
    /// Starts a server at this port, with these options and variables, and waits until it serves.
    pub fn start(
        port: Port,
        log: &Path,
        mut options: Vec<OsString>,
        environment: Vec<(OsString, OsString)>,
    ) -> DlockServer {
        options.extend(["--addr".into(), port.address().into()]);
        options.extend(["--log-level".into(), "dlock=info,dlock_engine=info,warn".into()]);
        // The program that sets variables becomes the one that it starts.
        let mut arguments: Vec<OsString> = Vec::new();
        for (name, value) in environment {
            let mut variable = name;
            variable.push("=");
            variable.push(value);
            arguments.push(variable);
        }
        arguments.push(program("dlock", "dlock-server").into());
        arguments.extend(options);
        DlockServer { process: launch(&arguments, log), port, arguments, log: log.to_owned() }
    }

    /// As `127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        self.port.address()
    }

    /// The process: to pause, resume, kill and terminate.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Whether its process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Starts it again after its end, and waits until it serves.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.arguments, &self.log);
    }

    /// Which process it is at the moment.
    pub fn process_id(&self) -> u32 {
        self.process.id().expect("a local program")
    }

    /// Its resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let pid = self.process_id();
        let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        let resident: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        resident * 4096
    }
}

fn launch(arguments: &[OsString], log: &Path) -> Process {
    // It listens before it has read the store, and says when it serves.
    let said = |log: &Path| std::fs::read_to_string(log).unwrap_or_default().matches("serves locks").count();
    let before = said(log);
    let mut process = Process::start("env", arguments, log);
    process.wait_until("serving", || said(log) > before);
    process
}

/// A program of this workspace, from the same build as the running test; built if it isn't there.
pub fn program(name: &str, package: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let test = std::env::current_exe().unwrap();
    let up = if test.parent().unwrap().ends_with("deps") { 2 } else { 1 };
    let directory = test.ancestors().nth(up).unwrap();
    let program = directory.join(name);
    if !program.exists() {
        BUILT.get_or_init(|| {
            let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            build.args(["build", "--package", package, "--bin", name]);
            if directory.ends_with("release") {
                build.arg("--release");
            }
            build.env("CARGO_TARGET_DIR", directory.parent().unwrap());
            assert!(build.status().unwrap().success(), "{name} does not build");
        });
    }
    program
}
