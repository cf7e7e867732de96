//! The session stream's frames.

use super::Fault;
use super::view::{end_reason_to_loss, mode, resource_id, resource_to_proto, token, value_read};
use crate::session::message::{
    Claim, ClaimState, Frame, Grant, Incoming, Limits, LinkError, Outgoing, Patience, Request, RequestId,
    Secret, Terms,
};
use crate::{Error, LossReason};
use dlock_core::lease::LeaseTerms;
use dlock_core::resource::ValueUpdate;
use dlock_core::session::CLIENT_TEXT_BYTES_MAX;
use dlock_core::{Epoch, LockId, ResourceId};
use dlock_proto::v1::client_message::Body as Said;
use dlock_proto::v1::server_message::Body as Heard;
use dlock_proto::v1::{self, ClientMessage, ServerMessage, SessionRequest, SessionResponse};
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

/// A frame for the wire.
pub(crate) fn encode(frame: Frame, identity: &ClientIdentity) -> SessionRequest {
    let messages = frame.messages.into_iter().map(|message| encode_message(message, identity)).collect();
    SessionRequest { received_frames: frame.received, messages }
}

fn encode_message(message: Outgoing, identity: &ClientIdentity) -> ClientMessage {
    let (sequence, body) = match message {
        Outgoing::Open { ttl, lock_delay } => {
            let client = Some(identity.0.clone());
            let (ttl, lock_delay) = (Some(duration_to_proto(ttl)), Some(duration_to_proto(lock_delay)));
            (0, Said::Open(v1::OpenSession { ttl, lock_delay, client }))
        }
        Outgoing::Attach { session, secret, attempt, last_request, claims } => {
            let resume = v1::ResumeSession {
                session_id: session.to_string(),
                resume_secret: secret.0,
                attempt,
                last_sequence: last_request.0,
                claims: claims.into_iter().map(encode_claim).collect(),
            };
            (0, Said::Resume(resume))
        }
        Outgoing::Heartbeat { epoch, nonce } => (0, Said::Heartbeat(v1::Heartbeat { epoch: epoch.0, nonce })),
        Outgoing::Request(id, request) => (id.0, encode_request(request)),
        Outgoing::Close(id) => (id.0, Said::Close(v1::CloseSession {})),
    };
    ClientMessage { sequence, body: Some(body) }
}

fn encode_claim(claim: Claim) -> v1::Claim {
    v1::Claim {
        lock_id: claim.lock.0,
        resource: Some(resource_to_proto(&claim.resource)),
        token: claim.token.map(|token| token.get()),
        waiting_sequence: claim.waiting.map(|request| request.0),
    }
}

fn encode_request(request: Request) -> Said {
    let named = |resource: ResourceId| Some(resource_to_proto(&resource));
    match request {
        Request::Acquire { lock, resource, mode, patience, reentrant, report_position } => {
            Said::Acquire(v1::AcquireLock {
                lock_id: lock.0,
                resource: named(resource),
                mode: mode_to_proto(mode) as i32,
                patience: encode_patience(patience),
                reentrant,
                report_position,
            })
        }
        Request::Convert { lock, resource, mode, patience, value } => Said::Convert(v1::ConvertLock {
            lock_id: lock.0,
            resource: named(resource),
            mode: mode_to_proto(mode) as i32,
            patience: encode_patience(patience),
            value: encode_value(value),
        }),
        Request::Release { lock, resource, value } => Said::Release(v1::ReleaseLock {
            lock_id: lock.0,
            resource: named(resource),
            value: encode_value(value),
        }),
        Request::Cancel { lock, resource, release_if_granted } => {
            Said::Cancel(v1::CancelLock { lock_id: lock.0, resource: named(resource), release_if_granted })
        }
        Request::Query { lock, resource } => {
            Said::Query(v1::QueryLock { lock_id: lock.0, resource: named(resource) })
        }
    }
}

fn encode_patience(patience: Patience) -> Option<v1::Patience> {
    let limit = match patience {
        Patience::Try => v1::patience::Limit::TryOnly(true),
        Patience::For(duration) => v1::patience::Limit::WaitTimeout(duration_to_proto(duration)),
        Patience::Forever => return None,
    };
    Some(v1::Patience { limit: Some(limit) })
}

fn encode_value(value: ValueUpdate) -> Option<v1::ValueUpdate> {
    let update = match value {
        ValueUpdate::Keep => return None,
        ValueUpdate::Write(block) => v1::value_update::Update::Write(block.into_bytes()),
        ValueUpdate::Invalidate => v1::value_update::Update::Invalidate(true),
    };
    Some(v1::ValueUpdate { update: Some(update) })
}

/// What a frame says.
///
/// # Errors
/// [`Error::Protocol`] for what the protocol does not allow.
pub(crate) fn decode(frame: SessionResponse) -> Result<Vec<Incoming>, Error> {
    // A message of a newer protocol says nothing that an older client must know.
    frame.messages.into_iter().filter_map(|message| decode_message(message).transpose()).collect()
}

fn decode_message(message: ServerMessage) -> Result<Option<Incoming>, Error> {
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
    use prost::Message;

    /// A request is never longer than the machine reckons when it fills a frame.
    #[test]
    fn a_request_has_at_most_the_bytes_it_is_reckoned_with() {
        let resource = ResourceId::new(&"n".repeat(64), &"r".repeat(1024)).unwrap();
        let value = || ValueUpdate::Write(dlock_core::ValueBlock::new(vec![0xff; 1024]).unwrap());
        let (lock, mode) = (LockId(u64::MAX), dlock_core::Mode::Exclusive);
        let patience = Patience::For(Duration::from_nanos(1_999_999_999));
        let identity = ClientIdentity::new("test");
        for request in [
            Request::Acquire {
                lock,
                resource: resource.clone(),
                mode,
                patience,
                reentrant: true,
                report_position: true,
            },
            Request::Convert { lock, resource: resource.clone(), mode, patience, value: value() },
            Request::Release { lock, resource: resource.clone(), value: value() },
            Request::Cancel { lock, resource: resource.clone(), release_if_granted: true },
            Request::Query { lock, resource: resource.clone() },
        ] {
            let reckoned = request.bytes();
            let message = Outgoing::Request(RequestId(u64::MAX), request);
            let frame = encode(Frame { received: 0, messages: vec![message] }, &identity);
            assert!(frame.encoded_len() <= reckoned, "{} > {reckoned}", frame.encoded_len());
            assert!(reckoned <= crate::session::message::REQUEST_BYTES_MAX);
        }
        let claim = Claim {
            lock,
            resource,
            token: dlock_core::Token::from_u64(i64::MAX as u64),
            waiting: Some(RequestId(u64::MAX)),
        };
        let reckoned = claim.bytes();
        assert!(encode_claim(claim).encoded_len() + 4 <= reckoned);
    }

    #[test]
    fn a_frame_that_makes_no_sense_is_an_error_and_one_of_the_future_is_not() {
        let frame = |body| SessionResponse { messages: vec![ServerMessage { sequence: 1, body }] };
        assert!(matches!(decode(frame(None)).as_deref(), Ok([])));
        for body in [
            Heard::Opened(v1::SessionOpened { session_id: "x".to_owned(), ..Default::default() }),
            Heard::Granted(v1::LockGranted { mode: 9, ..Default::default() }),
            Heard::Granted(v1::LockGranted { mode: 1, token: u64::MAX, ..Default::default() }),
            Heard::Resumed(v1::SessionResumed::default()),
            // With no time to live.
            Heard::Resumed(v1::SessionResumed {
                terms: Some(v1::SessionTerms {
                    ttl: Some(Default::default()),
                    lock_delay: Some(Default::default()),
                    ..Default::default()
                }),
                results: Vec::new(),
            }),
        ] {
            assert!(matches!(decode(frame(Some(body))), Err(Error::Protocol { .. })));
        }
    }

    #[test]
    fn a_refusal_without_a_request_is_the_links() {
        let failure = v1::Failure { reason: v1::ErrorReason::SessionEnded as i32, ..Default::default() };
        let message = ServerMessage { sequence: 0, body: Some(Heard::Failed(failure)) };
        let decoded = decode(SessionResponse { messages: vec![message] });
        assert!(matches!(
            decoded.as_deref(),
            Ok([Incoming::Refused(LinkError::SessionOver(LossReason::Expired))])
        ));
    }

    #[test]
    fn texts_about_the_client_are_made_presentable() {
        assert_eq!(presentable("a\nb"), "ab");
        assert_eq!(presentable(&"ö".repeat(200)).len(), 256);
    }
}
