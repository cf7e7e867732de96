//! The session's messages as they are encoded.

use crate::driver::transport::Transport;
use crate::session::machine::LinkError;
use crate::session::message::{Incoming, Outgoing};
use crate::{Error, Health};
use std::sync::Arc;
use tonic::Status;

pub(crate) struct ClientFrame;
pub(crate) struct ServerFrame;

/// Who the client says it is.
#[derive(Clone)]
pub(crate) struct ClientIdentity {
    name: String,
}

impl ClientIdentity {
    pub(crate) fn new(name: String) -> ClientIdentity {
        ClientIdentity { name }
    }
}

#[derive(Default)]
pub(crate) struct FrameBuilder {}

impl FrameBuilder {
    pub(crate) fn has_room(&self) -> bool {
        true
    }
    pub(crate) fn add(&mut self, message: Outgoing, identity: &ClientIdentity) {
        let _ = (message, &identity.name);
    }
    pub(crate) fn build(self) -> Option<ClientFrame> {
        None
    }
}

pub(crate) fn decode(frame: ServerFrame) -> Result<Vec<Incoming>, Error> {
    drop(frame);
    Ok(Vec::new())
}

pub(crate) fn link_error(status: Status) -> LinkError {
    LinkError::Broken(Error::from(status))
}

pub(crate) async fn health(transport: &Arc<Transport>) -> Result<Health, Error> {
    let _ = transport;
    Ok(Health::Unknown)
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Error::unavailable(status.message())
    }
}
