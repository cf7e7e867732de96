//! Between the protocol's messages and this crate's types.

mod codec;
mod decode;
mod encode;
mod fault;
mod session;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use codec::{Decoded, open_stream};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use decode::decode;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use encode::encode;
pub(crate) use fault::Fault;
pub(crate) use session::ClientIdentity;
pub(crate) use view::{member, resource, resource_event, resource_to_proto, server, session, token};
