//! Scripts that a person can read: commands in, what happens out. `UPDATE_SCRIPTS=1` writes down what happens now; read
//! the difference before you keep it.
//!
//! A line is a command: `alice acquire EX`, `bob try PR`, `alice convert PR write v1`, `bob try-convert EX`,
//! `bob cancel`, `alice release`, `alice asks`, `alice dies`, `admin revokes alice`. Each client is a session whose
//! lock 1 is meant; `alice/2` is her second one, and `alice/2 reenter PR` shares a lock that she has. Below each
//! command, indented, stands what happens: first its own outcome, then the grants that follow, then who is told to
//! block somebody.

use crate::reference::key;
use dlock_core::resource::{Acquire, Command, Convert, Grant, Outcome, Patience, Resource, ValueUpdate};
use dlock_core::{LockKey, Mode, Token, ValueBlock};
use std::fmt::Write;
use std::path::PathBuf;

const CLIENTS: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];
/// How many may wait in a script.
const WAITERS_MAX: u32 = 3;

fn client_key(name: &str) -> LockKey {
    let (client, lock) = name.split_once('/').unwrap_or((name, "1"));
    let number =
        CLIENTS.iter().position(|known| *known == client).unwrap_or_else(|| panic!("who is {name:?}?"));
    key(number as u128 + 1, lock.parse().unwrap())
}

fn client_name(key: LockKey) -> String {
    let client = CLIENTS[key.session.0 as usize - 1];
    if key.lock.0 == 1 { client.to_owned() } else { format!("{client}/{}", key.lock) }
}

fn mode(text: &str) -> Mode {
    text.parse().unwrap()
}

fn value(words: &[&str]) -> ValueUpdate {
    match words {
        [] => ValueUpdate::Keep,
        ["write", text] => ValueUpdate::Write(ValueBlock::new(text.to_string()).unwrap()),
        ["invalidate"] => ValueUpdate::Invalidate,
        other => panic!("what is {other:?}?"),
    }
}

fn parse(line: &str) -> Command {
    let words: Vec<&str> = line.split_whitespace().collect();
    let acquire = |name, asked, patience, reentrant| {
        let (key, mode, since_unix_ms) = (client_key(name), mode(asked), 0);
        Command::Acquire(Acquire { key, mode, patience, reentrant, since_unix_ms, waiters_max: WAITERS_MAX })
    };
    let convert = |name, asked, patience, rest| {
        Command::Convert(Convert { key: client_key(name), mode: mode(asked), patience, value: value(rest) })
    };
    match words.as_slice() {
        ["admin", "revokes", name] => Command::Revoke { key: client_key(name), token: None },
        [name, "acquire", asked] => acquire(name, asked, Patience::Wait, false),
        [name, "try", asked] => acquire(name, asked, Patience::Try, false),
        [name, "reenter", asked] => acquire(name, asked, Patience::Wait, true),
        [name, "convert", asked, rest @ ..] => convert(name, asked, Patience::Wait, rest),
        [name, "try-convert", asked] => convert(name, asked, Patience::Try, &[]),
        [name, "release", rest @ ..] => Command::Release { key: client_key(name), value: value(rest) },
        [name, "cancel"] => Command::Cancel { key: client_key(name) },
        [name, "asks"] => Command::Query { key: client_key(name) },
        [name, "dies"] => Command::Purge { sessions: vec![client_key(name).session] },
        other => panic!("what is {other:?}?"),
    }
}

fn granted(grant: &Grant) -> String {
    let mut text = format!("{} has {} (token {})", client_name(grant.key), grant.mode, grant.token);
    if grant.holds > 1 {
        write!(text, ", shared by {}", grant.holds).unwrap();
    }
    if let Some(read) = grant.value.as_ref().filter(|read| !read.block.is_empty() || !read.valid) {
        let bytes = String::from_utf8_lossy(read.block.bytes());
        let flag = if read.valid { "" } else { ", not valid" };
        write!(text, ", reads {bytes:?}{flag}").unwrap();
    }
    text
}

fn run(script: &str) -> String {
    let mut resource = Resource::new(Token::ZERO);
    let mut blocked: Vec<(LockKey, Option<Mode>)> = Vec::new();
    let mut out = String::new();
    for line in script.lines() {
        if line.starts_with("    ") {
            continue; // what was said before
        }
        writeln!(out, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let applied = resource.apply(&parse(line), 0);
        let answer = match &applied.outcome {
            Outcome::Granted(grant) => granted(grant),
            Outcome::Queued(place) => match place.held {
                Some(held) => {
                    format!("{} waits behind {}, holding {held}", client_name(place.key), place.ahead)
                }
                None => format!("{} waits behind {}", client_name(place.key), place.ahead),
            },
            Outcome::Released => "released".to_owned(),
            Outcome::Cancelled => "cancelled".to_owned(),
            Outcome::Purged => "purged".to_owned(),
            Outcome::Refused(refusal) => format!("refused: {refusal}"),
        };
        writeln!(out, "    {answer}").unwrap();
        for grant in &applied.promoted {
            writeln!(out, "    {}", granted(grant)).unwrap();
        }
        let mut holders: Vec<_> =
            resource.holders().map(|holder| (holder.key, resource.blocks(holder.key))).collect();
        holders.sort_unstable_by_key(|(key, _)| *key);
        for (key, wanted) in holders.iter().filter(|now| !blocked.contains(now)) {
            if let Some(wanted) = wanted {
                writeln!(out, "    {} blocks {wanted}", client_name(*key)).unwrap();
            }
        }
        blocked = holders;
    }
    out
}

#[test]
fn the_scripts_say_what_happens() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/resource/scripts");
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 6, "the scripts are missing");
    for path in names {
        let script = std::fs::read_to_string(&path).unwrap();
        let happened = run(&script);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, happened).unwrap();
        } else {
            assert_eq!(script, happened, "{} says otherwise", path.display());
        }
    }
}
