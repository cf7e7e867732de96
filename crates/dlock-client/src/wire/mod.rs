//! Between the protocol's messages and this crate's types.

mod fault;
mod session;
mod view;

pub(crate) use fault::Fault;
pub(crate) use session::{ClientIdentity, decode, encode};
pub(crate) use view::{member, resource, resource_event, resource_to_proto, server, session, token};
