//! A plain gRPC echo over bidirectional streams, in a process of its own: what the wire can do without any lock.

use crate::exit::{self, Exit};
use crate::output;
use dlock_proto::bench::echo_service_client::EchoServiceClient;
use dlock_proto::bench::echo_service_server::{EchoService, EchoServiceServer};
use dlock_proto::bench::{EchoRequest, EchoResponse};
use dlock_runtime::{BootClock, Clock};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

/// How long a message is: about that of an acquire.
const PAYLOAD_BYTES: usize = 64;
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

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

/// A running echo server.
pub(super) struct Echo {
    address: String,
    _server: Child,
}

impl Echo {
    pub(super) async fn start() -> Result<Echo, Exit> {
        let program = std::env::current_exe().map_err(Exit::system)?;
        let mut command = Command::new(program);
        command.arg("echo-server").stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut server = command.spawn().map_err(Exit::system)?;
        let output = server.stdout.take().ok_or_else(|| failed("it says nothing"))?;
        let address = BufReader::new(output).lines().next_line().await.map_err(Exit::system)?;
        Ok(Echo { address: address.ok_or_else(|| failed("it did not start"))?, _server: server })
    }

    /// Messages per second, with so many connections and messages under way.
    pub(super) async fn measure(
        &self,
        connections: u32,
        in_flight: u32,
        warm_up: Duration,
        duration: Duration,
    ) -> Result<f64, Exit> {
        let begin = BootClock.now() + warm_up;
        let end = begin + duration;
        let mut streams = JoinSet::new();
        for number in 0..connections {
            let share = in_flight / connections + u32::from(number < in_flight % connections);
            let endpoint = Channel::from_shared(format!("http://{}", self.address)).map_err(failed)?;
            let channel = endpoint
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .connect()
                .await
                .map_err(failed)?;
            streams.spawn(async move {
                let (sender, receiver) = mpsc::unbounded_channel();
                let payload = bytes_of(PAYLOAD_BYTES);
                for _ in 0..share {
                    drop(sender.send(EchoRequest { payload: payload.clone() }));
                }
                let answers =
                    EchoServiceClient::new(channel).echo(UnboundedReceiverStream::new(receiver)).await;
                let mut answers = answers.map_err(failed)?.into_inner();
                let mut count = 0u64;
                while let Some(EchoResponse { payload }) = answers.message().await.map_err(failed)? {
                    let now = BootClock.now();
                    if now >= end {
                        break;
                    }
                    count += u64::from(now >= begin);
                    drop(sender.send(EchoRequest { payload }));
                }
                Ok::<u64, Exit>(count)
            });
        }
        let mut count = 0;
        while let Some(done) = streams.join_next().await {
            count += done.map_err(failed)??;
        }
        Ok(count as f64 / duration.as_secs_f64())
    }
}

fn bytes_of(length: usize) -> bytes::Bytes {
    vec![b'x'; length].into()
}
