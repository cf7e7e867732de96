//! Looking, and taking away.

use crate::world::*;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn who_holds_and_who_waits_is_shown_to_people_and_programs() {
    let server = Server::start();
    let _held = server.hold(&["jobs/a"]);
    let _other = server.hold(&["jobs/b"]);
    let _waiting =
        Background(server.ctl(&["lock", "--mode", "PR", "jobs/a"]).stdout(Stdio::null()).spawn().unwrap());
    until("it waits", || server.waiting("jobs/a") == 1);

    let listed = server.json(&["ls", "jobs/"]);
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|info| info["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["jobs/a", "jobs/b"]);
    assert_eq!(server.json(&["ls", "nothing/"]), serde_json::json!([]));
    let table = server.text(&["ls"]);
    assert!(table.contains("NAME") && table.contains("jobs/a"), "{table}");

    let info = server.json(&["inspect", "jobs/a"]);
    assert_eq!(info["holders"][0]["mode"], "EX");
    assert_eq!(info["holders"][0]["client"]["name"], "dlockctl");
    assert_eq!(info["queue"][0]["mode"], "PR");
    let holder =
        format!("{}#{}", info["holders"][0]["session"].as_str().unwrap(), info["holders"][0]["lock"]);
    assert_eq!(info["queue"][0]["blocked_by"], serde_json::json!([holder]));
    assert!(info["holders"][0]["since"].as_str().unwrap().ends_with('Z'));
    let page = server.text(&["inspect", "jobs/a"]);
    assert!(page.contains("BLOCKED BY"), "{page}");

    assert_eq!(server.json(&["sessions"]).as_array().unwrap().len(), 3);
    assert_eq!(server.json(&["members"])[0]["this"], true);
    assert_eq!(server.json(&["health"])["serving"], true);
}

#[test]
fn a_lock_is_taken_away_only_by_force_and_by_the_right_token() {
    let server = Server::start();
    let mut held = server.hold(&["a"]);
    let info = server.json(&["inspect", "a"]);
    let session = info["holders"][0]["session"].as_str().unwrap();
    let token = info["holders"][0]["token"].as_u64().unwrap();
    assert_eq!(server.code(&["check-token", "a", &token.to_string()]), 0);
    assert_eq!(server.code(&["release", "a", "--all"]), 64);
    let stale = (token + 1).to_string();
    assert_ne!(server.code(&["release", "--force", "a", "--session", session, "--token", &stale]), 0);
    assert_eq!(server.holders("a"), 1);
    server.text(&["release", "--force", "a", "--session", session, "--token", &token.to_string()]);
    assert_eq!(server.holders("a"), 0);
    assert_eq!(held.0.wait().unwrap().code(), Some(76), "the holder is told");
    assert_eq!(server.code(&["check-token", "a", &token.to_string()]), 1);
}

#[test]
fn changes_are_followed() {
    let server = Server::start();
    let mut watch =
        Background(server.ctl(&["watch", "-o", "json", "a"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(watch.0.stdout.take().unwrap()).lines();
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["event"], "snapshot-done");
    assert_eq!(server.code(&["lock", "abc", "--", "true"]), 0);
    let held = next();
    assert_eq!(held["event"], "changed");
    assert_eq!(held["resource"]["holders"][0]["mode"], "EX");
    assert_eq!(next()["resource"]["holders"], serde_json::json!([]));
}

#[test]
fn a_server_that_is_not_there_is_not_healthy() {
    let server = Server::start();
    assert_eq!(server.code(&["health"]), 0);
    assert_eq!(server.code(&["--endpoints", "127.0.0.1:1", "health"]), 69);
}
