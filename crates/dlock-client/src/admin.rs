//! Taking locks from others.

use crate::client::Inner;
use crate::{Error, LockAddress};
use dlock_core::{SessionId, Token};
use std::sync::Arc;

/// Takes locks from their holders and ends sessions; made by [`Client::admin`](crate::Client::admin).
///
/// All its calls may fail with [`Error::Unreachable`], [`Error::Unavailable`], [`Error::Timeout`] and
/// [`Error::PermissionDenied`].
#[derive(Clone)]
pub struct AdminClient {
    client: Arc<Inner>,
    namespace: String,
}

impl AdminClient {
    pub(crate) fn new(client: Arc<Inner>) -> AdminClient {
        let namespace = client.namespace.clone();
        AdminClient { client, namespace }
    }

    /// The namespace of the names. Default: the client's.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Takes a lock, held or waiting, from its session: *break it, if it is still held by this one with this token*.
    /// The holder is told, but may act under the lock until it hears of it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the session has no such lock (any more), [`Error::Conflict`] when its token is another
    /// one by now.
    pub async fn force_release(
        &self,
        name: &str,
        lock: LockAddress,
        token: Option<Token>,
    ) -> Result<(), Error> {
        let _ = (name, lock, token);
        unimplemented!()
    }

    /// Ends a session: all its locks are free at once, and its client is told.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such session (any more).
    pub async fn end_session(&self, session: SessionId) -> Result<(), Error> {
        let _ = session;
        unimplemented!()
    }
}
