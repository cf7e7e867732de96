//! Taking locks from others.

use crate::client::Inner;
use crate::{Error, LockAddress, wire};
use dlock_core::{ResourceId, SessionId, Token};
use dlock_proto::v1;
use dlock_proto::v1::admin_service_client::AdminServiceClient;
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
        let resource = ResourceId::new(&self.namespace, name)?;
        let request = v1::ForceReleaseRequest {
            resource: Some(wire::resource_to_proto(&resource)),
            session_id: lock.session.to_string(),
            lock_id: lock.lock.0,
            token: token.map(Token::get),
        };
        let call = |channel| {
            let request = request.clone();
            async move { AdminServiceClient::new(channel).force_release(request).await }
        };
        self.client.call(call).await.map(|v1::ForceReleaseResponse {}| ()).map_err(not_ours)
    }

    /// Ends a session: all its locks are free at once, and its client is told.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such session (any more).
    pub async fn end_session(&self, session: SessionId) -> Result<(), Error> {
        let request = v1::EndSessionRequest { session_id: session.to_string() };
        let call = |channel| {
            let request = request.clone();
            async move { AdminServiceClient::new(channel).end_session(request).await }
        };
        self.client.call(call).await.map(|v1::EndSessionResponse {}| ()).map_err(not_ours)
    }
}

/// The session that is over is the one that was named, not this client's.
fn not_ours(error: Error) -> Error {
    match error {
        Error::SessionLost { reason } => Error::NotFound { message: reason.to_string() },
        error => error,
    }
}
