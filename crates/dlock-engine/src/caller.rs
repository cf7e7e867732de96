//! Requests as futures, for those who don't speak in events.

use crate::{Event, EventSink, LockRef, Request, RequestError, RequestId, Session, SessionError};
use dlock_core::resource::{Grant, Queued};
use foldhash::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// How many events that nobody takes are kept; older ones are dropped then, but never one that ends the session.
const EVENTS_MAX: usize = 4096;

/// A final answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The lock is held. Also the answer to a cancel that found the lock held: it stays so.
    Granted(Grant),
    /// Only to a query: the lock waits.
    Queued(Queued),
    /// The lock is released.
    Released,
    /// The wait is over as asked.
    Cancelled,
}

struct Call {
    reply: oneshot::Sender<Result<Reply, RequestError>>,
    /// A query is answered by a place in the queue; others go on waiting.
    query: bool,
}

#[derive(Default)]
struct Inner {
    last: u64,
    calls: HashMap<RequestId, Call>,
    events: VecDeque<Event>,
    /// The event after which nothing follows.
    over: Option<Event>,
}

/// An [`EventSink`] that turns answers into futures; all else comes out of [`Caller::next`].
#[derive(Default)]
pub struct Caller {
    inner: Mutex<Inner>,
    arrived: Notify,
}

impl Caller {
    /// A caller for one session, to be given to [`Engine::open_session`](crate::Engine::open_session) or
    /// [`attach_session`](crate::Engine::attach_session) as its sink.
    pub fn new() -> Arc<Caller> {
        Arc::default()
    }

    /// Sends a request and waits for its final answer.
    ///
    /// Dropping the future withdraws a request that waits, and releases a lock that was granted to it meanwhile:
    /// nothing leaks. (A conversion that is dropped is cancelled, and the lock keeps its mode.)
    pub async fn call(&self, session: &Session, request: Request) -> Result<Reply, RequestError> {
        let mut withdrawal = Withdrawal { caller: self, session, request: None };
        if let Request::Acquire { lock, resource, .. } = &request {
            withdrawal.request = Some(Request::Cancel {
                lock: LockRef { lock: *lock, resource: Some(resource.clone()) },
                release_if_granted: true,
            });
        } else if let Request::Convert { lock, .. } = &request {
            withdrawal.request = Some(Request::Cancel { lock: lock.clone(), release_if_granted: false });
        }
        let answer = self.call_detached(session, request).await;
        withdrawal.request = None;
        answer
    }

    /// The same, but a dropped future leaves the request where it is.
    pub async fn call_detached(&self, session: &Session, request: Request) -> Result<Reply, RequestError> {
        let (reply, answer) = oneshot::channel();
        let query = matches!(request, Request::Query { .. });
        let id = match self.register(Call { reply, query }) {
            Ok(id) => id,
            Err(over) => return Err(over.into()),
        };
        session.submit(vec![(id, request)]);
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(self.why_over().into()),
        }
    }

    /// The next event that is no final answer to a call: Queued, Blocking, Revoked, Draining; Ended and Detached
    /// are the last, and are returned again if it is called again.
    pub async fn next(&self) -> Event {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            {
                let mut inner = self.inner.lock();
                if let Some(event) = inner.events.pop_front() {
                    return event;
                }
                if let Some(over) = &inner.over {
                    return over.clone();
                }
            }
            arrived.await;
        }
    }

    /// Completes when the session is over for this caller: ended, or attached elsewhere.
    pub async fn over(&self) {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if self.inner.lock().over.is_some() {
                return;
            }
            arrived.await;
        }
    }

    fn register(&self, call: Call) -> Result<RequestId, SessionError> {
        let mut inner = self.inner.lock();
        if let Some(over) = &inner.over {
            return Err(session_error(over));
        }
        inner.last += 1;
        let id = RequestId(inner.last);
        inner.calls.insert(id, call);
        Ok(id)
    }

    fn why_over(&self) -> SessionError {
        self.inner.lock().over.as_ref().map_or(SessionError::Moved, session_error)
    }

    fn answer(&self, request: RequestId, answer: Result<Reply, RequestError>) {
        if let Some(call) = self.inner.lock().calls.remove(&request) {
            drop(call.reply.send(answer)); // whoever called may have gone
        }
    }

    fn keep(&self, event: Event) {
        let mut inner = self.inner.lock();
        if inner.events.len() >= EVENTS_MAX {
            inner.events.pop_front();
        }
        inner.events.push_back(event);
        drop(inner);
        self.arrived.notify_waiters();
    }

    fn finish(&self, event: Event) {
        let mut inner = self.inner.lock();
        inner.over = Some(event);
        inner.calls.clear(); // their futures ask why
        drop(inner);
        self.arrived.notify_waiters();
    }
}

fn session_error(over: &Event) -> SessionError {
    match over {
        Event::Ended { reason } => SessionError::Ended(*reason),
        _ => SessionError::Moved,
    }
}

impl EventSink for Caller {
    fn deliver(&self, event: Event) {
        match event {
            Event::Queued { request, place } => {
                let query = self.inner.lock().calls.get(&request).is_some_and(|call| call.query);
                if query {
                    self.answer(request, Ok(Reply::Queued(place)));
                } else {
                    self.keep(Event::Queued { request, place });
                }
            }
            Event::Granted { request, grant } => self.answer(request, Ok(Reply::Granted(grant))),
            Event::Released { request, .. } => self.answer(request, Ok(Reply::Released)),
            Event::Cancelled { request, .. } => self.answer(request, Ok(Reply::Cancelled)),
            Event::Failed { request, error, .. } => self.answer(request, Err(error)),
            event @ (Event::Blocking { .. } | Event::Revoked { .. } | Event::Draining) => self.keep(event),
            event @ (Event::Ended { .. } | Event::Detached) => self.finish(event),
        }
    }
}

/// Withdraws a request whose caller has gone.
struct Withdrawal<'a> {
    caller: &'a Caller,
    session: &'a Session,
    request: Option<Request>,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            let (reply, _) = oneshot::channel();
            if let Ok(id) = self.caller.register(Call { reply, query: false }) {
                self.session.submit(vec![(id, request)]);
            }
        }
    }
}
