//! A command under a lock.

use crate::world::*;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

#[test]
fn twenty_at_once_count_exactly_right() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let counter = directory.path().join("counter");
    std::fs::write(&counter, "0").unwrap();
    let script = directory.path().join("increment.sh");
    std::fs::write(&script, "#!/bin/sh\nn=$(cat \"$1\")\nsleep 0.02\necho $((n + 1)) > \"$1\"\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let (script, counter) = (script.to_str().unwrap(), counter.to_str().unwrap());
    let children: Vec<_> =
        (0..20).map(|_| server.ctl(&["lock", "counter", "--", script, counter]).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(std::fs::read_to_string(counter).unwrap().trim(), "20");
}

#[test]
fn the_exit_code_is_the_commands() {
    let server = Server::start();
    assert_eq!(server.code(&["lock", "a", "--", "true"]), 0);
    assert_eq!(server.code(&["lock", "a", "--", "sh", "-c", "exit 7"]), 7);
    assert_eq!(server.code(&["lock", "a", "--", "sh", "-c", "kill -9 $$"]), 137);
    assert_eq!(server.code(&["lock", "a", "--", "/nowhere/command"]), 127);
    assert_eq!(server.code(&["lock", "a", "--", "/etc/passwd"]), 126);
    assert_eq!(server.holders("a"), 0, "the lock is let go, however the command ends");
}

#[test]
fn a_lock_that_is_not_to_be_had_has_an_exit_code_of_ones_choice() {
    let server = Server::start();
    let _held = server.hold(&["a"]);
    assert_eq!(server.code(&["lock", "--try", "a", "--", "true"]), 75);
    assert_eq!(server.code(&["lock", "--try", "-E", "3", "a", "--", "true"]), 3);
    assert_eq!(server.code(&["lock", "--wait", "100ms", "a", "--", "true"]), 75);
    let told = server.output(&["lock", "--try", "--verbose", "a", "--", "true"]);
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("holds it in EX since"), "{told}");
    assert_eq!(server.waiting("a"), 0);
}

#[test]
fn misuse_and_a_missing_server_have_codes_of_their_own() {
    let server = Server::start();
    let cases: [&[&str]; 8] = [
        &["lock"],
        &["lock", "--mode", "XX", "a"],
        &["lock", "--wait", "-3s", "a"],
        &["lock", "--wait", "soon", "a"],
        &["lock", "-E", "256", "a"],
        &["lock", "--try", "--wait", "1s", "a"],
        &["lock", "--ttl", "1ms", "a", "--", "true"],
        &["lock", "", "--", "true"],
    ];
    for arguments in cases {
        let output = server.output(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    let nobody = server.output(&["--endpoints", "127.0.0.1:1", "lock", "a", "--", "true"]);
    assert_eq!(nobody.status.code(), Some(69));
    assert!(String::from_utf8(nobody.stderr).unwrap().contains("127.0.0.1:1"));
}

#[test]
fn the_command_finds_the_lock_in_its_environment_and_tokens_grow() {
    let server = Server::start();
    let show =
        "echo $DLOCK_TOKEN $DLOCK_LOCK_NAME $DLOCK_MODE $DLOCK_NAMESPACE ${#DLOCK_SESSION} $DLOCK_DEADLINE";
    let mut last = 0;
    for _ in 0..3 {
        let text = server.text(&["lock", "--mode", "pw", "jobs/1", "--", "sh", "-c", show]);
        let words: Vec<&str> = text.split_whitespace().collect();
        let token: u64 = words[0].parse().unwrap();
        assert!(token > last);
        last = token;
        assert_eq!(words[1..5], ["jobs/1", "PW", "default", "32"]);
        assert!(words[5].parse::<u64>().unwrap() > 1_700_000_000_000);
    }
}

#[test]
fn standard_input_and_output_pass_through() {
    let server = Server::start();
    let mut child = server
        .ctl(&["lock", "a", "--", "tr", "a-z", "A-Z"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"HELLO\n");
}

#[test]
fn signals_are_passed_on_to_all_that_the_command_started() {
    let server = Server::start();
    for (name, code) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("USR1", 10)] {
        let trap = format!("trap 'echo got; exit {code}' {name}; echo ready; sleep 100 & wait");
        let mut child =
            server.ctl(&["lock", "a", "--", "sh", "-c", &trap]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        signal(child.id(), name);
        assert_eq!(lines.next().unwrap().unwrap(), "got", "{name}");
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}");
    }
}

#[test]
fn an_interrupted_wait_leaves_the_queue() {
    let server = Server::start();
    let _held = server.hold(&["a"]);
    let mut waiting = server.ctl(&["lock", "a", "--", "true"]).spawn().unwrap();
    until("it waits", || server.waiting("a") == 1);
    signal(waiting.id(), "INT");
    assert_eq!(waiting.wait().unwrap().code(), Some(130));
    assert_eq!(server.waiting("a"), 0);
}

#[test]
fn without_a_command_a_lock_is_held_until_interrupted() {
    let server = Server::start();
    let mut held = server.hold(&["a"]);
    assert_eq!(server.holders("a"), 1);
    signal(held.0.id(), "TERM");
    assert_eq!(held.0.wait().unwrap().code(), Some(0));
    assert_eq!(server.holders("a"), 0);
}

#[test]
fn shared_locks_are_shared() {
    let server = Server::start();
    let _one = server.hold(&["--mode", "PR", "a"]);
    let _two = server.hold(&["--mode", "PR", "a"]);
    assert_eq!(server.holders("a"), 2);
    assert_eq!(server.code(&["lock", "--try", "--mode", "EX", "a", "--", "true"]), 75);
    assert_eq!(server.code(&["lock", "--try", "--mode", "CR", "a", "--", "true"]), 0);
}

#[test]
fn a_killed_holder_takes_its_command_along_and_hands_the_lock_on_within_its_ttl() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = format!("echo $$ > {}; echo started; exec sleep 100", file.display());
    let held = server.hold(&["--ttl", "2s", "a", "--", "sh", "-c", &script]);
    let command: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let mut held = held;
    held.0.kill().unwrap(); // -9: it can do nothing any more
    assert_eq!(held.0.wait().unwrap().signal(), Some(9));
    until("the command is gone, too", || !runs(command));
    assert_eq!(server.code(&["lock", "--wait", "20s", "a", "--", "true"]), 0);
}

#[test]
fn completions_and_man_pages_are_generated() {
    let completions = Command::new(DLOCKCTL).args(["completions", "bash"]).output().unwrap();
    assert!(String::from_utf8(completions.stdout).unwrap().contains("_dlockctl"));
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new(DLOCKCTL).arg("man").arg(directory.path()).status().unwrap();
    assert!(made.success());
    let page = std::fs::read_to_string(directory.path().join("dlockctl-lock.1")).unwrap();
    assert!(page.contains("DLOCK_TOKEN"));
}
