//! Messages to clients.

use super::views::resource_ref;
use crate::fault::Fault;
use dlock_core::resource::{Grant, Queued};
use dlock_core::session::EndReason;
use dlock_core::{LockId, Mode, ResourceId};
use dlock_engine::{ClaimState, Engine, Event, Session};
use dlock_proto::v1::server_message::Body;
use dlock_proto::v1::{self, claim_result::State};
use dlock_proto::{duration_to_proto, mode_to_proto};

pub(crate) fn granted(grant: Grant) -> v1::LockGranted {
    let value =
        grant.value.map(|value| v1::ValueBlock { data: value.block.into_bytes(), valid: value.valid });
    v1::LockGranted {
        lock_id: grant.key.lock.0,
        mode: mode_to_proto(grant.mode) as i32,
        token: grant.token.get(),
        holds: grant.holds,
        value,
    }
}

pub(crate) fn queued(place: Queued) -> v1::LockQueued {
    let held = place.held.map(|mode| mode_to_proto(mode) as i32);
    v1::LockQueued { lock_id: place.key.lock.0, ahead: place.ahead, held }
}

pub(crate) fn blocking(
    lock: LockId,
    wanted: Mode,
    resource: Option<&ResourceId>,
) -> v1::BlockingNotification {
    let (wanted, resource) = (mode_to_proto(wanted) as i32, resource.map(resource_ref));
    v1::BlockingNotification { lock_id: lock.0, wanted, resource }
}

pub(crate) fn end_reason(reason: EndReason) -> v1::EndReason {
    match reason {
        EndReason::Expired => v1::EndReason::Expired,
        EndReason::Closed => v1::EndReason::Closed,
        EndReason::Revoked => v1::EndReason::Revoked,
    }
}

/// An event for the session's stream.
pub(crate) fn event(event: Event) -> v1::ServerMessage {
    let (sequence, body) = match event {
        Event::Queued { request, place } => (request.0, Body::Queued(queued(place))),
        Event::Granted { request, grant } => (request.0, Body::Granted(granted(grant))),
        Event::Released { request, lock } => {
            (request.0, Body::Released(v1::LockReleased { lock_id: lock.0 }))
        }
        Event::Cancelled { request, lock } => {
            (request.0, Body::Cancelled(v1::LockCancelled { lock_id: lock.0 }))
        }
        Event::Failed { request, error, .. } => (request.0, Body::Failed(Fault::from(error).into_failure())),
        Event::Blocking { lock, wanted, resource } => {
            (0, Body::Blocking(blocking(lock, wanted, Some(&resource))))
        }
        Event::Revoked { lock } => {
            let reason = v1::LossReason::Revoked as i32;
            (0, Body::Lost(v1::LockLost { lock_id: lock.0, reason }))
        }
        Event::Ended { reason } => (0, Body::Ended(v1::SessionEnded { reason: end_reason(reason) as i32 })),
        Event::Detached => (0, Body::Moved(v1::SessionMoved {})),
        Event::Draining => (0, Body::MoveAway(v1::MoveAway::default())),
    };
    v1::ServerMessage { sequence, body: Some(body) }
}

pub(crate) fn claim_result(lock: LockId, state: ClaimState) -> v1::ClaimResult {
    let state = match state {
        ClaimState::Granted(grant) => State::Granted(granted(grant)),
        ClaimState::Queued(place) => State::Queued(queued(place)),
        ClaimState::Absent => State::Absent(v1::LockAbsent {}),
        ClaimState::Unknown(error) => State::Unknown(Fault::from(error).into_failure()),
    };
    v1::ClaimResult { lock_id: lock.0, state: Some(state) }
}

pub(crate) fn session_terms(engine: &Engine, session: &Session, endpoints: Vec<String>) -> v1::SessionTerms {
    let limit = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let config = engine.config();
    v1::SessionTerms {
        epoch: session.epoch().0,
        ttl: Some(duration_to_proto(session.terms().ttl())),
        lock_delay: Some(duration_to_proto(session.terms().lock_delay())),
        member_id: engine.member().to_string(),
        limits: Some(v1::SessionLimits {
            requests_in_flight_max: limit(config.requests_in_flight_max),
            locks_max: limit(config.locks_per_session_max),
            frame_bytes_max: limit(crate::serve::FRAME_BYTES_MAX),
            unread_frames_max: limit(crate::service::UNREAD_FRAMES_MAX),
        }),
        endpoints,
    }
}
