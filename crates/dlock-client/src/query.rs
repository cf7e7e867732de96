//! Looking at the service.

use crate::client::Inner;
use crate::{Error, MemberInfo, ResourceEvent, ResourceInfo, ServerInfo, SessionInfo, TokenCheck};
use dlock_core::Token;
use futures::stream::BoxStream;
use std::sync::Arc;

/// Looks at resources, sessions and servers; made by [`Client::query`](crate::Client::query). Needs no session.
///
/// All its calls may fail with [`Error::Unreachable`], [`Error::Unavailable`], [`Error::Timeout`] and
/// [`Error::PermissionDenied`]; those that take a name or a prefix also with [`Error::InvalidArgument`].
#[derive(Clone)]
pub struct QueryClient {
    client: Arc<Inner>,
    namespace: String,
}

impl QueryClient {
    pub(crate) fn new(client: Arc<Inner>) -> QueryClient {
        let namespace = client.namespace.clone();
        QueryClient { client, namespace }
    }

    /// The namespace to look in. Default: the client's.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// One resource as it stands, read linearizably; one that nobody ever locked has no holder and no queue.
    pub async fn get_resource(&self, name: &str) -> Result<ResourceInfo, Error> {
        let _ = name;
        unimplemented!()
    }

    /// The resources whose name begins with `prefix`, by name. Pages are fetched as the stream is read; it ends with
    /// its first error.
    pub fn list_resources(&self, prefix: &str) -> BoxStream<'static, Result<ResourceInfo, Error>> {
        let _ = prefix;
        unimplemented!()
    }

    /// The sessions of the whole service, by id. Pages are fetched as the stream is read; it ends with its first error.
    pub fn list_sessions(&self) -> BoxStream<'static, Result<SessionInfo, Error>> {
        unimplemented!()
    }

    /// The servers of the service.
    pub async fn list_members(&self) -> Result<Vec<MemberInfo>, Error> {
        unimplemented!()
    }

    /// A snapshot of the resources whose name begins with `prefix`, then their changes as they happen. The stream ends
    /// with its first error; a new one begins with a snapshot again.
    pub async fn watch(
        &self,
        prefix: &str,
    ) -> Result<BoxStream<'static, Result<ResourceEvent, Error>>, Error> {
        let _ = prefix;
        unimplemented!()
    }

    /// The server that answers.
    pub async fn server_info(&self) -> Result<ServerInfo, Error> {
        unimplemented!()
    }

    /// Whether a live session holds the resource with this token.
    pub async fn check_token(&self, name: &str, token: Token) -> Result<TokenCheck, Error> {
        let _ = (name, token);
        unimplemented!()
    }
}
