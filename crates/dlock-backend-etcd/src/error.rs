//! From etcd's errors to the contract's.

use dlock_store::StoreError;
use etcd_client::Error;
use std::fmt::Display;
use std::time::Duration;
use tonic::{Code, ConnectError, Status};

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is no good.
    #[error("etcd.{field} = {value:?}: {way_out}")]
    Setting {
        /// Which.
        field: &'static str,
        /// As it was given.
        value: String,
        /// What is wrong, and what would be right.
        way_out: String,
    },
    /// No member answers.
    #[error("etcd does not answer: {why}; is it running there, and are etcd.endpoints and etcd.tls right?")]
    Unreachable {
        /// Which were tried, and what was seen.
        why: String,
    },
    /// Members answer, but the cluster serves no reads.
    #[error("etcd at {endpoint} answers, but does not serve: {why}; is a majority of its members up?")]
    NotServing {
        /// Which was asked.
        endpoint: String,
        /// What it said.
        why: String,
    },
    /// The server does not let this client in.
    #[error("etcd at {endpoint} refuses this client: {why}; see etcd.user, etcd.password and etcd.tls")]
    Refused {
        /// Which was tried.
        endpoint: String,
        /// What it said.
        why: String,
    },
    /// The endpoints are not of one cluster: records would be in two places.
    #[error("etcd.endpoints: {one} and {other} belong to different clusters: name the members of one")]
    TwoClusters {
        /// A member of one cluster.
        one: String,
        /// A member of another.
        other: String,
    },
}

impl OpenError {
    pub(crate) fn setting(field: &'static str, value: impl Display, way_out: impl Into<String>) -> OpenError {
        OpenError::Setting { field, value: value.to_string(), way_out: way_out.into() }
    }
}

/// What a failed request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It did not leave this process.
    NotSent,
    /// The server refused it before doing anything.
    Refused,
    /// There is no room for it, and nothing was done.
    Full,
    /// It is no good, and nothing was done.
    Invalid,
    /// Anything may have happened.
    Unknown,
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// What was seen, for people.
    pub(crate) reason: String,
    /// Whether another member may do better.
    pub(crate) elsewhere: bool,
}

pub(crate) const SPACE_WAY_OUT: &str = "compact (etcdctl compact REVISION), defragment (etcdctl defrag), disarm the alarm \
     (etcdctl alarm disarm), and have it done regularly (etcd's --auto-compaction-retention, or etcd.compaction), or \
     raise --quota-backend-bytes";

/// What etcd says where a token was made before users or roles were changed.
const OLD_AUTH: &str = "revision of auth store is old";
const NO_LEADER: &str = "no leader";

impl Failure {
    pub(crate) fn new(kind: Kind, reason: impl Into<String>, elsewhere: bool) -> Failure {
        Failure { kind, reason: reason.into(), elsewhere }
    }

    /// There was no answer in time.
    pub(crate) fn late(timeout: Duration) -> Failure {
        Failure::new(Kind::Unknown, format!("no answer within {timeout:?}"), true)
    }

    pub(crate) fn of(error: &Error) -> Failure {
        match error {
            Error::GRpcStatus(status) => of_status(status),
            Error::InvalidArgs(why) => Failure::new(Kind::Invalid, why, false),
            other => Failure::new(Kind::Unknown, described(other), true),
        }
    }

    /// Whether nothing was done and nothing will be.
    pub(crate) fn is_certain(&self) -> bool {
        self.kind != Kind::Unknown
    }

    /// Whether the server wants this client to authenticate anew.
    pub(crate) fn is_old_auth(&self) -> bool {
        self.reason.contains(OLD_AUTH)
    }

    /// Whether the member does not know of a leader: all that it is asked is refused then.
    pub(crate) fn is_no_leader(&self) -> bool {
        self.kind == Kind::Refused && self.reason == NO_LEADER
    }

    /// Of a request that changes nothing.
    pub(crate) fn of_read(self) -> StoreError {
        let reason = self.reason;
        match self.kind {
            Kind::Invalid => StoreError::Invalid { reason },
            Kind::NotSent | Kind::Refused | Kind::Full | Kind::Unknown => StoreError::Unavailable { reason },
        }
    }

    /// Of a transaction.
    pub(crate) fn of_write(self) -> StoreError {
        let reason = self.reason;
        match self.kind {
            Kind::NotSent | Kind::Refused => StoreError::Unavailable { reason },
            Kind::Full => StoreError::Full { reason },
            Kind::Invalid => StoreError::Invalid { reason },
            Kind::Unknown => StoreError::Ambiguous { reason },
        }
    }
}

fn of_status(status: &Status) -> Failure {
    if was_not_sent(status) {
        return Failure::new(Kind::NotSent, described(status), true);
    }
    // Only what etcd itself says is certain: tonic gives codes of its own to what breaks on the way.
    match status.message().strip_prefix("etcdserver: ") {
        Some(said) => of_etcd(status.code(), said),
        // Said by the server's gRPC before etcd gets to see the request.
        None if status.message().starts_with("grpc: received message larger than max") => {
            too_large(status.message())
        }
        None => Failure::new(Kind::Unknown, described(status), true),
    }
}

/// By what etcd says (its `rpctypes`): the code alone does not tell what was done.
fn of_etcd(code: Code, said: &str) -> Failure {
    let failure = |kind, elsewhere| Failure::new(kind, said, elsewhere);
    match (code, said) {
        (_, "mvcc: database space exceeded") => {
            Failure::new(Kind::Full, format!("{said}: {SPACE_WAY_OUT}"), false)
        }
        (_, "request is too large") => too_large(said),
        // Said before anything is proposed.
        (_, NO_LEADER | "rpc not supported for learner") => failure(Kind::Refused, true),
        (_, "too many requests") => failure(Kind::Refused, false),
        (Code::Unauthenticated | Code::PermissionDenied, _) => failure(Kind::Refused, false),
        (_, "user name is empty") | (Code::InvalidArgument, OLD_AUTH) => failure(Kind::Refused, false),
        (_, said) if said.starts_with("authentication failed") => failure(Kind::Refused, false),
        (Code::InvalidArgument | Code::Unimplemented, _) => failure(Kind::Invalid, false),
        _ => failure(Kind::Unknown, true),
    }
}

fn too_large(said: &str) -> Failure {
    Failure::new(Kind::Full, format!("{said}: raise etcd's --max-request-bytes"), false)
}

fn was_not_sent(status: &Status) -> bool {
    sources(status).any(|source| source.is::<ConnectError>())
}

fn sources<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// An error with all that is behind it: `transport error` alone helps nobody.
fn described(error: &(dyn std::error::Error + 'static)) -> String {
    let own = match error.downcast_ref::<Status>() {
        Some(status) if !status.message().is_empty() => status.message().to_owned(),
        _ => error.to_string(),
    };
    sources(error).skip(1).fold(own, |text, source| {
        let more = source.to_string();
        if text.contains(&more) { text } else { format!("{text}: {more}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: Code, message: &str) -> Kind {
        Failure::of(&Error::GRpcStatus(Status::new(code, message))).kind
    }

    #[test]
    fn what_etcd_refuses_is_certain() {
        assert_eq!(kind(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"), Kind::Full);
        assert_eq!(kind(Code::InvalidArgument, "etcdserver: request is too large"), Kind::Full);
        let message = "grpc: received message larger than max (2097268 vs. 2097152)";
        assert_eq!(kind(Code::ResourceExhausted, message), Kind::Full);
        assert_eq!(kind(Code::ResourceExhausted, "etcdserver: too many requests"), Kind::Refused);
        assert_eq!(kind(Code::PermissionDenied, "etcdserver: permission denied"), Kind::Refused);
        assert_eq!(kind(Code::Unauthenticated, "etcdserver: invalid auth token"), Kind::Refused);
        assert_eq!(kind(Code::InvalidArgument, "etcdserver: user name is empty"), Kind::Refused);
        assert_eq!(kind(Code::Unavailable, "etcdserver: no leader"), Kind::Refused);
        assert_eq!(
            kind(Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
            Kind::Invalid
        );
    }

    #[test]
    fn what_may_have_been_done_is_unknown() {
        assert_eq!(kind(Code::Unavailable, "etcdserver: request timed out"), Kind::Unknown);
        assert_eq!(kind(Code::Unavailable, "etcdserver: server stopped"), Kind::Unknown);
        assert_eq!(kind(Code::Unavailable, "transport error"), Kind::Unknown);
        assert_eq!(kind(Code::Cancelled, "operation was canceled"), Kind::Unknown);
        // The server closes the connection, or the answer is too long for this client: the write may be done.
        assert_eq!(kind(Code::ResourceExhausted, "h2 protocol error: ENHANCE_YOUR_CALM"), Kind::Unknown);
        assert_eq!(kind(Code::OutOfRange, "Error, decoded message length too large"), Kind::Unknown);
    }
}
