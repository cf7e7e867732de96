//! What the service says when it refuses, as an [`Error`].

use crate::session::message::LinkError;
use crate::{Error, LossReason};
use dlock_proto::duration;
use dlock_proto::v1::{ErrorReason, Failure};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;
use tonic::{Code, Status};

/// A refusal, whichever way it came: a message of a stream, or a call's status with its details.
pub(crate) struct Fault {
    failure: Failure,
    /// It was never said by the service: the connection broke, or was never there.
    local: bool,
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Fault {
        Fault { failure, local: false }
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Fault {
        // Only a status that was made here has a source.
        let local = status.source().is_some();
        Fault { failure: Failure { message: describe(&status), ..Failure::from(&status) }, local }
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
        let Fault { failure, local } = fault;
        let reason = failure.reason();
        let Failure { code, message, metadata, retry_after, violations, .. } = failure;
        let retry_after = retry_after.as_ref().and_then(|pause| duration(pause).ok());
        let field = violations.into_iter().next().map(|violation| violation.field).unwrap_or_default();
        // Without a wildcard: a new reason asks for a decision.
        match reason {
            ErrorReason::Unspecified if local => Error::Unavailable { message, retry_after },
            ErrorReason::Unspecified => by_code(Code::from_i32(code), message, retry_after, field),
            ErrorReason::InvalidArgument => Error::InvalidArgument { field, message },
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
                Error::NotCovered { held: metadata.get("mode").and_then(|mode| mode.parse().ok()) }
            }
            ErrorReason::ValueNotWritable => Error::InvalidArgument { field: "value".to_owned(), message },
            ErrorReason::SessionNotFound => Error::SessionLost { reason: LossReason::Unknown },
            ErrorReason::SessionEnded => Error::SessionLost { reason: end_reason(&metadata) },
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
            ErrorReason::RecordUnreadable => Error::Unreadable { message },
            ErrorReason::OutOfOrder => Error::Protocol { message },
        }
    }
}

/// For what has no reason: an older service's refusal, or a proxy's.
fn by_code(code: Code, message: String, retry_after: Option<Duration>, field: String) -> Error {
    match code {
        Code::InvalidArgument | Code::OutOfRange => Error::InvalidArgument { field, message },
        Code::NotFound => Error::NotFound { message },
        Code::AlreadyExists | Code::FailedPrecondition => Error::Conflict { message },
        Code::PermissionDenied | Code::Unauthenticated => Error::PermissionDenied { message },
        Code::ResourceExhausted => Error::LimitReached { message, retry_after },
        Code::Unimplemented => Error::Unsupported { message },
        Code::Unavailable | Code::Aborted | Code::Cancelled | Code::DeadlineExceeded => {
            Error::Unavailable { message, retry_after }
        }
        Code::DataLoss => Error::Unreadable { message },
        Code::Ok | Code::Unknown | Code::Internal => Error::Protocol { message },
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
        let reason = fault.failure.reason();
        match Error::from(fault) {
            Error::SessionLost { reason } => LinkError::SessionOver(reason),
            error @ (Error::InvalidArgument { .. }
            | Error::PermissionDenied { .. }
            | Error::Unsupported { .. }) => LinkError::Refused(error),
            error if matches!(reason, ErrorReason::Draining | ErrorReason::TooManySessions) => {
                LinkError::TurnedAway(error)
            }
            error => LinkError::Broken(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: ErrorReason) -> Failure {
        Failure {
            retry_after: Some(dlock_proto::duration_to_proto(Duration::from_secs(2))),
            metadata: HashMap::from([("mode".to_owned(), "PR".to_owned())]),
            ..Failure::new(reason, "in words")
        }
    }

    fn error(reason: ErrorReason) -> Error {
        Fault::from(failure(reason)).into()
    }

    #[test]
    fn a_status_and_a_message_of_a_stream_say_the_same() {
        let status = Status::from(&failure(ErrorReason::StoreUnavailable));
        for error in [error(ErrorReason::StoreUnavailable), status.into()] {
            let Error::Unavailable { message, retry_after } = error else { panic!("{error:?}") };
            assert_eq!((message.as_str(), retry_after), ("in words", Some(Duration::from_secs(2))));
        }
    }

    #[test]
    fn the_mode_held_comes_with_a_refused_re_entrance() {
        let error = error(ErrorReason::NotCovered);
        assert!(
            matches!(error, Error::NotCovered { held: Some(dlock_core::Mode::ProtectedRead) }),
            "{error:?}"
        );
    }

    #[test]
    fn an_unknown_reason_goes_by_its_code() {
        let unknown = Failure { reason: 9999, ..failure(ErrorReason::TooManyLocks) };
        let error = Error::from(Fault::from(unknown));
        assert!(matches!(error, Error::LimitReached { .. }), "{error:?}");
    }

    #[test]
    fn a_broken_connection_is_no_fault_of_the_protocol() {
        let error = Error::from(Status::from_error(Box::new(std::io::Error::other("connection reset"))));
        assert!(error.is_transient() && error.to_string().contains("connection reset"), "{error:?}");
    }

    #[test]
    fn an_ended_session_ends_the_link_for_good_and_a_fenced_server_does_not() {
        let link_error = |reason| LinkError::from(Fault::from(failure(reason)));
        assert!(matches!(link_error(ErrorReason::SessionEnded), LinkError::SessionOver(LossReason::Expired)));
        assert!(matches!(
            link_error(ErrorReason::SessionNotFound),
            LinkError::SessionOver(LossReason::Unknown)
        ));
        assert!(matches!(link_error(ErrorReason::ServerFenced), LinkError::Broken(_)));
        assert!(matches!(link_error(ErrorReason::Draining), LinkError::TurnedAway(_)));
        assert!(matches!(link_error(ErrorReason::WrongSecret), LinkError::Refused(_)));
    }
}
