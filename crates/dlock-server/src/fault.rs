//! Errors as clients see them, made from the engine's. What a reason is to a client is in `docs/errors.md`.

use dlock_core::resource::Refusal;
use dlock_core::session::EndReason;
use dlock_engine::{RequestError, SessionError};
use dlock_proto::duration_to_proto;
use dlock_proto::v1::{ErrorReason, Failure, FieldViolation};
use std::fmt::Display;
use std::time::Duration;
use tonic::Status;

/// After what time a request that met a passing condition is worth another try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An error on its way to a client. Boxed, as it is rare and large.
#[derive(Clone, Debug)]
pub(crate) struct Fault(Box<Failure>);

impl Fault {
    fn new(reason: ErrorReason, message: impl Display) -> Fault {
        Fault(Box::new(Failure::new(reason, message.to_string())))
    }

    /// A field that can't be taken as it is.
    pub(crate) fn field(field: impl Into<String>, description: impl Display) -> Fault {
        let (field, description) = (field.into(), description.to_string());
        let mut fault = Fault::new(ErrorReason::InvalidArgument, format!("{field}: {description}"));
        fault.0.violations.push(FieldViolation { field, description });
        fault
    }

    /// A message that came out of order.
    pub(crate) fn out_of_order(message: impl Display) -> Fault {
        Fault::new(ErrorReason::OutOfOrder, message)
    }

    /// A client that doesn't read what it is sent.
    pub(crate) fn slow_reader() -> Fault {
        let message =
            "the client does not read its messages: resume the session on another stream, and read them";
        Fault::new(ErrorReason::SlowReader, message)
    }

    fn with(mut self, name: &str, value: impl Display) -> Fault {
        self.0.metadata.insert(name.to_owned(), value.to_string());
        self
    }

    fn worth_a_retry(mut self) -> Fault {
        self.0.retry_after = Some(duration_to_proto(RETRY_AFTER));
        self
    }

    /// As it is sent in a stream.
    pub(crate) fn into_failure(self) -> Failure {
        *self.0
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Status {
        Status::from(&*fault.0)
    }
}

impl From<SessionError> for Fault {
    fn from(error: SessionError) -> Fault {
        let fault = |reason| Fault::new(reason, &error);
        match &error {
            SessionError::NotFound => fault(ErrorReason::SessionNotFound),
            SessionError::Ended(reason) => {
                let end_reason = match reason {
                    EndReason::Expired => "EXPIRED",
                    EndReason::Closed => "CLOSED",
                    EndReason::Revoked => "REVOKED",
                };
                fault(ErrorReason::SessionEnded).with("end_reason", end_reason)
            }
            SessionError::WrongSecret => fault(ErrorReason::WrongSecret),
            SessionError::Moved => fault(ErrorReason::SessionMoved),
            SessionError::Fenced { .. } => fault(ErrorReason::ServerFenced).worth_a_retry(),
            SessionError::StoreUnavailable { .. } => fault(ErrorReason::StoreUnavailable).worth_a_retry(),
            SessionError::Draining => fault(ErrorReason::Draining).worth_a_retry(),
            SessionError::TooManySessions { limit } => {
                fault(ErrorReason::TooManySessions).with("limit", limit).worth_a_retry()
            }
        }
    }
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Fault {
        let fault = |reason| Fault::new(reason, &error);
        match &error {
            RequestError::Refused(refusal) => Fault::from(*refusal),
            RequestError::WaitTimeout => fault(ErrorReason::WaitTimeout),
            RequestError::Session(error) => Fault::from(error.clone()),
            RequestError::StoreUnavailable { .. } => fault(ErrorReason::StoreUnavailable).worth_a_retry(),
            RequestError::TooManyRequests { limit } => {
                fault(ErrorReason::TooManyRequests).with("limit", limit)
            }
            RequestError::TooManyLocks { limit } => fault(ErrorReason::TooManyLocks).with("limit", limit),
            RequestError::LockIdInUse { resource } => {
                fault(ErrorReason::LockIdInUse).with("resource", resource)
            }
            RequestError::Record { .. } => fault(ErrorReason::RecordUnreadable),
            RequestError::Revoked => fault(ErrorReason::Revoked),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        let fault = |reason| Fault::new(reason, refusal);
        match refusal {
            Refusal::WouldBlock => fault(ErrorReason::WouldBlock),
            Refusal::Deadlock => fault(ErrorReason::Deadlock),
            Refusal::QueueFull { limit } => fault(ErrorReason::QueueFull).with("limit", limit),
            Refusal::NotFound => fault(ErrorReason::LockNotFound),
            Refusal::StillWaiting => fault(ErrorReason::StillWaiting),
            Refusal::ConversionPending { pending } => {
                fault(ErrorReason::ConversionPending).with("mode", pending)
            }
            Refusal::LockIdInUse { mode } => fault(ErrorReason::LockIdInUse).with("mode", mode),
            Refusal::NotCovered { held } => fault(ErrorReason::NotCovered).with("mode", held),
            Refusal::ValueNotWritable { held, .. } => fault(ErrorReason::ValueNotWritable).with("mode", held),
            Refusal::TokenMismatch { current } => fault(ErrorReason::TokenMismatch).with("token", current),
            Refusal::TokensExhausted => fault(ErrorReason::TokensExhausted),
        }
    }
}
