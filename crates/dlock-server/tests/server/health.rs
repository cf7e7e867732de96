//! gRPC health and reflection.

use crate::world::World;
use dlock_proto::health::health_check_response::ServingStatus;
use dlock_proto::health::health_client::HealthClient;
use dlock_proto::health::{HealthCheckRequest, HealthListRequest};
use tokio_stream::StreamExt;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

#[tokio::test]
async fn health_is_checked_listed_and_watched() {
    let world = World::new().await;
    let mut client = HealthClient::new(world.channel.clone());
    let check = |service: &str| HealthCheckRequest { service: service.to_owned() };
    crate::calls::until(|| {
        let mut client = client.clone();
        async move {
            client
                .check(check(""))
                .await
                .is_ok_and(|health| health.into_inner().status() == ServingStatus::Serving)
        }
    })
    .await;
    let listed = client.list(HealthListRequest {}).await.unwrap().into_inner().statuses;
    for service in
        ["", "dlock.v1.LockService", "dlock.v1.QueryService", "dlock.v1.AdminService", "dlock.Dlock"]
    {
        assert_eq!(listed[service].status(), ServingStatus::Serving, "{service}");
    }
    let mut watch = client.watch(check("dlock.v1.LockService")).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    world.engine.drain();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(client.check(check("nonsense")).await.is_err());
}

#[tokio::test]
async fn reflection_names_the_services() {
    let world = World::new().await;
    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = ServerReflectionClient::new(world.channel.clone());
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(listed) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    for service in ["dlock.v1.LockService", "dlock.Dlock", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|name| name == service), "{names:?}");
    }
}
