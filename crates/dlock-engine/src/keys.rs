//! Where each record lives in the store.
//!
//! | key | record |
//! | --- | --- |
//! | `r/<namespace>/<name>` | a resource |
//! | `s/<session id>` | a session |
//! | `m/<member id>` | a member |
//! | `v/<session id>` | a session on its way from homes that may have granted it locks from memory |
//! | `meta` | the store itself |

use dlock_core::{MemberId, Namespace, ResourceId, SessionId};
use dlock_store::Key;
use std::sync::Arc;

/// All resources begin with this.
pub(crate) const RESOURCES: &str = ResourceId::PATHS;
/// All sessions begin with this.
pub(crate) const SESSIONS: &str = "s/";
/// All members begin with this.
pub(crate) const MEMBERS: &str = "m/";

/// All sessions on their way begin with this.
pub(crate) const MOVING: &str = "v/";

/// The types that keys are made of see to that.
const BOUNDED: &str = "names and ids are far shorter than a key may be";

fn key(text: &str) -> Key {
    Key::new(text).expect(BOUNDED)
}

pub(crate) fn meta() -> Key {
    key("meta")
}

pub(crate) fn resource(resource: &ResourceId) -> Key {
    Key::shared(Arc::clone(resource.path())).expect(BOUNDED)
}

/// What the keys of a namespace's resources begin with, whose names begin with `prefix`.
pub(crate) fn resources(namespace: &Namespace, prefix: &str) -> String {
    format!("{RESOURCES}{namespace}/{prefix}")
}

pub(crate) fn session(session: SessionId) -> Key {
    key(&format!("{SESSIONS}{session}"))
}

pub(crate) fn member(member: MemberId) -> Key {
    key(&format!("{MEMBERS}{member}"))
}

pub(crate) fn moving(session: SessionId) -> Key {
    key(&format!("{MOVING}{session}"))
}

/// The resource that a key is about.
pub(crate) fn parse_resource(key: &Key) -> Option<ResourceId> {
    ResourceId::from_path(key.text())
}

pub(crate) fn parse_session(key: &Key) -> Option<SessionId> {
    key.as_str().strip_prefix(SESSIONS)?.parse().ok()
}

pub(crate) fn parse_moving(key: &Key) -> Option<SessionId> {
    key.as_str().strip_prefix(MOVING)?.parse().ok()
}

pub(crate) fn parse_member(key: &Key) -> Option<MemberId> {
    key.as_str().strip_prefix(MEMBERS)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_from_its_key() {
        for name in ["a", "a/b//c", "größe 📦", " %2F:*", &"x".repeat(1024)] {
            let id = ResourceId::new("team-a", name).unwrap();
            assert_eq!(parse_resource(&resource(&id)), Some(id));
        }
        assert_eq!(parse_session(&session(SessionId(7))), Some(SessionId(7)));
        assert_eq!(parse_member(&member(MemberId(9))), Some(MemberId(9)));
        assert_eq!(parse_moving(&moving(SessionId(7))), Some(SessionId(7)));
        assert_eq!(parse_session(&moving(SessionId(7))), None);
        assert_eq!(parse_resource(&meta()), None);
    }
}
