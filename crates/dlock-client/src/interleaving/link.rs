//! Links of an exploration lead to the service of its world; all others are what they are.

use super::sync::point;
use super::world::World;
use crate::driver::link::{self, LinkEvent};
use crate::driver::transport::Transport;
use crate::session::machine::LinkId;
use crate::session::message::{Frame, LinkError};
use crate::wire::{self, ClientIdentity};
use crate::{Endpoint, Error};
use dlock_proto::v1::{SessionRequest, SessionResponse};
use prost::Message;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

pub(crate) struct Link {
    pub(crate) id: LinkId,
    identity: ClientIdentity,
    kind: Kind,
}

enum Kind {
    Real(Box<link::Link>),
    Connecting(Arc<World>),
    Open(mpsc::UnboundedSender<SessionRequest>, mpsc::UnboundedReceiver<SessionResponse>),
    Gone,
}

impl Link {
    pub(crate) fn connect(
        id: LinkId,
        endpoint: Endpoint,
        fresh: bool,
        transport: Arc<Transport>,
        identity: ClientIdentity,
    ) -> Link {
        match World::current() {
            Some(world) => Link { id, identity, kind: Kind::Connecting(world) },
            None => {
                let link = link::Link::connect(id, endpoint, fresh, transport, identity.clone());
                Link { id: link.id, identity, kind: Kind::Real(Box::new(link)) }
            }
        }
    }

    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.kind {
            Kind::Real(link) => link.poll_room(cx),
            Kind::Open(..) => Poll::Ready(()),
            Kind::Connecting(_) | Kind::Gone => Poll::Pending,
        }
    }

    pub(crate) fn is_blocked(&self) -> bool {
        matches!(&self.kind, Kind::Real(link) if link.is_blocked())
    }

    pub(crate) fn send(&mut self, frame: Frame) {
        point();
        match &mut self.kind {
            Kind::Real(link) => link.send(frame),
            // A link that has broken says so on its other half.
            Kind::Open(outgoing, _) => {
                let mut bytes = Vec::new();
                wire::encode(&frame, &self.identity, &mut bytes);
                drop(outgoing.send(SessionRequest::decode(bytes.as_slice()).expect("a frame")));
            }
            Kind::Connecting(_) | Kind::Gone => {}
        }
    }

    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        point();
        match &mut self.kind {
            Kind::Real(link) => link.poll_event(cx),
            Kind::Connecting(world) => {
                let (outgoing, incoming) = world.link();
                self.kind = Kind::Open(outgoing, incoming);
                Poll::Ready(LinkEvent::Connected)
            }
            Kind::Open(_, incoming) => match ready!(incoming.poll_recv(cx)) {
                Some(frame) => {
                    let messages = wire::decode(&frame.encode_to_vec()).expect("a frame");
                    Poll::Ready(LinkEvent::Frame(messages.expect("what the protocol allows")))
                }
                None => {
                    self.kind = Kind::Gone;
                    Poll::Ready(LinkEvent::Gone(LinkError::Broken(Error::unavailable("it broke"))))
                }
            },
            Kind::Gone => Poll::Pending,
        }
    }
}
