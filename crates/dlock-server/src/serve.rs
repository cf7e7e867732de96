//! All services on one connection, and their end.

use crate::service::{AdminApi, FirstDlock, HealthApi, LockApi, QueryApi};
use crate::unreadable;
use dlock_engine::Engine;
use dlock_proto::health::health_server::HealthServer;
use dlock_proto::v1::admin_service_server::AdminServiceServer;
use dlock_proto::v1::lock_service_server::LockServiceServer;
use dlock_proto::v1::query_service_server::QueryServiceServer;
use dlock_proto::v1alpha1::dlock_server::DlockServer;
use dlock_runtime::Environment;
use futures::Stream;
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpIncoming};

/// The longest message from a client, in bytes: 4 MiB, as gRPC has it by default.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// How much a stream may have on its way to us; see [`CONNECTION_WINDOW_BYTES`].
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// How much a connection may have on its way to us. With narrower windows, or adaptive ones, small messages that pile
/// up unread end the whole connection (h2 counts their frames).
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// How often a connection that nothing comes from is probed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a probe's answer is waited for before the connection counts as broken.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many calls one connection may have open.
const STREAMS_MAX: u32 = 100_000;

/// All services over an engine: locks, queries, administration, the first dlock's, health and reflection.
pub fn routes(engine: &Engine, environment: &Environment) -> Routes {
    let clock = environment.clock.clone();
    let lock = LockServiceServer::new(LockApi::new(engine.clone(), clock.clone()));
    let query = QueryServiceServer::new(QueryApi(engine.clone()));
    let admin = AdminServiceServer::new(AdminApi(engine.clone()));
    let first = DlockServer::new(FirstDlock { engine: engine.clone(), clock });
    let routes = Routes::new(HealthServer::new(HealthApi(engine.health())))
        .add_service(lock.max_decoding_message_size(FRAME_BYTES_MAX))
        .add_service(query.max_decoding_message_size(FRAME_BYTES_MAX))
        .add_service(admin.max_decoding_message_size(FRAME_BYTES_MAX))
        .add_service(first.max_decoding_message_size(FRAME_BYTES_MAX));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(dlock_proto::FILE_DESCRIPTOR_SET)
    };
    let routes = match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "reflection is off");
            routes
        }
    };
    let blaming = axum::middleware::map_response(unreadable::blame_the_client);
    Routes::from(routes.into_axum_router().layer(blaming)).prepare()
}

/// Serves connections that somebody else accepts, until `stop` completes.
pub async fn serve<I, IO, E>(
    routes: Routes,
    connections: I,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    I: Stream<Item = Result<IO, E>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_adaptive_window(Some(false))
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_MAX)
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, stop)
        .await
}

/// Serves connections to a listening socket, until `stop` completes.
pub async fn serve_listener(
    routes: Routes,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    // Nagle's algorithm would hold back small answers for 40 ms.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    serve(routes, incoming, stop).await
}

/// Takes an engine out of service: no new sessions, the clients told to move ([`dlock_engine::Event::Draining`]), what is granted
/// kept; until no session is at home here any more, or `grace` has passed. Then the engine stops.
pub async fn drain(engine: &Engine, environment: &Environment, grace: Duration) {
    /// How often it is looked whether all have gone.
    const LOOK_INTERVAL: Duration = Duration::from_millis(100);
    engine.drain();
    let deadline = environment.clock.now() + grace;
    while engine.sessions_at_home() > 0 && environment.clock.now() < deadline {
        environment.clock.sleep(LOOK_INTERVAL).await;
    }
    let left = engine.sessions_at_home();
    if left > 0 {
        tracing::warn!(sessions = left, "sessions are left behind: they live on for their time to live");
    }
    engine.shutdown().await;
}
