//! A program of the `PATH`, and the guardian that never leaves it behind.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// A running program, whose output goes to a file.
#[derive(Debug)]
pub(crate) struct Program {
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

impl Program {
    /// Whether the `PATH` has it.
    pub(crate) fn exists(program: &str) -> bool {
        std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
        })
    }

    /// Starts a program of the `PATH`.
    pub(crate) fn start(program: &str, arguments: &[OsString], log: &Path) -> Program {
        let mut guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian", program])
            .args(arguments)
            .env("DLOCK_TEST_LOG", log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // When the caller's process group loses its last tie to a shell, the kernel continues all that is stopped in it.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(guardian.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = Pid::from_raw(line.trim().parse().expect("a process id")).unwrap();
        let pipe = guardian.stdin.take().unwrap(); // or waiting for the guardian would close it
        Program { guardian, _pipe: pipe, pid, log: log.to_owned() }
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.guardian.try_wait().unwrap().is_none()
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.end_with(Signal::KILL);
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn terminate(&mut self) {
        self.end_with(Signal::TERM);
    }

    /// SIGINT, and waits for the end.
    pub(crate) fn interrupt(&mut self) {
        self.end_with(Signal::INT);
    }

    /// SIGSTOP: it stands still, every thread of it, until [`Program::resume`].
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        while self.runs_on() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether a thread has not stopped. A signal takes a moment to reach them all.
    fn runs_on(&self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.id())) else { return false };
        let runs = |status: String| {
            status.lines().any(|line| {
                line.strip_prefix("State:").is_some_and(|state| !state.trim_start().starts_with(['T', 'Z']))
            })
        };
        threads.flatten().any(|thread| std::fs::read_to_string(thread.path().join("status")).is_ok_and(runs))
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// What it has printed.
    pub(crate) fn output(&self) -> String {
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

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
