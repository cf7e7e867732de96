//! Messages from clients. `at` is the path of the message in its request, for errors.

use crate::fault::Fault;
use dlock_core::lease::{LeaseTerms, TTL_DEFAULT};
use dlock_core::resource::ValueUpdate;
use dlock_core::session::ClientInfo;
use dlock_core::{LockId, Mode, Namespace, ResourceId, ResourceName, SessionId, Token, ValueBlock};
use dlock_engine::{Claim, LockRef, Patience, Request, RequestId, Secret};
use dlock_proto::{v1, v1alpha1};
use std::time::Duration;

/// The lock of a call that holds one: the only lock of a session of its own.
pub(crate) const HELD_LOCK: LockId = LockId(1);

fn path(at: &str, field: &str) -> String {
    if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") }
}

pub(crate) fn namespace(text: &str, field: &str) -> Result<Namespace, Fault> {
    Namespace::new(text).map_err(|error| Fault::field(field, error))
}

pub(crate) fn resource(resource: Option<v1::Resource>, at: &str) -> Result<ResourceId, Fault> {
    optional_resource(resource, at)?
        .ok_or_else(|| Fault::field(path(at, "resource"), "is missing: name what to lock"))
}

fn optional_resource(resource: Option<v1::Resource>, at: &str) -> Result<Option<ResourceId>, Fault> {
    let Some(v1::Resource { namespace: in_namespace, name }) = resource else { return Ok(None) };
    let resource = ResourceId::new(&in_namespace, &name).map_err(|error| {
        let field = if error.concerns_namespace() { "resource.namespace" } else { "resource.name" };
        Fault::field(path(at, field), error)
    })?;
    Ok(Some(resource))
}

pub(crate) fn lock_id(id: u64, at: &str) -> Result<LockId, Fault> {
    if id == 0 {
        return Err(Fault::field(path(at, "lock_id"), "is 0: number the session's locks from 1"));
    }
    Ok(LockId(id))
}

fn mode(number: i32, at: &str) -> Result<Mode, Fault> {
    dlock_proto::mode(number, Mode::Exclusive).map_err(|error| Fault::field(path(at, "mode"), error))
}

/// The mode of a claim. One that is left out is not EX, as elsewhere: older clients don't say it.
fn claimed_mode(number: Option<i32>, at: &str) -> Result<Option<Mode>, Fault> {
    let said = number.filter(|number| *number != v1::Mode::Unspecified as i32);
    said.map(|number| mode(number, at)).transpose()
}

fn duration(
    duration: Option<prost_types::Duration>,
    at: &str,
    field: &str,
    default: Duration,
) -> Result<Duration, Fault> {
    match duration {
        Some(duration) => {
            dlock_proto::duration(&duration).map_err(|error| Fault::field(path(at, field), error))
        }
        None => Ok(default),
    }
}

fn patience(patience: Option<v1::Patience>, at: &str) -> Result<Patience, Fault> {
    use v1::patience::Limit;
    match patience.and_then(|patience| patience.limit) {
        None | Some(Limit::TryOnly(false)) => Ok(Patience::Forever),
        Some(Limit::TryOnly(true)) => Ok(Patience::Try),
        Some(Limit::WaitTimeout(timeout)) => {
            duration(Some(timeout), at, "patience.wait_timeout", Duration::ZERO).map(Patience::For)
        }
    }
}

fn value(value: Option<v1::ValueUpdate>, at: &str) -> Result<ValueUpdate, Fault> {
    use v1::value_update::Update;
    match value.and_then(|value| value.update) {
        None | Some(Update::Invalidate(false)) => Ok(ValueUpdate::Keep),
        Some(Update::Invalidate(true)) => Ok(ValueUpdate::Invalidate),
        Some(Update::Write(bytes)) => ValueBlock::new(bytes)
            .map(ValueUpdate::Write)
            .map_err(|error| Fault::field(path(at, "value.write"), error)),
    }
}

fn lock_ref(id: u64, resource: Option<v1::Resource>, at: &str) -> Result<LockRef, Fault> {
    Ok(LockRef { lock: lock_id(id, at)?, resource: optional_resource(resource, at)? })
}

pub(crate) fn acquire(acquire: v1::AcquireLock, at: &str) -> Result<Request, Fault> {
    Ok(Request::Acquire {
        lock: lock_id(acquire.lock_id, at)?,
        resource: resource(acquire.resource, at)?,
        mode: mode(acquire.mode, at)?,
        patience: patience(acquire.patience, at)?,
        reentrant: acquire.reentrant,
        report_position: acquire.report_position,
    })
}

pub(crate) fn convert(convert: v1::ConvertLock, at: &str) -> Result<Request, Fault> {
    Ok(Request::Convert {
        lock: lock_ref(convert.lock_id, convert.resource, at)?,
        mode: mode(convert.mode, at)?,
        patience: patience(convert.patience, at)?,
        value: value(convert.value, at)?,
    })
}

pub(crate) fn release(release: v1::ReleaseLock, at: &str) -> Result<Request, Fault> {
    let lock = lock_ref(release.lock_id, release.resource, at)?;
    Ok(Request::Release { lock, value: value(release.value, at)? })
}

pub(crate) fn cancel(cancel: v1::CancelLock, at: &str) -> Result<Request, Fault> {
    let lock = lock_ref(cancel.lock_id, cancel.resource, at)?;
    Ok(Request::Cancel { lock, release_if_granted: cancel.release_if_granted })
}

pub(crate) fn query(query: v1::QueryLock, at: &str) -> Result<Request, Fault> {
    Ok(Request::Query { lock: lock_ref(query.lock_id, query.resource, at)? })
}

pub(crate) fn hold(hold: v1::HoldRequest) -> Result<(Request, ClientInfo), Fault> {
    let request = Request::Acquire {
        lock: HELD_LOCK,
        resource: resource(hold.resource, "")?,
        mode: mode(hold.mode, "")?,
        patience: patience(hold.patience, "")?,
        reentrant: false,
        report_position: hold.report_position,
    };
    Ok((request, client_info(hold.client, "")?))
}

/// What the first dlock's clients ask for: EX, in the default namespace.
pub(crate) fn first_lock(first: v1alpha1::LockRequest) -> Result<Request, Fault> {
    let v1alpha1::LockRequest { key, try_lock } = first;
    let resource = ResourceId::new("", &key).map_err(|error| Fault::field("key", error))?;
    Ok(Request::Acquire {
        lock: HELD_LOCK,
        resource,
        mode: Mode::Exclusive,
        patience: if try_lock { Patience::Try } else { Patience::Forever },
        reentrant: false,
        report_position: false,
    })
}

pub(crate) fn client_info(client: Option<v1::ClientInfo>, at: &str) -> Result<ClientInfo, Fault> {
    let v1::ClientInfo { name, host, pid, version } = client.unwrap_or_default();
    ClientInfo::new(name, host, pid, version)
        .map_err(|error| Fault::field(path(at, &format!("client.{}", error.field)), error))
}

pub(crate) fn terms(open: &v1::OpenSession, at: &str) -> Result<LeaseTerms, Fault> {
    let ttl = duration(open.ttl, at, "ttl", TTL_DEFAULT)?;
    let lock_delay = duration(open.lock_delay, at, "lock_delay", Duration::ZERO)?;
    LeaseTerms::new(ttl, lock_delay).map_err(|error| {
        let field = if error.field == "lock delay" { "lock_delay" } else { "ttl" };
        Fault::field(path(at, field), error)
    })
}

pub(crate) fn session_id(text: &str, at: &str) -> Result<SessionId, Fault> {
    hexadecimal(text, || path(at, "session_id"))
}

fn hexadecimal(text: &str, field: impl FnOnce() -> String) -> Result<SessionId, Fault> {
    /// How much of a wrong one is repeated, in characters: errors travel in headers, which have to be short.
    const REPEATED: usize = 64;
    text.parse().map_err(|_| {
        let (repeated, more) = match text.char_indices().nth(REPEATED) {
            Some((at, _)) => (&text[..at], "…"),
            None => (text, ""),
        };
        let why = format!("{repeated:?}{more} is not a session's id, which has 32 hexadecimal digits");
        Fault::field(field(), why)
    })
}

/// What names begin with; empty means all.
pub(crate) fn prefix(text: &str) -> Result<&str, Fault> {
    if !text.is_empty() {
        ResourceName::new(text).map_err(|error| Fault::field("prefix", error))?;
    }
    Ok(text)
}

/// The page after the one that ended with this resource; none for the first.
pub(crate) fn resources_page(token: &str) -> Result<Option<&str>, Fault> {
    if token.is_empty() {
        return Ok(None);
    }
    ResourceName::new(token).map_err(|error| not_a_page(&error))?;
    Ok(Some(token))
}

/// The page after the one that ended with this session; none for the first.
pub(crate) fn sessions_page(token: &str) -> Result<Option<&str>, Fault> {
    if token.is_empty() {
        return Ok(None);
    }
    hexadecimal(token, || "page_token".to_owned())?;
    Ok(Some(token))
}

fn not_a_page(error: &impl std::fmt::Display) -> Fault {
    Fault::field("page_token", format!("is not one that came with a page ({error}): begin with an empty one"))
}

/// How many items a page has: 100 if 0 is asked for. The engine has the upper limit.
pub(crate) fn page_size(asked: u32) -> usize {
    /// How many items a page has if the client doesn't say.
    const DEFAULT: usize = 100;
    if asked == 0 { DEFAULT } else { asked as usize }
}

pub(crate) fn secret(bytes: &[u8], at: &str) -> Result<Secret, Fault> {
    let secret = <[u8; 16]>::try_from(bytes).map_err(|_| {
        let found = bytes.len();
        Fault::field(
            path(at, "resume_secret"),
            format!("has {found} bytes: it is the 16 bytes given at the opening"),
        )
    });
    secret.map(Secret)
}

pub(crate) fn token(number: u64, field: &str) -> Result<Token, Fault> {
    Token::from_u64(number)
        .ok_or_else(|| Fault::field(field, format!("{number} is no token: they are below 2^63")))
}

pub(crate) fn claims(claims: Vec<v1::Claim>, at: &str) -> Result<Vec<Claim>, Fault> {
    let claim = |(index, claim): (usize, v1::Claim)| {
        let at = path(at, &format!("claims[{index}]"));
        Ok(Claim {
            lock: lock_id(claim.lock_id, &at)?,
            resource: resource(claim.resource, &at)?,
            token: claim.token.map(|number| token(number, &path(&at, "token"))).transpose()?,
            mode: claimed_mode(claim.mode, &at)?,
            waiting: claim.waiting_sequence.map(RequestId),
        })
    };
    claims.into_iter().enumerate().map(claim).collect()
}
