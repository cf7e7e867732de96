//! A command with all that it starts: a process group of its own, in the terminal's foreground if there is one.

use crate::exit::{self, Exit};
use crate::output;
use crate::unsafe_parts;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};
use rustix::process::{Pid, Signal, WaitIdOptions, kill_process_group, waitid};
use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::task::Context;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Signals that are passed on.
const PASSED_ON: [Signal; 6] =
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// A running command.
pub(crate) struct Run {
    child: Child,
    group: Pid,
    terminal: bool,
    signals: Signals,
}

/// What is heard of signals, from before the command's start: one that came in between would end this program, and the
/// command with it.
struct Signals {
    passed_on: SelectAll<BoxStream<'static, Signal>>,
    /// The command, or something that it started, has ended or was stopped.
    changes: tokio::signal::unix::Signal,
}

impl Signals {
    fn hear() -> io::Result<Signals> {
        let heard = |passed: Signal| {
            let mut stream = signal(SignalKind::from_raw(passed.as_raw()))?;
            let next = move |context: &mut Context<'_>| {
                stream.poll_recv(context).map(|received| received.map(|()| passed))
            };
            Ok(futures::stream::poll_fn(next).boxed())
        };
        let streams: io::Result<Vec<_>> = PASSED_ON.into_iter().map(heard).collect();
        Ok(Signals { passed_on: select_all(streams?), changes: signal(SignalKind::child())? })
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself, with this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

impl Ended {
    fn of(status: ExitStatus) -> Ended {
        match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Exit(code),
            (None, Some(signal)) => Ended::Signal(signal),
            (None, None) => Ended::Exit(i32::from(exit::FAILURE)),
        }
    }

    /// The exit code that says so.
    pub(crate) fn code(self) -> u8 {
        match self {
            Ended::Exit(code) => u8::try_from(code).unwrap_or(exit::FAILURE),
            Ended::Signal(signal) => Exit::signal(signal).code,
        }
    }
}

impl Run {
    /// Starts the command: no shell in between, with this program's standard input, output and error. Must be called
    /// by a thread that lives as long as the program.
    pub(crate) fn start(
        program: &OsString,
        arguments: &[OsString],
        environment: &[(&'static str, String)],
    ) -> Result<Run, Exit> {
        let signals = Signals::hear().map_err(Exit::system)?;
        let terminal = io::stdin().is_terminal() && in_foreground();
        let mut command = std::process::Command::new(program);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        unsafe_parts::prepare(&mut command, terminal);
        let child = Command::from(command).spawn().map_err(|error| {
            let code = match error.kind() {
                ErrorKind::NotFound => exit::COMMAND_NOT_FOUND,
                _ => exit::NOT_EXECUTABLE,
            };
            Exit::new(code, format!("{}: {error}", program.display()))
        })?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = id.ok_or_else(|| Exit::new(exit::SYSTEM, "the command has no process id"))?;
        Ok(Run { child, group, terminal, signals })
    }

    /// Waits for the command's end, passing signals on.
    pub(crate) async fn wait(&mut self) -> Result<Ended, Exit> {
        loop {
            tokio::select! {
                status = self.child.wait() => return Ok(Ended::of(status.map_err(Exit::system)?)),
                Some(passed) = self.signals.passed_on.next() => self.send(passed),
                Some(()) = self.signals.changes.recv() => self.go_on_if_stopped(),
            }
        }
    }

    /// Ends the command and all that it started: TERM, and KILL when `grace` has passed.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Result<Ended, Exit> {
        self.send(Signal::TERM);
        self.send(Signal::CONT); // a stopped one would not hear it
        let ended = match tokio::time::timeout(grace, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.send(Signal::KILL);
                self.child.wait().await
            }
        };
        // What it left behind in its group has no lock either.
        self.send(Signal::KILL);
        Ok(Ended::of(ended.map_err(Exit::system)?))
    }

    fn send(&self, signal: Signal) {
        match kill_process_group(self.group, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {} // gone already
            Err(error) => output::complain(&format!("the command can't be sent {signal:?}: {error}")),
        }
    }

    /// A command that is stopped from the terminal would lose its lock, as would this program if it stopped, too.
    fn go_on_if_stopped(&self) {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let stopped = waitid(rustix::process::WaitId::Pid(self.group), options);
        let from_terminal = [Signal::TSTP, Signal::TTIN, Signal::TTOU].map(Signal::as_raw);
        if let Ok(Some(status)) = stopped
            && status.stopping_signal().is_some_and(|signal| from_terminal.contains(&signal))
        {
            output::complain("a stopped command would lose its lock: it goes on");
            self.send(Signal::CONT);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.terminal
            && let Err(error) = unsafe_parts::take_terminal()
        {
            output::complain(&format!("the terminal can't be taken back: {error}"));
        }
    }
}

/// Whether this program's group has the terminal, and may hand it over.
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}
