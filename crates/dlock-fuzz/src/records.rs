//! Stored records: read or refused; what is read is sound, and written is read again as the same.

use dlock_core::SessionId;
use dlock_core::record::{MemberRecord, MovingRecord, StoreRecord};
use dlock_core::resource::{Command, Resource};
use dlock_core::session::{EndReason, SessionRecord};

/// The first byte says of which kind the record is.
pub(crate) fn run(data: &[u8]) {
    let Some((kind, record)) = data.split_first() else { return };
    match kind % 5 {
        0 => resource(record),
        1 => session(record),
        2 => {
            if let Ok(member) = MemberRecord::decode(record) {
                assert_eq!(MemberRecord::decode(&member.encode()), Ok(member));
            }
        }
        3 => {
            if let Ok(store) = StoreRecord::decode(record) {
                assert_eq!(StoreRecord::decode(&store.encode()), Ok(store));
            }
        }
        _ => {
            if let Ok(moving) = MovingRecord::decode(record) {
                assert_eq!(MovingRecord::decode(&moving.encode()), Ok(moving));
            }
        }
    }
}

fn resource(record: &[u8]) {
    let Ok(mut resource) = Resource::decode(record) else { return };
    resource.assert_invariants();
    assert_eq!(Resource::decode(&resource.encode()), Ok(resource.clone()));
    if let Some(recovered) = resource.recovered() {
        // What else it says, only its master may act on.
        recovered.assert_invariants();
        assert_eq!(Resource::decode(&recovered.encode()), Ok(recovered));
        return;
    }
    let last_token = resource.last_token();
    let sessions: Vec<SessionId> = resource.sessions().collect();
    resource.apply(&Command::Purge { sessions }, 0);
    resource.assert_invariants();
    assert!(resource.holders().next().is_none() && resource.queued_modes().is_empty(), "nobody is left");
    assert!(resource.last_token() >= last_token, "tokens don't fall");
}

fn session(record: &[u8]) {
    let Ok(session) = SessionRecord::decode(record) else { return };
    assert_eq!(SessionRecord::decode(&session.encode()), Ok(session.clone()));
    if let Ok(attached) = session.attach(session.owner, 0) {
        assert!(attached.epoch > session.epoch, "epochs grow");
        assert_eq!(SessionRecord::decode(&attached.encode()), Ok(attached));
    }
    if let Ok(ended) = session.end(EndReason::Expired) {
        assert_eq!(SessionRecord::decode(&ended.encode()), Ok(ended));
    }
}

/// The first byte says of which store.
pub(crate) fn envelopes(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    match kind % 2 {
        0 => dlock_backend_nats::fuzzing::read(payload),
        _ => dlock_backend_redis::fuzzing::read(payload),
    }
}
