//! A lock that is lost while its command runs.

use crate::world::*;
use std::process::Stdio;

/// A command that says what it gets, and ends at TERM if it is willing.
fn command(willing: bool) -> String {
    let at_term = if willing { "echo term; exit 0" } else { "echo term" };
    format!("trap '{at_term}' TERM; echo $$; while true; do sleep 0.05; done")
}

#[test]
fn the_command_is_ended_when_its_session_is() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let marker = directory.path().join("lost");
    let hook = format!("touch {}", marker.display());
    let mut child = server
        .ctl(&["lock", "--on-lost", &hook, "a", "--", "sh", "-c", &command(true)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.next().unwrap().is_ok());
    let session = server.json(&["sessions"])[0]["session"].as_str().unwrap().to_owned();
    server.text(&["end-session", &session]);
    assert_eq!(lines.next().unwrap().unwrap(), "term");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(76));
    assert!(String::from_utf8(output.stderr).unwrap().contains("the lock is lost"));
    assert!(marker.exists(), "the hook was not run");
}

#[test]
fn a_silent_server_costs_the_lock_at_its_deadline_and_an_unwilling_command_its_life() {
    let server = Server::start();
    let arguments = [
        "lock",
        "--ttl",
        "2s",
        "--kill-after",
        "200ms",
        "--lost-exit-code",
        "9",
        "a",
        "--",
        "sh",
        "-c",
        &command(false),
    ];
    let mut child = server.ctl(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let process: u32 = lines.next().unwrap().unwrap().parse().unwrap();
    signal(server.child.id(), "STOP");
    assert_eq!(lines.next().unwrap().unwrap(), "term");
    until("the command is killed", || !runs(process));
    signal(server.child.id(), "CONT");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}
