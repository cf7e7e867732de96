//! The I/O of one link: connecting, calling, and the two halves of the stream.

use crate::driver::transport::Transport;
use crate::session::machine::LinkId;
use crate::session::message::{Frame, Incoming, LinkError};
use crate::wire::{ClientIdentity, Decoded, Fault, open_stream};
use crate::{Endpoint, Error};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::PollSender;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

/// How many frames may wait for the connection. Few, so that what is not sent yet gathers in the machine, where one
/// frame takes up many requests.
const OUTBOUND_FRAMES: usize = 4;

/// What happened on a link.
pub(crate) enum LinkEvent {
    /// It may be greeted.
    Connected,
    /// A frame came.
    Frame(Vec<Incoming>),
    /// It is gone; nothing follows.
    Gone(LinkError),
}

enum State {
    Connecting(BoxFuture<'static, Result<Channel, Error>>),
    Calling(BoxFuture<'static, Result<Response<Streaming<Decoded>>, Status>>),
    Open(Box<Streaming<Decoded>>),
    Gone,
}

/// One link.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    endpoint: Endpoint,
    transport: Arc<Transport>,
    identity: ClientIdentity,
    outbound: Option<PollSender<Frame>>,
    /// There was no room for a frame when last looked.
    blocked: bool,
    state: State,
}

impl Link {
    /// A link that begins to connect, over a `fresh` connection or the one that there may be. Dropping it ends it,
    /// whatever its state.
    pub(crate) fn connect(
        id: LinkId,
        endpoint: Endpoint,
        fresh: bool,
        transport: Arc<Transport>,
        identity: ClientIdentity,
    ) -> Link {
        let connecting = {
            let (transport, endpoint) = (transport.clone(), endpoint.clone());
            Box::pin(async move {
                if fresh {
                    transport.fresh_channel(&endpoint).await
                } else {
                    transport.channel(&endpoint).await
                }
            })
        };
        let state = State::Connecting(connecting);
        Link { id, endpoint, transport, identity, outbound: None, blocked: false, state }
    }

    /// Whether a frame can be sent; if not, the task is woken when it can.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A closed stream tells why on its other half.
        let room = self.outbound.as_mut().map(|outbound| outbound.poll_reserve(cx));
        self.blocked = matches!(room, Some(Poll::Pending));
        if matches!(room, Some(Poll::Ready(Ok(())))) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether there was no room for a frame when last looked.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Sends a frame. There must be room.
    pub(crate) fn send(&mut self, frame: Frame) {
        if let Some(outbound) = &mut self.outbound {
            // It fails on a closed stream only, which tells why on its other half.
            let _ = outbound.send_item(frame);
        }
    }

    /// The next event.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        loop {
            match &mut self.state {
                State::Connecting(connecting) => match ready!(connecting.poll_unpin(cx)) {
                    Ok(channel) => {
                        self.call(channel);
                        return Poll::Ready(LinkEvent::Connected);
                    }
                    Err(error) => return self.gone(LinkError::Broken(error)),
                },
                State::Calling(calling) => match ready!(calling.poll_unpin(cx)) {
                    Ok(response) => self.state = State::Open(Box::new(response.into_inner())),
                    Err(status) => return self.gone(Fault::from(status).into()),
                },
                State::Open(inbound) => {
                    return match ready!(inbound.poll_next_unpin(cx)) {
                        Some(Ok(Ok(messages))) => Poll::Ready(LinkEvent::Frame(messages)),
                        Some(Ok(Err(error))) => self.gone(LinkError::Broken(error)),
                        Some(Err(status)) => self.gone(Fault::from(status).into()),
                        None => {
                            self.gone(LinkError::Broken(Error::unavailable("the server ended the stream")))
                        }
                    };
                }
                State::Gone => return Poll::Pending,
            }
        }
    }

    fn call(&mut self, channel: Channel) {
        let (outbound, frames) = mpsc::channel(OUTBOUND_FRAMES);
        self.outbound = Some(PollSender::new(outbound));
        let calling = open_stream(channel, self.identity.clone(), ReceiverStream::new(frames));
        self.state = State::Calling(Box::pin(calling));
    }

    fn gone(&mut self, error: LinkError) -> Poll<LinkEvent> {
        self.state = State::Gone;
        self.outbound = None;
        if matches!(error, LinkError::Broken(_) | LinkError::TurnedAway(_)) {
            self.transport.forget(&self.endpoint);
        }
        Poll::Ready(LinkEvent::Gone(error))
    }
}
