//! What waits to be sent on a session's stream: events of the engine and the handler's own messages, sent in frames of
//! many, no faster than the client reads.

use crate::convert;
use crate::fault::Fault;
use dlock_engine::{Event, EventSink};
use dlock_proto::v1::{ServerMessage, SessionResponse, server_message::Body};
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;

/// How many messages one frame carries at most.
const FRAME_MESSAGES_MAX: usize = 256;
/// How many frames may be on their way unread; small frames that pile up unread would end the whole connection.
pub(crate) const UNREAD_FRAMES_MAX: usize = 1024;
/// How many messages may wait for a client that doesn't read.
const WAITING_MAX: usize = 262_144;

#[derive(Default)]
struct State {
    /// The first message, and that nothing is sent before it.
    started: bool,
    messages: VecDeque<Item>,
    sent_frames: u64,
    received_frames: u64,
    /// How the stream ends once all is sent.
    end: Option<Result<(), Status>>,
}

enum Item {
    Event(Event),
    Message(Box<ServerMessage>),
}

/// A stream's outbox.
#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    reader: AtomicWaker,
    /// Other servers' addresses, for a client that has to move.
    endpoints: Mutex<Vec<String>>,
}

impl Outbox {
    pub(crate) fn new() -> Arc<Outbox> {
        Arc::default()
    }

    /// Sends the first message, and from now on all others.
    pub(crate) fn start(&self, first: Body, endpoints: Vec<String>) {
        *self.endpoints.lock() = endpoints;
        let mut state = self.state.lock();
        state.started = true;
        let first = ServerMessage { sequence: 0, body: Some(first) };
        state.messages.push_front(Item::Message(Box::new(first)));
        drop(state);
        self.reader.wake();
    }

    pub(crate) fn send(&self, sequence: u64, body: Body) {
        self.push(Item::Message(Box::new(ServerMessage { sequence, body: Some(body) })));
    }

    /// Ends the stream after what waits. The first end counts.
    pub(crate) fn finish(&self, end: Result<(), Status>) {
        let mut state = self.state.lock();
        state.started = true;
        state.end.get_or_insert(end);
        drop(state);
        self.reader.wake();
    }

    /// Nobody takes anything out any more: what waits is dropped, and so is what its session is still told.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        state.messages.clear();
        state.end.get_or_insert(Ok(()));
    }

    /// The client has read so many frames.
    pub(crate) fn received(&self, frames: u64) {
        let mut state = self.state.lock();
        if frames > state.received_frames {
            // A client that claims to have read what was not sent gets no more credit by that.
            state.received_frames = frames.min(state.sent_frames);
            drop(state);
            self.reader.wake();
        }
    }

    fn push(&self, item: Item) {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return;
        }
        if state.messages.len() >= WAITING_MAX {
            state.messages.clear();
            state.started = true;
            state.end = Some(Err(Fault::slow_reader().into()));
        } else {
            state.messages.push_back(item);
        }
        drop(state);
        self.reader.wake();
    }

    /// The next frame, when there is something to send and the client may be sent it.
    pub(crate) fn poll_frame(&self, context: &Context<'_>) -> Poll<Option<Result<SessionResponse, Status>>> {
        self.reader.register(context.waker());
        let mut state = self.state.lock();
        if !state.started {
            return Poll::Pending;
        }
        if state.messages.is_empty() {
            return match state.end.take() {
                Some(Ok(())) => {
                    state.end = Some(Ok(()));
                    Poll::Ready(None)
                }
                Some(Err(status)) => {
                    state.end = Some(Ok(()));
                    Poll::Ready(Some(Err(status)))
                }
                None => Poll::Pending,
            };
        }
        if state.sent_frames - state.received_frames >= UNREAD_FRAMES_MAX as u64 && state.end.is_none() {
            return Poll::Pending;
        }
        let items: VecDeque<Item> = if state.messages.len() > FRAME_MESSAGES_MAX {
            state.messages.drain(..FRAME_MESSAGES_MAX).collect()
        } else {
            std::mem::take(&mut state.messages) // with its memory: most are empty most of the time
        };
        state.sent_frames += 1;
        drop(state);
        let messages = items.into_iter().map(|item| self.encode(item)).collect();
        Poll::Ready(Some(Ok(SessionResponse { messages })))
    }

    fn encode(&self, item: Item) -> ServerMessage {
        match item {
            Item::Event(event) => {
                let mut message = convert::event(event);
                if let Some(Body::MoveAway(away)) = &mut message.body {
                    away.endpoints = self.endpoints.lock().clone();
                }
                message
            }
            Item::Message(message) => *message,
        }
    }
}

impl EventSink for Outbox {
    fn deliver(&self, event: Event) {
        let last = matches!(event, Event::Ended { .. } | Event::Detached);
        self.push(Item::Event(event));
        if last {
            self.finish(Ok(()));
        }
    }
}
