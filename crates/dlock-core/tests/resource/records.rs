//! Records: any bytes are read or refused, never a panic; and what was once written is read for ever.

use dlock_core::record::{MemberRecord, RecordError, StoreRecord};
use dlock_core::resource::{Acquire, Command, Patience, Resource};
use dlock_core::session::SessionRecord;
use dlock_core::{LockId, LockKey, Mode, SessionId, Token, ValueBlock};
use proptest::prelude::*;

fn sample() -> Resource {
    let mut resource = Resource::new(Token::from_u64(4).unwrap());
    let ask = |session, lock, mode, reentrant| {
        let key = LockKey { session: SessionId(session), lock: LockId(lock) };
        let (patience, since_unix_ms, waiters_max) = (Patience::Wait, 7, 10);
        Command::Acquire(Acquire { key, mode, patience, reentrant, since_unix_ms, waiters_max })
    };
    resource.apply(&ask(1, 1, Mode::Exclusive, false), 0);
    let value = dlock_core::resource::ValueUpdate::Write(ValueBlock::new(&b"v"[..]).unwrap());
    let key = LockKey { session: SessionId(1), lock: LockId(1) };
    let (mode, patience) = (Mode::ProtectedRead, Patience::Wait);
    resource.apply(&Command::Convert(dlock_core::resource::Convert { key, mode, patience, value }), 0);
    resource.apply(&ask(1, 2, Mode::ConcurrentRead, true), 0);
    resource.apply(&ask(2, 1, Mode::ProtectedRead, false), 0);
    let up =
        dlock_core::resource::Convert { key, mode: Mode::Exclusive, patience, value: Default::default() };
    resource.apply(&Command::Convert(up), 0);
    resource.apply(&ask(3, 9, Mode::ConcurrentWrite, false), 0);
    resource
}

#[test]
fn a_resource_keeps_its_bytes() {
    let bytes = sample().encode();
    assert_eq!(Resource::decode(&bytes).unwrap().encode(), bytes);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        text,
        include_str!("resource.hex").trim(),
        "the stored form has changed: old records must stay readable"
    );
}

#[test]
fn impossible_records_are_corrupt() {
    let bytes = sample().encode();
    assert!(matches!(Resource::decode(&[3]), Err(RecordError::Newer { found: 3 })));
    assert_eq!(Resource::decode(&[]), Err(RecordError::Empty));
    // The same holder twice.
    let holder = &bytes[3..];
    let length = usize::from(holder[1]) + 2;
    let twice = [&bytes[..3], &holder[..length], holder].concat();
    assert!(matches!(Resource::decode(&twice), Err(RecordError::Corrupt { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0..3u8) {
        let framed = [&[version][..], &bytes].concat();
        for input in [&bytes, &framed] {
            if let Ok(resource) = Resource::decode(input) {
                resource.assert_invariants();
            }
            drop((SessionRecord::decode(input), MemberRecord::decode(input), StoreRecord::decode(input)));
        }
    }

    #[test]
    fn damaged_records_are_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = sample().encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(mut resource) = Resource::decode(&bytes) {
            resource.assert_invariants();
            let sessions = vec![SessionId(1), SessionId(2), SessionId(3)];
            resource.apply(&Command::Purge { sessions }, 0);
        }
    }
}
