//! Requests as futures, for those who don't speak in events. SKELETON: signatures are final.

use crate::{Event, EventSink, Request, RequestError, Session};
use dlock_core::resource::{Grant, Queued};
use std::sync::Arc;

/// A final answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The lock is held.
    Granted(Grant),
    /// Only to a query: the lock waits.
    Queued(Queued),
    /// The lock is released.
    Released,
    /// The wait is over as asked.
    Cancelled,
}

/// An [`EventSink`] that turns answers into futures; all else comes out of [`Caller::next`].
pub struct Caller {}

impl Caller {
    /// A caller for one session, to be given to `open_session` or `attach_session` as its sink.
    pub fn new() -> Arc<Caller> { unimplemented!() }
    /// Sends a request and waits for its final answer. Dropping the future withdraws a request that waits, and
    /// releases a lock that was granted to it meanwhile: nothing leaks.
    pub async fn call(&self, session: &Session, request: Request) -> Result<Reply, RequestError> { unimplemented!() }
    /// The same, but a dropped future leaves the request where it is.
    pub async fn call_detached(&self, session: &Session, request: Request) -> Result<Reply, RequestError> { unimplemented!() }
    /// The next event that is no final answer to a call: Queued, Blocking, Revoked, Ended, Detached, Draining.
    pub async fn next(&self) -> Event { unimplemented!() }
}

impl EventSink for Caller {
    fn deliver(&self, event: Event) { unimplemented!() }
}
