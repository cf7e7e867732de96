//! Resources in the states that are measured, and commands for them.

use dlock_core::resource::{Acquire, Command, Convert, Patience, Resource, ValueUpdate};
use dlock_core::{LockId, LockKey, Mode, SessionId, Token};

/// The session whose commands are measured.
pub(crate) const OWN: LockKey = LockKey { session: SessionId(1 << 100), lock: LockId(1) };

fn other(number: u64) -> LockKey {
    LockKey { session: SessionId(u128::from(number) + 1), lock: LockId(number + 1) }
}

pub(crate) fn acquire(key: LockKey, mode: Mode, patience: Patience) -> Command {
    let (reentrant, since_unix_ms, waiters_max) = (false, 1_700_000_000_000, u32::MAX);
    Command::Acquire(Acquire { key, mode, patience, reentrant, since_unix_ms, waiters_max })
}

pub(crate) fn release(key: LockKey) -> Command {
    Command::Release { key, value: ValueUpdate::Keep }
}

pub(crate) fn convert(key: LockKey, mode: Mode) -> Command {
    Command::Convert(Convert { key, mode, patience: Patience::Wait, value: ValueUpdate::Keep })
}

/// One that so many others hold.
pub(crate) fn held_by(holders: u64, mode: Mode) -> Resource {
    let mut resource = Resource::new(Token::ZERO);
    for number in 0..holders {
        resource.apply(&acquire(other(number), mode, Patience::Wait), 0);
    }
    assert_eq!(resource.holders().count() as u64, holders);
    resource
}

/// One that another holds, and that so many others want, all EX.
pub(crate) fn waited_for_by(waiters: u64) -> Resource {
    let mut resource = Resource::new(Token::ZERO);
    for number in 0..=waiters {
        resource.apply(&acquire(other(number), Mode::Exclusive, Patience::Wait), 0);
    }
    assert_eq!(resource.queue().count() as u64, waiters);
    resource
}
