//! The pure parts.

use dlock_core::coordinator::{Action, CommitResult, Content, Coordinator, Loaded, Rules, SessionGuard};
use dlock_core::resource::{Acquire, Command, Patience, Resource, ValueUpdate};
use dlock_core::{LockId, LockKey, Mode, SessionId, Token};
use std::hint::black_box;

const OWN: LockKey = LockKey { session: SessionId(1 << 100), lock: LockId(1) };

fn key(number: u64) -> LockKey {
    LockKey { session: SessionId(u128::from(number) + 1), lock: LockId(number + 1) }
}

fn acquire(key: LockKey, mode: Mode) -> Command {
    let (patience, reentrant, since_unix_ms, waiters_max) =
        (Patience::Wait, false, 1_700_000_000_000, 10_000);
    Command::Acquire(Acquire { key, mode, patience, reentrant, since_unix_ms, waiters_max })
}

fn release(key: LockKey) -> Command {
    Command::Release { key, value: ValueUpdate::Keep }
}

/// A resource after others have asked for it.
fn resource(others: u64, mode: Mode) -> Resource {
    let mut resource = Resource::new(Token::ZERO);
    for number in 0..others {
        resource.apply(&acquire(key(number), mode), 0);
    }
    resource
}

pub(crate) fn apply(holders: u64, count: u64) {
    let mut resource = resource(holders, Mode::ProtectedRead);
    let commands = [acquire(OWN, Mode::ProtectedRead), release(OWN)];
    for _ in 0..count {
        for command in &commands {
            assert!(black_box(resource.apply(black_box(command), 0)).changed);
        }
    }
}

pub(crate) fn hand_over(waiters: u64, count: u64) {
    let mut resource = resource(waiters + 1, Mode::Exclusive);
    let mut holder = key(0);
    for _ in 0..count {
        let released = resource.apply(&release(holder), 0);
        let next = released.promoted[0].key;
        black_box(resource.apply(&acquire(holder, Mode::Exclusive), 0));
        holder = next;
    }
}

pub(crate) fn codec(count: u64) {
    let resource = resource(1, Mode::Exclusive);
    for _ in 0..count {
        let bytes = black_box(black_box(&resource).encode());
        black_box(Resource::decode(&bytes).unwrap());
    }
}

pub(crate) fn coordinator(count: u64) {
    let mut coordinator = Coordinator::new();
    let (mut actions, mut version, mut answers) = (Vec::new(), 0, 0);
    let guard = SessionGuard { session: OWN.session, version: 1, moved: false, claims_all: true };
    for _ in 0..count {
        for command in [acquire(OWN, Mode::Exclusive), release(OWN)] {
            coordinator.submit((), command, Some(guard), &Rules::ALONE, &mut actions);
            while let Some(action) = actions.pop() {
                match action {
                    Action::Load => {
                        let absent = Loaded { version, content: Content::Absent { floor: 0 } };
                        coordinator.loaded(Ok(absent), &Rules::ALONE, &mut actions);
                    }
                    Action::Commit(commit) => {
                        black_box(commit);
                        version += 1;
                        coordinator.committed(
                            CommitResult::Committed { version },
                            &Rules::ALONE,
                            &mut actions,
                        );
                    }
                    answer => {
                        black_box(answer);
                        answers += 1;
                    }
                }
            }
        }
    }
    assert_eq!(answers, 2 * count);
}
