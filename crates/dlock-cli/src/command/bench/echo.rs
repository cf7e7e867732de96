//! A plain gRPC echo, in a process of its own: what the wire can do without any lock.

use super::connection::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::exit::{self, Exit};
use crate::output;
use dlock_proto::bench::echo_service_server::{EchoService, EchoServiceServer};
use dlock_proto::bench::{
    EchoOnceRequest, EchoOnceResponse, EchoRequest, EchoResponse, GetProcessRequest, GetProcessResponse,
};
use dlock_proto::duration_to_proto;
use dlock_runtime::ProcessUsage;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

struct Echoing;

#[tonic::async_trait]
impl EchoService for Echoing {
    type EchoStream = BoxStream<'static, Result<EchoResponse, Status>>;

    async fn echo(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Self::EchoStream>, Status> {
        let echoes = request
            .into_inner()
            .map(|message| message.map(|EchoRequest { payload }| EchoResponse { payload }));
        Ok(Response::new(echoes.boxed()))
    }

    async fn echo_once(
        &self,
        request: Request<EchoOnceRequest>,
    ) -> Result<Response<EchoOnceResponse>, Status> {
        Ok(Response::new(EchoOnceResponse { payload: request.into_inner().payload }))
    }

    async fn get_process(
        &self,
        _: Request<GetProcessRequest>,
    ) -> Result<Response<GetProcessResponse>, Status> {
        let process = ProcessUsage::now().map(|usage| GetProcessResponse {
            cpu_time: Some(duration_to_proto(usage.cpu)),
            resident_bytes: usage.resident_bytes,
            resident_bytes_peak: usage.resident_bytes_peak,
        });
        Ok(Response::new(process.unwrap_or_default()))
    }
}

fn failed(error: impl std::fmt::Display) -> Exit {
    Exit::new(exit::FAILURE, format!("the echo has failed: {error}"))
}

/// Serves echoes on a free port, which it prints, until it is killed.
pub(crate) async fn serve() -> Result<u8, Exit> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Exit::system)?;
    output::line(&listener.local_addr().map_err(Exit::system)?.to_string())?;
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(EchoServiceServer::new(Echoing))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
        .map_err(failed)?;
    Ok(0)
}

/// A running echo server. It ends when this is dropped.
pub(super) struct EchoServer {
    address: String,
    _process: Child,
}

impl EchoServer {
    pub(super) async fn start() -> Result<EchoServer, Exit> {
        let program = std::env::current_exe().map_err(Exit::system)?;
        let mut command = Command::new(program);
        command.arg("echo-server").stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().map_err(Exit::system)?;
        let output = process.stdout.take().ok_or_else(|| failed("it says nothing"))?;
        let address = BufReader::new(output).lines().next_line().await.map_err(Exit::system)?;
        Ok(EchoServer { address: address.ok_or_else(|| failed("it did not start"))?, _process: process })
    }

    /// As `HOST:PORT`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}
