//! What the service says when it refuses, as an [`Error`].

use crate::session::message::LinkError;
use crate::{Error, LossReason};
use dlock_proto::v1::{ErrorReason, Failure};
use dlock_proto::{ERROR_DOMAIN, duration};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A refusal, whichever way it came: a message of a stream, or a call's status with its details.
pub(crate) struct Fault {
    code: Code,
    message: String,
    reason: ErrorReason,
    metadata: HashMap<String, String>,
    retry_after: Option<Duration>,
    /// The first field that is wrong.
    field: Option<String>,
    /// It was never said by the service: the connection broke, or was never there.
    local: bool,
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Fault {
        Fault {
            code: Code::from_i32(failure.code),
            reason: failure.reason(),
            message: failure.message,
            metadata: failure.metadata,
            retry_after: failure.retry_after.as_ref().and_then(|pause| duration(pause).ok()),
            field: failure.violations.into_iter().next().map(|violation| violation.field),
            local: false,
        }
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Fault {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
        let reason =
            info.and_then(|info| ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason)));
        Fault {
            code: status.code(),
            message: describe(&status),
            reason: reason.unwrap_or(ErrorReason::Unspecified),
            metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
            field: details.bad_request().and_then(|bad| Some(bad.field_violations.first()?.field.clone())),
            // Only a status that was made here has a source.
            local: status.source().is_some(),
        }
    }
}

/// The status' message, with the causes of one that was made here.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(source) = cause {
        let message = source.to_string();
        if !text.contains(&message) {
            text = if text.is_empty() { message } else { format!("{text}: {message}") };
        }
        cause = source.source();
    }
    text
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Fault::from(status).into()
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        let Fault { message, retry_after, .. } = fault;
        // Without a wildcard: a new reason asks for a decision.
        match fault.reason {
            ErrorReason::Unspecified if fault.local => Error::Unavailable { message, retry_after },
            ErrorReason::Unspecified => by_code(fault.code, message, retry_after, fault.field),
            ErrorReason::InvalidArgument => Error::InvalidArgument { field: fault.field.unwrap_or_default(), message },
            ErrorReason::WouldBlock => Error::WouldBlock,
            ErrorReason::WaitTimeout => Error::WaitTimeout,
            ErrorReason::Deadlock => Error::Deadlock,
            ErrorReason::QueueFull => Error::QueueFull { message },
            ErrorReason::LockNotFound => Error::NotFound { message },
            ErrorReason::StillWaiting
            | ErrorReason::ConversionPending
            | ErrorReason::LockIdInUse
            | ErrorReason::TokenMismatch => Error::Conflict { message },
            ErrorReason::NotCovered => {
                Error::NotCovered { held: fault.metadata.get("mode").and_then(|mode| mode.parse().ok()) }
            }
            ErrorReason::ValueNotWritable => Error::InvalidArgument { field: "value".to_owned(), message },
            ErrorReason::SessionNotFound => Error::SessionLost { reason: LossReason::Unknown },
            ErrorReason::SessionEnded => Error::SessionLost { reason: end_reason(&fault.metadata) },
            ErrorReason::WrongSecret => Error::PermissionDenied { message },
            ErrorReason::SessionMoved
            | ErrorReason::ServerFenced
            | ErrorReason::StoreUnavailable
            | ErrorReason::Draining
            | ErrorReason::SlowReader
            // The window keeps within the limit: more were counted than are ours, for a moment.
            | ErrorReason::TooManyRequests => Error::Unavailable { message, retry_after },
            ErrorReason::TooManySessions | ErrorReason::TooManyLocks | ErrorReason::TokensExhausted => {
                Error::LimitReached { message, retry_after }
            }
            ErrorReason::Revoked => Error::LockLost { reason: LossReason::Revoked },
            ErrorReason::RecordUnreadable | ErrorReason::OutOfOrder => Error::Protocol { message },
        }
    }
}

/// For what has no reason: an older service's refusal, or a proxy's.
fn by_code(code: Code, message: String, retry_after: Option<Duration>, field: Option<String>) -> Error {
    match code {
        Code::InvalidArgument | Code::OutOfRange => {
            Error::InvalidArgument { field: field.unwrap_or_default(), message }
        }
        Code::NotFound => Error::NotFound { message },
        Code::AlreadyExists | Code::FailedPrecondition => Error::Conflict { message },
        Code::PermissionDenied | Code::Unauthenticated => Error::PermissionDenied { message },
        Code::ResourceExhausted => Error::LimitReached { message, retry_after },
        Code::Unimplemented => Error::Unsupported { message },
        Code::Unavailable | Code::Aborted | Code::Cancelled | Code::DeadlineExceeded => {
            Error::Unavailable { message, retry_after }
        }
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Error::Protocol { message },
    }
}

fn end_reason(metadata: &HashMap<String, String>) -> LossReason {
    match metadata.get("end_reason").map(String::as_str) {
        Some("REVOKED") => LossReason::Ended,
        Some("CLOSED") => LossReason::Closed,
        _ => LossReason::Expired,
    }
}

impl From<Fault> for LinkError {
    /// What a refusal means for the link on which it came.
    fn from(fault: Fault) -> LinkError {
        match Error::from(fault) {
            Error::SessionLost { reason } => LinkError::SessionOver(reason),
            error @ (Error::InvalidArgument { .. }
            | Error::PermissionDenied { .. }
            | Error::Unsupported { .. }) => LinkError::Refused(error),
            error => LinkError::Broken(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn status(code: Code, reason: &str) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, "dlock", HashMap::from([("mode".to_owned(), "PR".to_owned())]));
        details.set_retry_info(Some(Duration::from_secs(2)));
        Status::with_error_details(code, "in words", details)
    }

    #[test]
    fn a_status_and_a_message_of_a_stream_say_the_same() {
        let failure = Failure {
            code: Code::Unavailable as i32,
            message: "in words".to_owned(),
            reason: ErrorReason::StoreUnavailable as i32,
            retry_after: Some(dlock_proto::duration_to_proto(Duration::from_secs(2))),
            ..Failure::default()
        };
        for error in
            [Error::from(Fault::from(failure)), status(Code::Unavailable, "STORE_UNAVAILABLE").into()]
        {
            let Error::Unavailable { message, retry_after } = error else { panic!("{error:?}") };
            assert_eq!((message.as_str(), retry_after), ("in words", Some(Duration::from_secs(2))));
        }
    }

    #[test]
    fn the_mode_held_comes_with_a_refused_re_entrance() {
        let error = status(Code::FailedPrecondition, "NOT_COVERED").into();
        assert!(
            matches!(error, Error::NotCovered { held: Some(dlock_core::Mode::ProtectedRead) }),
            "{error:?}"
        );
    }

    #[test]
    fn an_unknown_reason_goes_by_its_code() {
        let error = status(Code::ResourceExhausted, "TOO_MANY_WISHES").into();
        assert!(matches!(error, Error::LimitReached { .. }), "{error:?}");
    }

    #[test]
    fn a_broken_connection_is_no_fault_of_the_protocol() {
        let error = Error::from(Status::from_error(Box::new(std::io::Error::other("connection reset"))));
        assert!(error.is_transient() && error.to_string().contains("connection reset"), "{error:?}");
    }

    #[test]
    fn an_ended_session_ends_the_link_for_good_and_a_fenced_server_does_not() {
        let link_error = |code, reason| LinkError::from(Fault::from(status(code, reason)));
        let ended = link_error(Code::FailedPrecondition, "SESSION_ENDED");
        assert!(matches!(ended, LinkError::SessionOver(LossReason::Expired)));
        let unknown = link_error(Code::NotFound, "SESSION_NOT_FOUND");
        assert!(matches!(unknown, LinkError::SessionOver(LossReason::Unknown)));
        assert!(matches!(link_error(Code::Unavailable, "SERVER_FENCED"), LinkError::Broken(_)));
        assert!(matches!(link_error(Code::PermissionDenied, "WRONG_SECRET"), LinkError::Refused(_)));
    }
}
