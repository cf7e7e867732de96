//! The session stream's messages, by way of the generated ones.

use super::Fault;
use super::view::{end_reason_to_loss, mode, resource_id, resource_to_proto, token, value_read};
use crate::session::message::{
    Claim, ClaimState, Grant, Incoming, Limits, LinkError, RequestId, Secret, Terms,
};
use crate::{Error, LossReason};
use dlock_core::lease::LeaseTerms;
use dlock_core::session::CLIENT_TEXT_BYTES_MAX;
use dlock_core::{Epoch, LockId, SessionId};
use dlock_proto::v1::client_message::Body as Said;
use dlock_proto::v1::server_message::Body as Heard;
use dlock_proto::v1::{self, ClientMessage, ServerMessage};
use dlock_proto::{duration, duration_to_proto, mode_to_proto};
use std::time::Duration;

/// What is kept within where a server states no limit.
const LIMITS_UNSTATED: Limits =
    Limits { requests_in_flight_max: 1024, frame_bytes_max: 64 * 1024, unread_frames_max: 16 };

/// Who the client says it is.
#[derive(Clone, Debug)]
pub(crate) struct ClientIdentity(v1::ClientInfo);

impl ClientIdentity {
    /// This process, on this machine.
    pub(crate) fn new(name: &str) -> ClientIdentity {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        ClientIdentity(v1::ClientInfo {
            name: presentable(name),
            host: presentable(&host),
            pid: std::process::id(),
            version: concat!("dlock-client ", env!("CARGO_PKG_VERSION")).to_owned(),
        })
    }
}

/// The text without control characters, cut to what is allowed.
fn presentable(text: &str) -> String {
    let mut bytes = 0;
    let fits = |c: &char| {
        bytes += c.len_utf8();
        bytes <= CLIENT_TEXT_BYTES_MAX
    };
    text.chars().filter(|c| !c.is_control()).take_while(fits).collect()
}

/// The first message on a link: a new session.
pub(super) fn open_to_proto(ttl: Duration, lock_delay: Duration, identity: &ClientIdentity) -> ClientMessage {
    let open = v1::OpenSession {
        ttl: Some(duration_to_proto(ttl)),
        lock_delay: Some(duration_to_proto(lock_delay)),
        client: Some(identity.0.clone()),
    };
    ClientMessage { sequence: 0, body: Some(Said::Open(open)) }
}

/// The first message on a link: the session goes on here.
pub(super) fn attach_to_proto(
    session: SessionId,
    secret: &Secret,
    attempt: u64,
    last_request: RequestId,
    claims: &[Claim],
) -> ClientMessage {
    let resume = v1::ResumeSession {
        session_id: session.to_string(),
        resume_secret: secret.0.clone(),
        attempt,
        last_sequence: last_request.0,
        claims: claims.iter().map(claim_to_proto).collect(),
    };
    ClientMessage { sequence: 0, body: Some(Said::Resume(resume)) }
}

pub(super) fn claim_to_proto(claim: &Claim) -> v1::Claim {
    v1::Claim {
        lock_id: claim.lock.0,
        resource: Some(resource_to_proto(&claim.resource)),
        token: claim.token.map(|token| token.get()),
        mode: claim.mode.map(|mode| mode_to_proto(mode) as i32),
        waiting_sequence: claim.waiting.map(|request| request.0),
    }
}

/// What a message says; nothing if it is of a newer protocol.
///
/// # Errors
/// [`Error::Protocol`] for what the protocol does not allow.
pub(super) fn decode_message(message: ServerMessage) -> Result<Option<Incoming>, Error> {
    let request = RequestId(message.sequence);
    let Some(body) = message.body else { return Ok(None) };
    Ok(Some(match body {
        Heard::Opened(opened) => Incoming::Opened {
            session: opened
                .session_id
                .parse()
                .map_err(|error| Error::protocol(format!("session id: {error}")))?,
            secret: Secret(opened.resume_secret),
            terms: decode_terms(opened.terms)?,
        },
        Heard::Resumed(resumed) => Incoming::Attached {
            terms: decode_terms(resumed.terms)?,
            claims: resumed.results.into_iter().map(decode_claim).collect::<Result<_, _>>()?,
        },
        Heard::Heartbeat(ack) => Incoming::HeartbeatAck { epoch: Epoch(ack.epoch), nonce: ack.nonce },
        Heard::Queued(queued) => Incoming::Queued { request, ahead: queued.ahead },
        Heard::Granted(granted) => Incoming::Granted { request, grant: decode_grant(granted)? },
        Heard::Released(_) => Incoming::Released { request },
        Heard::Cancelled(_) => Incoming::Cancelled { request },
        Heard::Failed(failure) if request == RequestId(0) => {
            Incoming::Refused(LinkError::from(Fault::from(failure)))
        }
        Heard::Failed(failure) => Incoming::Failed { request, error: Fault::from(failure).into() },
        Heard::Blocking(blocking) => {
            let resource = blocking.resource.map(|resource| resource_id(Some(resource))).transpose()?;
            Incoming::Blocking { lock: LockId(blocking.lock_id), wanted: mode(blocking.wanted)?, resource }
        }
        Heard::Lost(lost) => {
            let reason = match lost.reason() {
                v1::LossReason::Expired => LossReason::Expired,
                v1::LossReason::Revoked | v1::LossReason::Unspecified => LossReason::Revoked,
            };
            Incoming::Lost { lock: LockId(lost.lock_id), reason }
        }
        Heard::Ended(ended) => Incoming::Ended { reason: end_reason_to_loss(ended.reason()) },
        Heard::Moved(_) => Incoming::Detached,
        Heard::MoveAway(away) => Incoming::Draining { peers: decode_peers(&away.endpoints) },
    }))
}

fn decode_terms(terms: Option<v1::SessionTerms>) -> Result<Terms, Error> {
    let terms = terms.ok_or_else(|| Error::protocol("the session's terms are missing"))?;
    let time = |field: Option<prost_types::Duration>| -> Result<Duration, Error> {
        let field = field.ok_or_else(|| Error::protocol("the session's times are missing"))?;
        duration(&field).map_err(|error| Error::protocol(error.to_string()))
    };
    // One of no time to live would keep the session's timer busy for ever.
    let lease = LeaseTerms::new(time(terms.ttl)?, time(terms.lock_delay)?)
        .map_err(|error| Error::protocol(format!("the session's terms: {error}")))?;
    let stated = terms.limits.unwrap_or_default();
    let or = |stated: u32, unstated: usize| if stated == 0 { unstated } else { stated as usize };
    Ok(Terms {
        epoch: Epoch(terms.epoch),
        ttl: lease.ttl(),
        lock_delay: lease.lock_delay(),
        limits: Limits {
            requests_in_flight_max: or(stated.requests_in_flight_max, LIMITS_UNSTATED.requests_in_flight_max),
            frame_bytes_max: or(stated.frame_bytes_max, LIMITS_UNSTATED.frame_bytes_max),
            unread_frames_max: match stated.unread_frames_max {
                0 => LIMITS_UNSTATED.unread_frames_max,
                stated => u64::from(stated),
            },
        },
        peers: decode_peers(&terms.endpoints),
    })
}

/// The servers whose addresses make sense: one that does not is of no use, and no reason to do without the others.
fn decode_peers(endpoints: &[String]) -> Vec<crate::Endpoint> {
    endpoints.iter().filter_map(|endpoint| endpoint.parse().ok()).collect()
}

fn decode_claim(result: v1::ClaimResult) -> Result<(LockId, ClaimState), Error> {
    use v1::claim_result::State;
    let state = match result.state {
        Some(State::Granted(granted)) => ClaimState::Held(decode_grant(granted)?),
        Some(State::Queued(_)) => ClaimState::Queued,
        Some(State::Absent(_)) => ClaimState::Absent,
        Some(State::Unknown(_)) | None => ClaimState::Unknown,
    };
    Ok((LockId(result.lock_id), state))
}

fn decode_grant(granted: v1::LockGranted) -> Result<Grant, Error> {
    Ok(Grant {
        mode: mode(granted.mode)?,
        token: token(granted.token)?,
        holds: granted.holds,
        value: granted.value.map(value_read).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_about_the_client_are_made_presentable() {
        assert_eq!(presentable("a\nb"), "ab");
        assert_eq!(presentable(&"ö".repeat(200)).len(), 256);
    }
}
