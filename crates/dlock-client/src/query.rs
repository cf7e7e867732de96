//! Looking at the service.

use crate::client::Inner;
use crate::{Error, MemberInfo, ResourceEvent, ResourceInfo, ServerInfo, SessionInfo, TokenCheck, wire};
use dlock_core::{Namespace, ResourceId, Token};
use dlock_proto::v1;
use dlock_proto::v1::lock_service_client::LockServiceClient;
use dlock_proto::v1::query_service_client::QueryServiceClient;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use std::future::{Future, ready};
use std::sync::Arc;

/// How many items are fetched at a time.
const PAGE_SIZE: u32 = 100;

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
        let resource = Some(wire::resource_to_proto(&self.resource(name)?));
        let request = v1::GetResourceRequest { resource };
        let call = |channel| {
            let request = request.clone();
            async move { QueryServiceClient::new(channel).get_resource(request).await }
        };
        wire::resource(self.client.call(call).await?.resource)
    }

    /// The resources whose name begins with `prefix`, by name. Pages are fetched as the stream is read; it ends with
    /// its first error.
    pub fn list_resources(&self, prefix: &str) -> BoxStream<'static, Result<ResourceInfo, Error>> {
        let namespace = match self.checked_namespace() {
            Ok(namespace) => namespace.as_str().to_owned(),
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let (client, prefix) = (self.client.clone(), prefix.to_owned());
        let page = move |page_token| {
            let request = v1::ListResourcesRequest {
                namespace: namespace.clone(),
                prefix: prefix.clone(),
                page_size: PAGE_SIZE,
                page_token,
            };
            let client = client.clone();
            async move {
                let call = |channel| {
                    let request = request.clone();
                    async move { QueryServiceClient::new(channel).list_resources(request).await }
                };
                let page = client.call(call).await?;
                Ok((page.resources, page.next_page_token))
            }
        };
        pages(page).and_then(|info| ready(wire::resource(Some(info)))).boxed()
    }

    /// The sessions of the whole service, by id, and for some minutes those that have ended. Pages are fetched as the
    /// stream is read; it ends with its first error.
    pub fn list_sessions(&self) -> BoxStream<'static, Result<SessionInfo, Error>> {
        let client = self.client.clone();
        let page = move |page_token| {
            let request = v1::ListSessionsRequest { page_size: PAGE_SIZE, page_token };
            let client = client.clone();
            async move {
                let call = |channel| {
                    let request = request.clone();
                    async move { QueryServiceClient::new(channel).list_sessions(request).await }
                };
                let page = client.call(call).await?;
                Ok((page.sessions, page.next_page_token))
            }
        };
        pages(page).and_then(|info| ready(wire::session(info))).boxed()
    }

    /// The servers of the service.
    pub async fn list_members(&self) -> Result<Vec<MemberInfo>, Error> {
        let call = |channel| async move {
            QueryServiceClient::new(channel).list_members(v1::ListMembersRequest {}).await
        };
        self.client.call(call).await?.members.into_iter().map(wire::member).collect()
    }

    /// A snapshot of the resources whose name begins with `prefix`, then their changes as they happen. The stream ends
    /// with its first error; a new one begins with a snapshot again.
    pub async fn watch(
        &self,
        prefix: &str,
    ) -> Result<BoxStream<'static, Result<ResourceEvent, Error>>, Error> {
        let namespace = self.checked_namespace()?.as_str().to_owned();
        let request = v1::WatchResourcesRequest { namespace, prefix: prefix.to_owned() };
        let call = |channel| {
            let request = request.clone();
            async move { QueryServiceClient::new(channel).watch_resources(request).await }
        };
        let changes = self.client.call(call).await?.map_err(Error::from);
        Ok(changes.try_filter_map(|response| ready(wire::resource_event(response))).boxed())
    }

    /// The server that answers.
    pub async fn server_info(&self) -> Result<ServerInfo, Error> {
        let call = |channel| async move {
            QueryServiceClient::new(channel).get_server_info(v1::GetServerInfoRequest {}).await
        };
        wire::server(self.client.call(call).await?)
    }

    /// Whether a live session holds the resource with this token at the moment.
    pub async fn check_token(&self, name: &str, token: Token) -> Result<TokenCheck, Error> {
        let resource = Some(wire::resource_to_proto(&self.resource(name)?));
        let request = v1::CheckTokenRequest { resource, token: token.get() };
        let call = |channel| {
            let request = request.clone();
            async move { LockServiceClient::new(channel).check_token(request).await }
        };
        let found = self.client.call(call).await?;
        Ok(TokenCheck { held: found.held, highest: wire::token(found.highest)? })
    }

    fn resource(&self, name: &str) -> Result<ResourceId, Error> {
        Ok(ResourceId::new(&self.namespace, name)?)
    }

    fn checked_namespace(&self) -> Result<Namespace, Error> {
        Ok(Namespace::new(&self.namespace)?)
    }
}

/// The items of all pages, each page being fetched when the one before is used up.
fn pages<T, F, R>(page: F) -> impl futures::Stream<Item = Result<T, Error>>
where
    F: Fn(String) -> R,
    R: Future<Output = Result<(Vec<T>, String), Error>>,
{
    stream::try_unfold((page, Some(String::new())), |(page, token)| async move {
        let Some(token) = token else { return Ok::<_, Error>(None) };
        let (items, next) = page(token).await?;
        let items = stream::iter(items.into_iter().map(Ok));
        Ok(Some((items, (page, Some(next).filter(|next| !next.is_empty())))))
    })
    .try_flatten()
}
