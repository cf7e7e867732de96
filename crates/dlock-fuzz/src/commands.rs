//! Commands to a resource: the rules hold after each, whatever came before.

use arbitrary::{Arbitrary, Unstructured};
use dlock_core::resource::{Acquire, Command, Convert, Outcome, Patience, Resource, ValueUpdate};
use dlock_core::{LockId, LockKey, Mode, SessionId, Token, ValueBlock};

/// Few of each, so that they meet.
#[derive(Arbitrary)]
struct Key {
    session: u8,
    lock: u8,
}

impl Key {
    fn key(&self) -> LockKey {
        LockKey { session: SessionId((self.session % 5).into()), lock: LockId((self.lock % 7).into()) }
    }
}

#[derive(Arbitrary)]
enum Value {
    Keep,
    Write(u8),
    Invalidate,
}

impl Value {
    fn update(&self) -> ValueUpdate {
        match self {
            Value::Keep => ValueUpdate::Keep,
            Value::Write(byte) => ValueUpdate::Write(ValueBlock::new(vec![*byte]).unwrap()),
            Value::Invalidate => ValueUpdate::Invalidate,
        }
    }
}

#[derive(Arbitrary)]
enum Step {
    Acquire {
        key: Key,
        mode: u8,
        wait: bool,
        reentrant: bool,
        few_waiters: bool,
    },
    Convert {
        key: Key,
        mode: u8,
        wait: bool,
        value: Value,
    },
    Release {
        key: Key,
        value: Value,
    },
    Cancel {
        key: Key,
    },
    Revoke {
        key: Key,
        token: Option<u8>,
    },
    Purge {
        sessions: Vec<u8>,
    },
    Query {
        key: Key,
    },
    /// It is stored, and read again.
    Store,
}

fn mode(number: u8) -> Mode {
    Mode::ALL[usize::from(number) % Mode::ALL.len()]
}

fn patience(wait: bool) -> Patience {
    if wait { Patience::Wait } else { Patience::Try }
}

impl Step {
    fn command(&self) -> Option<Command> {
        Some(match self {
            Step::Acquire { key, mode: number, wait, reentrant, few_waiters } => Command::Acquire(Acquire {
                key: key.key(),
                mode: mode(*number),
                patience: patience(*wait),
                reentrant: *reentrant,
                since_unix_ms: 0,
                waiters_max: if *few_waiters { 2 } else { 1000 },
            }),
            Step::Convert { key, mode: number, wait, value } => Command::Convert(Convert {
                key: key.key(),
                mode: mode(*number),
                patience: patience(*wait),
                value: value.update(),
            }),
            Step::Release { key, value } => Command::Release { key: key.key(), value: value.update() },
            Step::Cancel { key } => Command::Cancel { key: key.key() },
            Step::Revoke { key, token } => Command::Revoke {
                key: key.key(),
                token: token.and_then(|token| Token::from_u64(token.into())),
            },
            Step::Purge { sessions } => {
                let sessions = sessions.iter().map(|session| SessionId((session % 5).into())).collect();
                Command::Purge { sessions }
            }
            Step::Query { key } => Command::Query { key: key.key() },
            Step::Store => return None,
        })
    }
}

/// As many steps as the bytes say.
pub(crate) fn run(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let mut resource = Resource::new(Token::ZERO);
    while !data.is_empty() {
        let Ok(step) = Step::arbitrary(&mut data) else { return };
        match step.command() {
            Some(command) => apply(&mut resource, &command),
            None => {
                let read = Resource::decode(&resource.encode()).unwrap();
                assert_eq!(read, resource);
                resource = read;
            }
        }
    }
}

fn apply(resource: &mut Resource, command: &Command) {
    let (before, last_token) = (resource.clone(), resource.last_token());
    let applied = resource.apply(command, 0);
    resource.assert_invariants();
    assert_eq!(
        applied.changed,
        before != *resource,
        "a change that is not said, or one that is none: {command:?}"
    );
    let held: Vec<Mode> = resource.holders().map(|holder| holder.mode).collect();
    for (index, one) in held.iter().enumerate() {
        let conflicting = held[index + 1..].iter().find(|other| !one.compatible(**other));
        assert!(conflicting.is_none(), "{one} and {conflicting:?} are held");
    }
    for grant in &applied.promoted {
        assert!(grant.token > last_token, "a token that is not new");
    }
    assert!(resource.last_token() >= last_token, "tokens don't fall");
    if let Outcome::Refused(_) = applied.outcome {
        assert!(!applied.changed, "refused, and changed something: {command:?}");
    }
    let again = resource.apply(command, 0);
    assert!(!again.changed, "the same twice has another effect: {command:?}");
}
