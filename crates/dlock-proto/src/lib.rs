//! The dlock gRPC protocol: generated messages, clients and servers, and the conversions that both sides need.
//!
//! The protocol itself is specified in `proto/`, field by field; `cargo xtask codegen` makes the code from it.
#![forbid(unsafe_code)]

pub mod codec;
mod convert;
mod failure;

pub use convert::{
    BadDuration, DURATION_MAX, UnknownMode, duration, duration_to_proto, mode, mode_to_proto, named_mode,
};

/// The port that a server listens on if it isn't told another.
pub const DEFAULT_PORT: u16 = 5055;

/// The domain of the `google.rpc.ErrorInfo` in every error's details.
pub const ERROR_DOMAIN: &str = "dlock";

/// All definitions, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/file_descriptor_set.bin");

/// `dlock.v1`, the protocol.
#[allow(missing_docs, unreachable_pub, clippy::all)]
#[rustfmt::skip]
pub mod v1 {
    include!("gen/dlock.v1.rs");
}

/// `dlock`, the protocol of the first dlock (v1alpha1).
#[allow(missing_docs, unreachable_pub, clippy::all)]
#[rustfmt::skip]
pub mod v1alpha1 {
    include!("gen/dlock.rs");
}

/// `grpc.health.v1`, the gRPC health checking protocol, with its newer `List`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
#[rustfmt::skip]
pub mod health {
    include!("gen/grpc.health.v1.rs");
}

/// `dlock.bench.v1`, an echo to measure against.
#[allow(missing_docs, unreachable_pub, clippy::all)]
#[rustfmt::skip]
pub mod bench {
    include!("gen/dlock.bench.v1.rs");
}
