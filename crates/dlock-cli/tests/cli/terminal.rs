//! On a terminal, given by `script`.

use crate::world::*;
use std::process::{Command, Stdio};

/// Runs a command line on a terminal of its own; returns what the terminal showed. `None` without `script`.
fn on_a_terminal(server: &Server, line: &str) -> Option<String> {
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command", line, "/dev/null"])
        .env("DLOCK_ENDPOINTS", &server.address);
    let output = command.stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_place_in_the_queue_is_shown_while_waiting() {
    let server = Server::start();
    let held = server.hold(&["a"]);
    let line = format!("{DLOCKCTL} lock --wait 500ms a -- true");
    let Some(shown) = on_a_terminal(&server, &line) else {
        return eprintln!("skipped: there is no `script` here");
    };
    assert!(shown.contains("waiting for a: place 1 in the queue"), "{shown:?}");
    drop(held);
}

#[test]
fn the_command_has_the_terminal() {
    let server = Server::start();
    let line = format!("{DLOCKCTL} lock a -- sh -c 'test -t 0 && test -t 1 && echo has it'");
    let Some(shown) = on_a_terminal(&server, &line) else {
        return eprintln!("skipped: there is no `script` here");
    };
    assert!(shown.contains("has it"), "{shown:?}");
}
