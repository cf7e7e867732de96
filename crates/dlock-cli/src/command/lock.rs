//! `dlockctl lock`: runs a command under a lock, or holds one until it is interrupted.

use super::run::Run;
use super::shown::{holder_line, mastered};
use crate::arguments::{Global, Lock, OutputFormat};
use crate::exit::{self, Exit};
use crate::output;
use dlock_client::{Client, Error, Guard, Place};
use dlock_runtime::{BootClock, Clock};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What is held, for programs.
#[derive(Serialize)]
struct Held<'a> {
    name: &'a str,
    namespace: &'a str,
    mode: &'a str,
    token: u64,
    session: String,
}

pub(crate) async fn run(global: &Global, arguments: Lock) -> Result<u8, Exit> {
    let client =
        super::client_builder(global).ttl(arguments.ttl).lock_delay(arguments.lock_delay).connect().await?;
    let guard = tokio::select! {
        guard = acquire(&client, &arguments) => guard?,
        number = interrupted() => {
            close(&client).await;
            return Err(Exit::signal(number?));
        }
    };
    let ended = use_lock(&guard, global, &arguments).await;
    // Whatever came of the command: who waits behind it need not wait for the session's end.
    let released = guard.release().await;
    close(&client).await;
    if let (Err(error), true) = (released, arguments.verbose) {
        output::complain(&error.to_string());
    }
    ended
}

async fn use_lock(guard: &Guard, global: &Global, arguments: &Lock) -> Result<u8, Exit> {
    match arguments.command.split_first() {
        Some((program, rest)) => {
            let run = Run::start(program, rest, &environment(guard, global, arguments))?;
            under_lock(run, guard, arguments).await
        }
        None => hold(guard, global, arguments).await,
    }
}

async fn close(client: &Client) {
    if let Err(error) = client.close().await {
        output::complain(&format!("the session was not closed, and lives on for its time to live: {error}"));
    }
}

/// The first signal that asks to stop.
async fn interrupted() -> Result<i32, Exit> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Exit::system)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Exit::system)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Exit::system)?;
    tokio::select! {
        _ = interrupt.recv() => Ok(libc::SIGINT),
        _ = terminate.recv() => Ok(libc::SIGTERM),
        _ = hangup.recv() => Ok(libc::SIGHUP),
    }
}

async fn acquire(client: &Client, arguments: &Lock) -> Result<Guard, Exit> {
    let mut lock = client.lock(&arguments.name).mode(arguments.mode);
    if let Some(wait) = arguments.wait {
        lock = lock.wait(wait);
    }
    let line = WaitingLine::new(&arguments.name);
    if arguments.try_only {
        return match lock.try_acquire().await {
            Ok(Some(guard)) => Ok(guard),
            Ok(None) => Err(refused(client, arguments, &Error::WouldBlock).await),
            Err(error) => Err(refused(client, arguments, &error).await),
        };
    }
    let (queued, mut is_queued) = tokio::sync::watch::channel(false);
    let shown = line.clone();
    let lock = lock.on_queued(move |place| {
        shown.show(place);
        queued.send_replace(true);
    });
    let verbose = async {
        if arguments.verbose && is_queued.wait_for(|queued| *queued).await.is_ok() {
            say_who_blocks(client, &arguments.name).await;
        }
        std::future::pending::<()>().await;
    };
    let acquired = tokio::select! {
        acquired = lock.acquire() => acquired,
        () = verbose => unreachable!("it never ends"),
    };
    line.clear();
    match acquired {
        Ok(guard) => Ok(guard),
        Err(error) => Err(refused(client, arguments, &error).await),
    }
}

/// The end of an acquire that failed: a lock that was not to be had has the exit code of one's choice.
async fn refused(client: &Client, arguments: &Lock, error: &Error) -> Exit {
    let mut exit = Exit::from(error.clone());
    if exit.code == exit::CONFLICT {
        exit.code = arguments.conflict_exit_code;
        exit.message = format!("{}: {error}", arguments.name);
        if arguments.verbose {
            say_who_blocks(client, &arguments.name).await;
        }
    }
    close(client).await;
    exit
}

async fn say_who_blocks(client: &Client, name: &str) {
    match client.query().get_resource(name).await {
        Ok(info) => {
            info.holders.iter().for_each(|holder| output::complain(&holder_line(holder)));
            info.mastered_by.iter().for_each(|master| output::complain(&mastered(&master.to_string())));
        }
        Err(error) => output::complain(&format!("who is in the way can't be told: {error}")),
    }
}

/// The place in the queue, on one line of the terminal that is written over.
#[derive(Clone)]
struct WaitingLine {
    name: String,
    shown: bool,
}

impl WaitingLine {
    fn new(name: &str) -> WaitingLine {
        WaitingLine { name: name.to_owned(), shown: io::stderr().is_terminal() }
    }

    fn show(&self, place: Place) {
        if self.shown {
            let _ = write!(
                io::stderr(),
                "\r\x1b[Kwaiting for {}: place {} in the queue",
                self.name,
                place.ahead + 1
            );
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn environment(guard: &Guard, global: &Global, arguments: &Lock) -> Vec<(&'static str, String)> {
    let left = u64::try_from(guard.remaining().as_millis()).unwrap_or(u64::MAX);
    vec![
        ("DLOCK_TOKEN", guard.token().to_string()),
        ("DLOCK_LOCK_NAME", arguments.name.clone()),
        ("DLOCK_NAMESPACE", global.namespace.clone()),
        ("DLOCK_MODE", guard.mode().to_string()),
        ("DLOCK_SESSION", guard.session_id().to_string()),
        ("DLOCK_DEADLINE", BootClock.unix_ms().saturating_add(left).to_string()),
    ]
}

/// Waits for the command's end, or for the lock's loss and then the command's end.
async fn under_lock(mut run: Run, guard: &Guard, arguments: &Lock) -> Result<u8, Exit> {
    tokio::select! {
        ended = run.wait() => Ok(ended?.code()),
        reason = guard.lost() => {
            output::complain(&format!("{}: the lock is lost: {reason}", arguments.name));
            let kill_after = arguments.kill_after.unwrap_or(arguments.ttl / 10);
            let ended = run.stop(kill_after).await?;
            hook(arguments).await;
            if arguments.verbose {
                output::complain(&format!("the command has ended: {ended:?}"));
            }
            Ok(arguments.lost_exit_code)
        }
    }
}

/// Holds the lock until INT, TERM or HUP, or until it is lost.
async fn hold(guard: &Guard, global: &Global, arguments: &Lock) -> Result<u8, Exit> {
    let (mode, session) = (guard.mode(), guard.session_id().to_string());
    match global.output {
        OutputFormat::Json => output::json(&Held {
            name: &arguments.name,
            namespace: &global.namespace,
            mode: mode.abbreviation(),
            token: guard.token().get(),
            session,
        })?,
        OutputFormat::Table => output::line(&format!(
            "holding {} in {mode}, token {}, session {session}; interrupt to let go",
            arguments.name,
            guard.token()
        ))?,
    }
    tokio::select! {
        number = interrupted() => number.map(|_| 0),
        reason = guard.lost() => {
            hook(arguments).await;
            Err(Exit::new(arguments.lost_exit_code, format!("{}: the lock is lost: {reason}", arguments.name)))
        }
    }
}

/// Runs what was asked for in case of a loss.
async fn hook(arguments: &Lock) {
    /// A hook that hangs must not keep the loss from being told.
    const HOOK_TIME_MAX: Duration = Duration::from_secs(60);
    let Some(command) = &arguments.on_lost else { return };
    let mut shell = tokio::process::Command::new("sh");
    shell.arg("-c").arg(command).env("DLOCK_LOCK_NAME", &arguments.name).kill_on_drop(true);
    match tokio::time::timeout(HOOK_TIME_MAX, shell.status()).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => output::complain(&format!("the command of --on-lost has failed: {status}")),
        Ok(Err(error)) => output::complain(&format!("the command of --on-lost can't be run: {error}")),
        Err(_) => output::complain("the command of --on-lost did not end in time"),
    }
}
