//! Links of an exploration lead to the service of its world; all others are what they are.

use super::sync::point;
use super::world::World;
use crate::driver::link::{self, LinkEvent};
use crate::driver::transport::Transport;
use crate::session::machine::LinkId;
use crate::session::message::LinkError;
use crate::{Endpoint, Error, wire};
use dlock_proto::v1::{SessionRequest, SessionResponse};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

pub(crate) struct Link {
    pub(crate) id: LinkId,
    kind: Kind,
}

enum Kind {
    Real(Box<link::Link>),
    Connecting(Arc<World>),
    Open(mpsc::UnboundedSender<SessionRequest>, mpsc::UnboundedReceiver<SessionResponse>),
    Gone,
}

impl Link {
    pub(crate) fn connect(id: LinkId, endpoint: Endpoint, fresh: bool, transport: Arc<Transport>) -> Link {
        match World::current() {
            Some(world) => Link { id, kind: Kind::Connecting(world) },
            None => {
                let link = Box::new(link::Link::connect(id, endpoint, fresh, transport));
                Link { id: link.id, kind: Kind::Real(link) }
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

    pub(crate) fn send(&mut self, frame: SessionRequest) {
        point();
        match &mut self.kind {
            Kind::Real(link) => link.send(frame),
            // A link that has broken says so on its other half.
            Kind::Open(outgoing, _) => drop(outgoing.send(frame)),
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
                Some(frame) => Poll::Ready(LinkEvent::Frame(wire::decode(frame).expect("a frame"))),
                None => {
                    self.kind = Kind::Gone;
                    Poll::Ready(LinkEvent::Gone(LinkError::Broken(Error::unavailable("it broke"))))
                }
            },
            Kind::Gone => Poll::Pending,
        }
    }
}
