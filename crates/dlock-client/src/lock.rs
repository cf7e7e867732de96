//! A lock to be acquired.

use crate::{Error, Guard};
use dlock_core::Mode;
use std::time::Duration;

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// How many conversions and requests are served before this one.
    pub ahead: u32,
}

/// A lock to be acquired: how, and how long to wait. Made by [`Client::lock`](crate::Client::lock).
#[must_use = "nothing is locked until `acquire` is called"]
pub struct Lock {}

impl Lock {
    /// The namespace of the name. Default: the client's.
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        let _ = namespace.into();
        self
    }

    /// How the lock may be shared. Default: [`Mode::Exclusive`].
    pub fn mode(self, mode: Mode) -> Self {
        let _ = mode;
        self
    }

    /// How long to wait at most. Default: as long as the session lives.
    pub fn wait(self, at_most: Duration) -> Self {
        let _ = at_most;
        self
    }

    /// Returns the lock that this client already holds on the resource, if its mode covers the one asked for, instead
    /// of waiting for oneself. Each guard is released for itself; the last one lets go.
    pub fn reentrant(self) -> Self {
        self
    }

    /// Called when the request has to wait, and again (at most once a second) when its place has changed. It runs as
    /// part of the `acquire` future.
    pub fn on_queued(self, callback: impl FnMut(Place) + Send + 'static) -> Self {
        drop(callback);
        self
    }

    /// Waits for the lock.
    ///
    /// Cancel-safe: dropping the future withdraws the request, and releases a lock that was granted to it meanwhile.
    ///
    /// # Errors
    /// [`Error::WaitTimeout`], [`Error::QueueFull`], [`Error::InvalidArgument`], [`Error::SessionLost`],
    /// [`Error::Unreachable`] when no session can be opened, and what the service refuses otherwise.
    pub async fn acquire(self) -> Result<Guard, Error> {
        unimplemented!()
    }

    /// Takes the lock if it can be granted at once, else returns `None` and leaves no trace.
    ///
    /// # Errors
    /// As [`Lock::acquire`], without [`Error::WaitTimeout`].
    pub async fn try_acquire(self) -> Result<Option<Guard>, Error> {
        unimplemented!()
    }
}
