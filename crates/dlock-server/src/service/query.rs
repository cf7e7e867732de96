//! `dlock.v1.QueryService`. Nothing here changes anything; a disconnect ends the call.

use super::{Answer, AnswerStream};
use crate::convert;
use crate::fault::Fault;
use dlock_engine::Engine;
use dlock_proto::v1::query_service_server::QueryService;
use dlock_proto::v1::*;
use dlock_runtime::ProcessUsage;
use futures::StreamExt;
use tokio::runtime::Handle;
use tonic::{Request, Response};

pub(crate) struct QueryApi(pub(crate) Engine);

#[tonic::async_trait]
impl QueryService for QueryApi {
    type WatchResourcesStream = AnswerStream<WatchResourcesResponse>;

    async fn get_resource(&self, request: Request<GetResourceRequest>) -> Answer<GetResourceResponse> {
        let resource = convert::resource(request.into_inner().resource, "")?;
        let view = self.0.resource(&resource).await.map_err(Fault::from)?;
        Ok(Response::new(GetResourceResponse { resource: Some(convert::resource_info(view)) }))
    }

    async fn list_resources(&self, request: Request<ListResourcesRequest>) -> Answer<ListResourcesResponse> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace, "namespace")?;
        let prefix = convert::prefix(&request.prefix)?;
        let after = convert::resources_page(&request.page_token)?;
        let limit = convert::page_size(request.page_size);
        let page = self.0.resources(&namespace, prefix, after, limit).await.map_err(Fault::from)?;
        Ok(Response::new(ListResourcesResponse {
            resources: page.items.into_iter().map(convert::resource_info).collect(),
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn list_sessions(&self, request: Request<ListSessionsRequest>) -> Answer<ListSessionsResponse> {
        let request = request.into_inner();
        let after = convert::sessions_page(&request.page_token)?;
        let limit = convert::page_size(request.page_size);
        let page = self.0.sessions(after, limit).await.map_err(Fault::from)?;
        Ok(Response::new(ListSessionsResponse {
            sessions: page.items.into_iter().map(convert::session_info).collect(),
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn list_members(&self, _: Request<ListMembersRequest>) -> Answer<ListMembersResponse> {
        let members = self.0.members().await.map_err(Fault::from)?;
        Ok(Response::new(ListMembersResponse {
            members: members.into_iter().map(convert::member_info).collect(),
        }))
    }

    async fn watch_resources(
        &self,
        request: Request<WatchResourcesRequest>,
    ) -> Answer<Self::WatchResourcesStream> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace, "namespace")?;
        let prefix = convert::prefix(&request.prefix)?;
        let events = self.0.watch_resources(&namespace, prefix).await.map_err(Fault::from)?;
        Ok(Response::new(events.map(|event| Ok(convert::resource_event(event))).boxed()))
    }

    async fn get_server_info(&self, _: Request<GetServerInfoRequest>) -> Answer<GetServerInfoResponse> {
        let (info, health) = (self.0.store_info(), self.0.health().borrow().clone());
        Ok(Response::new(GetServerInfoResponse {
            version: self.0.config().version.clone(),
            member_id: self.0.member().to_string(),
            store: info.backend.to_owned(),
            store_place: info.place,
            caveats: info.caveats,
            serving: health.serving,
            draining: health.draining,
            conditions: health.conditions.into_iter().map(|c| format!("{}: {}", c.code, c.message)).collect(),
            tasks: Handle::current().metrics().num_alive_tasks() as u64,
            process: ProcessUsage::now().map(convert::process_info),
        }))
    }
}
