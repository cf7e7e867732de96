//! A session as a state machine: what is sent when, what is held, and until when that is sure. No I/O, no clock.

pub(crate) mod locks;
pub(crate) mod machine;
pub(crate) mod message;
mod route;
