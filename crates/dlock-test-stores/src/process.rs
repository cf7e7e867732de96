//! A program under test: started, stopped, continued and killed, and never left behind.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// A running program, whose output goes to a file.
#[derive(Debug)]
pub struct Process {
    /// The shell that waits for the program, and kills it when this process has gone and the pipe is closed.
    guardian: Child,
    _pipe: ChildStdin,
    pid: Pid,
    log: PathBuf,
}

/// Starts the program, says its process id, and ends with its exit status. The pipe on the standard input is closed
/// when the test's process ends, even by SIGKILL.
const GUARDIAN: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null >>"$DLOCK_TEST_LOG" 2>&1 &
program=$!
echo "$program"
exec >/dev/null 2>&1
{ read -r _ <&3; kill -KILL "$program"; } &
watcher=$!
exec 3<&-
wait "$program"
status=$?
kill "$watcher"
exit "$status"
"#;

/// How long a server may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(60);

impl Process {
    /// Starts a program of the `PATH`.
    ///
    /// # Panics
    /// When it is not there.
    pub fn start(program: &str, arguments: &[OsString], log: &Path) -> Process {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
        });
        assert!(found, "this test needs `{program}` on the PATH: `cargo xtask test` gets it");
        let mut guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian", program])
            .args(arguments)
            .env("DLOCK_TEST_LOG", log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(guardian.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = Pid::from_raw(line.trim().parse().expect("a process id")).unwrap();
        let pipe = guardian.stdin.take().unwrap(); // or waiting for the guardian would close it
        Process { guardian, _pipe: pipe, pid, log: log.to_owned() }
    }

    /// Waits until `ready` says so.
    ///
    /// # Panics
    /// When the program ends before, or takes a minute.
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let started = Instant::now();
        while !ready() {
            assert!(self.is_running(), "the program ended before it was {what}:\n{}", self.output());
            assert!(started.elapsed() < START_TIMEOUT, "not {what} within a minute:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until somebody listens on the loopback port.
    pub fn wait_for_port(&mut self, port: u16) {
        self.wait_until("listening", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.guardian.try_wait().unwrap().is_none()
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.end_with(Signal::KILL);
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) {
        self.end_with(Signal::TERM);
    }

    /// SIGSTOP: it stands still until [`Process::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn end_with(&mut self, signal: Signal) {
        if self.is_running() {
            self.signal(signal);
            self.guardian.wait().unwrap();
        }
    }

    fn signal(&self, signal: Signal) {
        // It may have ended by itself: then there is nobody to tell.
        let _gone = kill_process(self.pid, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
