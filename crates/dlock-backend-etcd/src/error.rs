//! From etcd's errors to the contract's.

use dlock_store::StoreError;
use etcd_client::Error;
use tonic::{Code, Status};

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
    /// No server answers.
    #[error("etcd does not answer at {endpoints}: {why}; is it running there, and is the address right?")]
    Unreachable {
        /// Which were tried.
        endpoints: String,
        /// What was seen.
        why: String,
    },
    /// The server does not let this client in.
    #[error("etcd at {endpoints} refuses this client: {why}; see etcd.user, etcd.password and etcd.tls")]
    Refused {
        /// Which was tried.
        endpoints: String,
        /// What it said.
        why: String,
    },
}

/// What is left of an error once it is sorted.
enum Kind {
    /// The server refused the request before doing anything.
    Refused(String),
    /// There is no room.
    Full(String),
    /// The request is no good.
    Invalid(String),
    /// Anything may have happened.
    Unknown(String),
}

fn kind(error: &Error) -> Kind {
    match error {
        Error::GRpcStatus(status) => kind_of_status(status),
        Error::InvalidArgs(why) => Kind::Invalid(why.clone()),
        other => Kind::Unknown(other.to_string()),
    }
}

fn kind_of_status(status: &Status) -> Kind {
    let said = status.message().to_owned();
    match status.code() {
        Code::ResourceExhausted if said.contains("database space exceeded") => {
            Kind::Full(format!("{said}; {SPACE_WAY_OUT}"))
        }
        Code::ResourceExhausted => Kind::Refused(said),
        Code::Unauthenticated | Code::PermissionDenied => {
            Kind::Refused(format!("{said}; see etcd.user and etcd.password"))
        }
        Code::InvalidArgument if said.contains("request is too large") => {
            Kind::Full(format!("{said}; raise etcd's --max-request-bytes"))
        }
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => Kind::Invalid(said),
        code => Kind::Unknown(format!("{code}: {said}")),
    }
}

pub(crate) const SPACE_WAY_OUT: &str = "compact (etcdctl compact REVISION), defragment (etcdctl defrag), disarm the alarm \
     (etcdctl alarm disarm), and have it done regularly (etcd's --auto-compaction-retention, or etcd.compaction), or \
     raise --quota-backend-bytes";

/// Of a request that changes nothing.
pub(crate) fn of_read(error: Error) -> StoreError {
    match kind(&error) {
        Kind::Invalid(reason) => StoreError::Invalid { reason },
        Kind::Refused(reason) | Kind::Full(reason) | Kind::Unknown(reason) => {
            StoreError::Unavailable { reason }
        }
    }
}

/// Of a transaction.
pub(crate) fn of_write(error: &Error) -> StoreError {
    match kind(error) {
        Kind::Refused(reason) => StoreError::Unavailable { reason },
        Kind::Full(reason) => StoreError::Full { reason },
        Kind::Invalid(reason) => StoreError::Invalid { reason },
        Kind::Unknown(reason) => StoreError::Ambiguous { reason },
    }
}

/// Whether the server let this client in, and it was not that which failed.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
            || status.message().contains("authentication failed"))
}
