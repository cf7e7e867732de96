//! A lock to be acquired.

use crate::client::Inner;
use crate::driver::command::{Command, SessionHandle};
use crate::session::locks::AcquireAsk;
use crate::sync::oneshot;
use crate::wait::{Limit, Wait};
use crate::{Error, Guard};
use dlock_core::{LockId, Mode, ResourceId};
use futures::future::OptionFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How many sessions may end under a request before it gives up.
const SESSIONS_TRIED_MAX: usize = 3;

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// How many conversions and requests are served before this one.
    pub ahead: u32,
}

/// A lock to be acquired: how, and how long to wait. Made by [`Client::lock`](crate::Client::lock).
#[must_use = "nothing is locked until `acquire` is called"]
pub struct Lock {
    client: Arc<Inner>,
    name: String,
    /// The client's, if none was given.
    namespace: Option<String>,
    mode: Mode,
    wait: Wait,
    reentrant: bool,
    on_queued: Option<Box<dyn FnMut(Place) + Send>>,
}

impl Lock {
    pub(crate) fn new(client: Arc<Inner>, name: String) -> Lock {
        Lock {
            client,
            name,
            namespace: None,
            mode: Mode::Exclusive,
            wait: Wait::Forever,
            reentrant: false,
            on_queued: None,
        }
    }

    /// The namespace of the name. Default: the client's.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// How the lock may be shared. Default: [`Mode::Exclusive`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// How long to wait at most. Default: as long as the session lives.
    pub fn wait(mut self, at_most: Duration) -> Self {
        self.wait = Wait::For(at_most);
        self
    }

    /// Returns the lock that this client already holds on the resource, if its mode covers the one asked for, instead
    /// of waiting for oneself. Each guard is released for itself; the last one lets go.
    pub fn reentrant(mut self) -> Self {
        self.reentrant = true;
        self
    }

    /// Called when the request has to wait, and again (at most once a second) when its place has changed. It runs as
    /// part of the `acquire` future.
    pub fn on_queued(mut self, callback: impl FnMut(Place) + Send + 'static) -> Self {
        self.on_queued = Some(Box::new(callback));
        self
    }

    /// Waits for the lock.
    ///
    /// Cancel-safe: dropping the future withdraws the request, and releases a lock that was granted to it meanwhile.
    ///
    /// # Errors
    /// [`Error::WaitTimeout`], [`Error::QueueFull`], [`Error::InvalidArgument`], [`Error::SessionLost`],
    /// [`Error::Unreachable`] when no session can be opened, and what the service refuses otherwise.
    pub async fn acquire(mut self) -> Result<Guard, Error> {
        let resource =
            ResourceId::new(self.namespace.as_deref().unwrap_or(&self.client.namespace), &self.name)?;
        let limit =
            Limit::new(self.wait, &self.client.environment.clock, self.client.transport.request_timeout);
        let ask = AcquireAsk {
            resource,
            mode: self.mode,
            wait: limit.until(),
            reentrant: self.reentrant,
            report_position: self.on_queued.is_some(),
        };
        limit.within(self.acquire_before(ask)).await
    }

    /// Takes the lock if it can be granted at once, else returns `None` and leaves no trace.
    ///
    /// # Errors
    /// As [`Lock::acquire`], without [`Error::WaitTimeout`]; [`Error::Timeout`] when the service does not answer.
    pub async fn try_acquire(mut self) -> Result<Option<Guard>, Error> {
        self.wait = Wait::Try;
        match self.acquire().await {
            Ok(guard) => Ok(Some(guard)),
            Err(Error::WouldBlock) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn acquire_before(&mut self, ask: AcquireAsk) -> Result<Guard, Error> {
        for _ in 0..SESSIONS_TRIED_MAX {
            let session = self.client.session()?;
            // A session that ended before it took the command says nothing: there is a new one, then.
            if let Some(answer) = self.acquire_in(session, ask.clone()).await {
                return answer;
            }
        }
        // The runtime that drives the client is gone.
        Err(Error::Closed)
    }

    async fn acquire_in(&mut self, session: SessionHandle, ask: AcquireAsk) -> Option<Result<Guard, Error>> {
        let resource = ask.resource.clone();
        let (place_sender, mut place) = match &self.on_queued {
            Some(_) => Some(watch::channel(None)).unzip(),
            None => (None, None),
        };
        let (reply, mut answer) = oneshot::channel();
        let mut request = Request { session: &session, lock: session.cell.next_lock(), open: true };
        let command = Command::Acquire { lock: request.lock, ask, place: place_sender, reply };
        session.commands.send(command).ok()?;
        let grant = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer.ok()?,
                // Never again when the sender is gone: the answer is under way.
                Some(Ok(())) = OptionFuture::from(place.as_mut().map(watch::Receiver::changed)) => {
                    let ahead = place.as_mut().and_then(|place| *place.borrow_and_update());
                    self.report(ahead);
                }
            }
        };
        request.open = false;
        let request_timeout = self.client.transport.request_timeout;
        let lock = request.lock;
        drop(request);
        Some(grant.map(|granted| Guard::new(session, lock, resource, granted, request_timeout)))
    }

    fn report(&mut self, ahead: Option<u32>) {
        if let (Some(callback), Some(ahead)) = (&mut self.on_queued, ahead) {
            callback(Place { ahead });
        }
    }
}

/// A request that is withdrawn when it is dropped, unless it came to an end.
struct Request<'session> {
    session: &'session SessionHandle,
    lock: LockId,
    open: bool,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if self.open {
            // A session that is over has nothing to withdraw.
            let _ = self.session.commands.send(Command::Withdraw { lock: self.lock });
        }
    }
}
