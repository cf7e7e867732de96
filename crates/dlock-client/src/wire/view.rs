//! What the service shows.

use crate::{
    ClientInfo, Error, HolderInfo, LockAddress, LossReason, MemberInfo, QueuedInfo, ResourceEvent,
    ResourceInfo, ServerInfo, SessionInfo,
};
use dlock_core::{Epoch, LockId, Mode, ResourceId, Token, ValueBlock, ValueRead};
use dlock_proto::{duration, v1};
use dlock_runtime::ProcessUsage;
use std::str::FromStr;
use std::time::Duration;

/// A resource's name, as it is sent.
pub(crate) fn resource_to_proto(resource: &ResourceId) -> v1::Resource {
    v1::Resource { namespace: resource.namespace().to_owned(), name: resource.name().to_owned() }
}

/// A mode that must be there.
pub(crate) fn mode(number: i32) -> Result<Mode, Error> {
    dlock_proto::named_mode(number).map_err(|error| Error::protocol(error.to_string()))
}

/// A token within its bounds.
pub(crate) fn token(number: u64) -> Result<Token, Error> {
    Token::from_u64(number).ok_or_else(|| Error::protocol(format!("{number} is no fencing token")))
}

/// A value block as it was read.
pub(crate) fn value_read(value: v1::ValueBlock) -> Result<ValueRead, Error> {
    let block = ValueBlock::new(value.data).map_err(|error| Error::protocol(error.to_string()))?;
    Ok(ValueRead { block, valid: value.valid })
}

/// Why a session is over.
pub(crate) fn end_reason_to_loss(reason: v1::EndReason) -> LossReason {
    match reason {
        v1::EndReason::Expired => LossReason::Expired,
        v1::EndReason::Closed => LossReason::Closed,
        v1::EndReason::Revoked => LossReason::Ended,
        v1::EndReason::Unspecified => LossReason::Unknown,
    }
}

fn id<T: FromStr>(text: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Error::protocol(error.to_string()))
}

pub(crate) fn resource_id(resource: Option<v1::Resource>) -> Result<ResourceId, Error> {
    let resource = resource.ok_or_else(|| Error::protocol("a resource's name is missing"))?;
    ResourceId::new(&resource.namespace, &resource.name).map_err(|error| Error::protocol(error.to_string()))
}

fn address(address: Option<v1::LockAddress>) -> Result<LockAddress, Error> {
    let address = address.ok_or_else(|| Error::protocol("a lock's address is missing"))?;
    Ok(LockAddress { session: id(&address.session_id)?, lock: LockId(address.lock_id) })
}

fn client(client: v1::ClientInfo) -> ClientInfo {
    ClientInfo { name: client.name, host: client.host, process_id: client.pid, version: client.version }
}

/// Milliseconds of Unix time; 0 where the time is missing or before 1970.
fn unix_ms(time: Option<prost_types::Timestamp>) -> u64 {
    let Some(time) = time else { return 0 };
    let (seconds, nanos) = (u64::try_from(time.seconds).unwrap_or(0), u64::try_from(time.nanos).unwrap_or(0));
    seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
}

fn time(field: Option<prost_types::Duration>) -> Result<Duration, Error> {
    let Some(field) = field else { return Ok(Duration::ZERO) };
    duration(&field).map_err(|error| Error::protocol(error.to_string()))
}

/// A resource.
pub(crate) fn resource(info: Option<v1::ResourceInfo>) -> Result<ResourceInfo, Error> {
    let info = info.ok_or_else(|| Error::protocol("the resource is missing"))?;
    Ok(ResourceInfo {
        resource: resource_id(info.resource)?,
        version: info.version,
        last_token: token(info.last_token)?,
        value: value_read(info.value.unwrap_or_default())?,
        holders: info.holders.into_iter().map(holder).collect::<Result<_, _>>()?,
        queue: info.queue.into_iter().map(queued).collect::<Result<_, _>>()?,
        mastered_by: Some(info.mastered_by)
            .filter(|text| !text.is_empty())
            .map(|text| id(&text))
            .transpose()?,
    })
}

fn holder(info: v1::HolderInfo) -> Result<HolderInfo, Error> {
    Ok(HolderInfo {
        lock: address(info.lock)?,
        mode: mode(info.mode)?,
        token: token(info.token)?,
        holds: info.holds,
        since_unix_ms: unix_ms(info.since),
        client: info.client.map(client),
    })
}

fn queued(info: v1::QueuedInfo) -> Result<QueuedInfo, Error> {
    Ok(QueuedInfo {
        lock: address(info.lock)?,
        mode: mode(info.mode)?,
        held: info.held.map(mode).transpose()?,
        since_unix_ms: unix_ms(info.since),
        blocked_by: info.blocked_by.into_iter().map(|lock| address(Some(lock))).collect::<Result<_, _>>()?,
        client: info.client.map(client),
    })
}

/// A session.
pub(crate) fn session(info: v1::SessionInfo) -> Result<SessionInfo, Error> {
    let ended = match info.ended() {
        v1::EndReason::Unspecified => None,
        reason => Some(end_reason_to_loss(reason)),
    };
    Ok(SessionInfo {
        session: id(&info.session_id)?,
        home: id(&info.member_id)?,
        epoch: Epoch(info.epoch),
        ttl: time(info.ttl)?,
        lock_delay: time(info.lock_delay)?,
        principal: info.principal,
        client: client(info.client.unwrap_or_default()),
        opened_unix_ms: unix_ms(info.opened),
        active: ended.is_none(),
        ended,
        locks: info.locks,
    })
}

/// A server among its peers.
pub(crate) fn member(info: v1::MemberInfo) -> Result<MemberInfo, Error> {
    Ok(MemberInfo {
        member: id(&info.member_id)?,
        address: info.address,
        version: info.version,
        started_unix_ms: unix_ms(info.started),
        this: info.this_member,
        dead: info.dead,
    })
}

/// The server that answered.
pub(crate) fn server(info: v1::GetServerInfoResponse) -> Result<ServerInfo, Error> {
    Ok(ServerInfo {
        member: id(&info.member_id)?,
        version: info.version,
        store: info.store,
        store_place: info.store_place,
        caveats: info.caveats,
        serving: info.serving,
        draining: info.draining,
        conditions: info.conditions,
        tasks: info.tasks,
        process: info.process.map(process).transpose()?,
    })
}

fn process(info: v1::ProcessInfo) -> Result<ProcessUsage, Error> {
    Ok(ProcessUsage {
        cpu: time(info.cpu_time)?,
        resident_bytes: info.resident_bytes,
        resident_bytes_peak: info.resident_bytes_peak,
    })
}

/// A change; nothing for one of a newer protocol.
pub(crate) fn resource_event(response: v1::WatchResourcesResponse) -> Result<Option<ResourceEvent>, Error> {
    use v1::watch_resources_response::Event;
    Ok(Some(match response.event {
        Some(Event::Changed(info)) => ResourceEvent::Changed(resource(Some(info))?),
        Some(Event::Removed(name)) => ResourceEvent::Removed(resource_id(Some(name))?),
        Some(Event::SnapshotDone(_)) => ResourceEvent::SnapshotDone,
        Some(Event::Resynchronising(_)) => ResourceEvent::Resync,
        None => return Ok(None),
    }))
}
