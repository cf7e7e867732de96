//! What is shown to people.

use super::outgoing::end_reason;
use dlock_core::session::{ClientInfo, SessionState};
use dlock_core::{LockKey, ResourceId};
use dlock_engine::{MemberView, ResourceEvent, ResourceView, SessionView};
use dlock_proto::v1::{self, watch_resources_response::Event};
use dlock_proto::{duration_to_proto, mode_to_proto};
use dlock_runtime::ProcessUsage;

fn timestamp(unix_ms: u64) -> prost_types::Timestamp {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    prost_types::Timestamp { seconds, nanos: (unix_ms % 1000) as i32 * 1_000_000 }
}

fn address(key: LockKey) -> v1::LockAddress {
    v1::LockAddress { session_id: key.session.to_string(), lock_id: key.lock.0 }
}

fn client(client: ClientInfo) -> v1::ClientInfo {
    v1::ClientInfo {
        name: client.name().to_owned(),
        host: client.host().to_owned(),
        pid: client.pid(),
        version: client.version().to_owned(),
    }
}

pub(crate) fn resource_ref(resource: &ResourceId) -> v1::Resource {
    v1::Resource { namespace: resource.namespace().to_owned(), name: resource.name().to_owned() }
}

pub(crate) fn resource_info(view: ResourceView) -> v1::ResourceInfo {
    let holders = view.holders.into_iter().map(|holder| v1::HolderInfo {
        lock: Some(address(holder.key)),
        mode: mode_to_proto(holder.mode) as i32,
        token: holder.token.get(),
        holds: holder.holds,
        since: Some(timestamp(holder.since_unix_ms)),
        client: holder.client.map(client),
    });
    let queue = view.queue.into_iter().map(|entry| v1::QueuedInfo {
        lock: Some(address(entry.key)),
        mode: mode_to_proto(entry.mode) as i32,
        held: entry.held.map(|mode| mode_to_proto(mode) as i32),
        since: Some(timestamp(entry.since_unix_ms)),
        blocked_by: entry.blocked_by.into_iter().map(address).collect(),
        client: entry.client.map(client),
    });
    v1::ResourceInfo {
        resource: Some(resource_ref(&view.resource)),
        version: view.version,
        last_token: view.last_token.get(),
        value: Some(v1::ValueBlock { data: view.value.block.into_bytes(), valid: view.value.valid }),
        holders: holders.collect(),
        queue: queue.collect(),
        mastered_by: view.mastered_by.map_or_else(String::new, |member| member.to_string()),
    }
}

pub(crate) fn session_info(view: SessionView) -> v1::SessionInfo {
    let ended = match view.state {
        SessionState::Active => v1::EndReason::Unspecified,
        SessionState::Ended(reason) => end_reason(reason),
    };
    v1::SessionInfo {
        session_id: view.session.to_string(),
        member_id: view.owner.to_string(),
        epoch: view.epoch.0,
        ttl: Some(duration_to_proto(view.terms.ttl())),
        lock_delay: Some(duration_to_proto(view.terms.lock_delay())),
        principal: view.principal,
        client: Some(client(view.client)),
        opened: Some(timestamp(view.opened_unix_ms)),
        ended: ended as i32,
        locks: view.locks.map(|locks| locks as u64),
    }
}

pub(crate) fn member_info(view: MemberView) -> v1::MemberInfo {
    v1::MemberInfo {
        member_id: view.member.to_string(),
        address: view.address,
        version: view.version,
        started: Some(timestamp(view.started_unix_ms)),
        this_member: view.this,
        dead: view.dead,
    }
}

pub(crate) fn process_info(usage: ProcessUsage) -> v1::ProcessInfo {
    v1::ProcessInfo {
        cpu_time: Some(duration_to_proto(usage.cpu)),
        resident_bytes: usage.resident_bytes,
        resident_bytes_peak: usage.resident_bytes_peak,
    }
}

pub(crate) fn resource_event(event: ResourceEvent) -> v1::WatchResourcesResponse {
    let event = match event {
        ResourceEvent::Changed(view) => Event::Changed(resource_info(view)),
        ResourceEvent::Removed(resource) => Event::Removed(resource_ref(&resource)),
        ResourceEvent::SnapshotDone => Event::SnapshotDone(v1::SnapshotDone {}),
        ResourceEvent::Resync => Event::Resynchronising(v1::Resynchronising {}),
    };
    v1::WatchResourcesResponse { event: Some(event) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlock_core::{MemberId, Token, ValueRead};

    #[test]
    fn the_server_that_masters_a_resource_is_named_like_any_other_and_left_out_where_there_is_none() {
        let view = |mastered_by| ResourceView {
            resource: ResourceId::new("", "r").unwrap(),
            version: 1,
            last_token: Token::ZERO,
            value: ValueRead::default(),
            mastered_by,
            holders: Vec::new(),
            queue: Vec::new(),
        };
        assert_eq!(resource_info(view(None)).mastered_by, "");
        assert_eq!(resource_info(view(Some(MemberId(0xab)))).mastered_by, format!("{:032x}", 0xab));
    }
}
