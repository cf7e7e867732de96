//! The gRPC health checking protocol: every service is served while the engine serves.

use super::{Answer, AnswerStream};
use dlock_engine::Health as EngineHealth;
use dlock_proto::health::health_check_response::ServingStatus;
use dlock_proto::health::health_server::{Health, SERVICE_NAME as HEALTH};
use dlock_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use dlock_proto::v1::admin_service_server::SERVICE_NAME as ADMIN;
use dlock_proto::v1::lock_service_server::SERVICE_NAME as LOCK;
use dlock_proto::v1::query_service_server::SERVICE_NAME as QUERY;
use dlock_proto::v1alpha1::dlock_server::SERVICE_NAME as FIRST;
use futures::StreamExt;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// The services whose health is told; the empty name is the server as a whole.
const SERVICES: [&str; 6] = ["", LOCK, QUERY, ADMIN, FIRST, HEALTH];

pub(crate) struct HealthApi(pub(crate) watch::Receiver<EngineHealth>);

fn status(health: &EngineHealth) -> HealthCheckResponse {
    let status = if health.serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status as i32 }
}

#[tonic::async_trait]
impl Health for HealthApi {
    type WatchStream = AnswerStream<HealthCheckResponse>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Answer<HealthCheckResponse> {
        let service = request.into_inner().service;
        if !SERVICES.contains(&service.as_str()) {
            return Err(Status::not_found(format!("no such service here: ask for one of {SERVICES:?}")));
        }
        Ok(Response::new(status(&self.0.borrow())))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Answer<HealthListResponse> {
        let status = status(&self.0.borrow());
        let statuses = SERVICES.into_iter().map(|service| (service.to_owned(), status)).collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    /// Ends with the engine, or with the call.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Answer<Self::WatchStream> {
        if !SERVICES.contains(&request.into_inner().service.as_str()) {
            let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown as i32 };
            return Ok(Response::new(
                futures::stream::iter([Ok(unknown)]).chain(futures::stream::pending()).boxed(),
            ));
        }
        let mut health = self.0.clone();
        let first = status(&health.borrow_and_update());
        let changes = futures::stream::unfold((health, first), |(mut health, last)| async move {
            loop {
                health.changed().await.ok()?;
                let now = status(&health.borrow_and_update());
                if now != last {
                    return Some((Ok(now), (health, now)));
                }
            }
        });
        Ok(Response::new(futures::stream::iter([Ok(first)]).chain(changes).boxed()))
    }
}
