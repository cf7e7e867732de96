//! Why a request changed nothing: in streams a [`v1::Failure`], at the end of a call a [`tonic::Status`] with the
//! same in its `google.rpc` details. Both ways without loss, so that one table of errors serves both.

use crate::v1::{ErrorReason, Failure, FieldViolation};
use crate::{ERROR_DOMAIN, duration, duration_to_proto};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// What every reason's name begins with in the protocol's definition, and nowhere else.
const PREFIX: &str = "ERROR_REASON_";

impl ErrorReason {
    /// The gRPC code that goes with it.
    pub fn code(self) -> Code {
        match self {
            ErrorReason::Unspecified => Code::Unknown,
            ErrorReason::InvalidArgument | ErrorReason::OutOfOrder => Code::InvalidArgument,
            ErrorReason::WouldBlock | ErrorReason::Deadlock | ErrorReason::Revoked => Code::Aborted,
            ErrorReason::WaitTimeout => Code::DeadlineExceeded,
            ErrorReason::LockNotFound | ErrorReason::SessionNotFound => Code::NotFound,
            ErrorReason::LockIdInUse => Code::AlreadyExists,
            ErrorReason::StillWaiting
            | ErrorReason::ConversionPending
            | ErrorReason::NotCovered
            | ErrorReason::ValueNotWritable
            | ErrorReason::TokenMismatch
            | ErrorReason::SessionEnded
            | ErrorReason::SessionMoved => Code::FailedPrecondition,
            ErrorReason::QueueFull
            | ErrorReason::TokensExhausted
            | ErrorReason::TooManySessions
            | ErrorReason::TooManyRequests
            | ErrorReason::TooManyLocks
            | ErrorReason::SlowReader => Code::ResourceExhausted,
            ErrorReason::WrongSecret => Code::PermissionDenied,
            ErrorReason::ServerFenced | ErrorReason::StoreUnavailable | ErrorReason::Draining => {
                Code::Unavailable
            }
            ErrorReason::RecordUnreadable => Code::DataLoss,
        }
    }

    /// Its name in a status' `google.rpc.ErrorInfo`, such as `WOULD_BLOCK`.
    pub fn name(self) -> &'static str {
        self.as_str_name().strip_prefix(PREFIX).unwrap_or_default()
    }

    /// The reason of that name; unspecified if it is none of this protocol.
    pub fn from_name(name: &str) -> ErrorReason {
        ErrorReason::from_str_name(&format!("{PREFIX}{name}")).unwrap_or_default()
    }
}

impl Failure {
    /// A failure with its reason's code, and nothing besides the message.
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> Failure {
        Failure {
            code: reason.code() as i32,
            message: message.into(),
            reason: reason as i32,
            ..Failure::default()
        }
    }
}

/// The status that a call ends with for this failure.
impl From<&Failure> for Status {
    fn from(failure: &Failure) -> Status {
        let reason = failure.reason();
        let mut details = ErrorDetails::new();
        if reason != ErrorReason::Unspecified {
            details.set_error_info(reason.name(), ERROR_DOMAIN, failure.metadata.clone());
        }
        for FieldViolation { field, description } in &failure.violations {
            details.add_bad_request_violation(field, description);
        }
        if let Some(retry_after) = failure.retry_after.as_ref().and_then(|proto| duration(proto).ok()) {
            details.set_retry_info(Some(retry_after));
        }
        Status::with_error_details(Code::from_i32(failure.code), &failure.message, details)
    }
}

/// The failure that a status stands for; one that is not dlock's own has no reason.
impl From<&Status> for Failure {
    fn from(status: &Status) -> Failure {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
        let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        Failure {
            code: status.code() as i32,
            message: status.message().to_owned(),
            reason: info.map_or(ErrorReason::Unspecified, |info| ErrorReason::from_name(&info.reason)) as i32,
            metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay).map(duration_to_proto),
            violations: violations
                .iter()
                .map(|each| FieldViolation {
                    field: each.field.clone(),
                    description: each.description.clone(),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn reasons() -> impl Iterator<Item = ErrorReason> {
        (1..).map_while(|number| ErrorReason::try_from(number).ok())
    }

    #[test]
    fn a_failure_comes_back_from_its_status() {
        for reason in reasons() {
            let failure = Failure {
                metadata: [("limit".to_owned(), "16".to_owned())].into(),
                retry_after: Some(duration_to_proto(Duration::from_millis(250))),
                violations: vec![FieldViolation {
                    field: "acquire.mode".into(),
                    description: "no mode".into(),
                }],
                ..Failure::new(reason, "what to do")
            };
            let status = Status::from(&failure);
            assert_eq!(status.code(), reason.code());
            assert_eq!(Failure::from(&status), failure);
        }
    }

    #[test]
    fn a_plain_failure_has_no_details_to_make_up() {
        let failure = Failure::new(ErrorReason::WouldBlock, "held by another");
        assert_eq!(Failure::from(&Status::from(&failure)), failure);
    }

    #[test]
    fn a_foreign_status_keeps_its_code_and_has_no_reason() {
        let failure = Failure::from(&Status::unimplemented("no such method"));
        assert_eq!(failure.reason(), ErrorReason::Unspecified);
        assert_eq!(Code::from_i32(failure.code), Code::Unimplemented);
        assert_eq!(ErrorReason::from_name("SOMETHING_NEW"), ErrorReason::Unspecified);
    }

    #[test]
    fn every_reason_is_documented_with_its_code() {
        let page = include_str!("../../../docs/errors.md");
        let definition = include_str!("../../../proto/dlock/v1/types.proto");
        for reason in reasons() {
            let code = format!("{:?}", reason.code());
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", reason.name())));
            let row = row.unwrap_or_else(|| panic!("docs/errors.md has no row for {}", reason.name()));
            assert_eq!(
                row.split('|').nth(2).map(|cell| cell.replace('_', "")),
                Some(format!(" {} ", code.to_uppercase()))
            );
            let lines: Vec<&str> = definition.lines().collect();
            let at = lines.iter().position(|line| line.contains(&format!(" {} = ", reason.as_str_name())));
            let comment = at.and_then(|at| lines.get(at - 1)).copied().unwrap_or_default();
            let named = comment.trim_start_matches([' ', '/']).split(':').next().unwrap_or_default();
            assert_eq!(
                named.replace('_', ""),
                code.to_uppercase(),
                "the comment of {}",
                reason.as_str_name()
            );
        }
    }
}
