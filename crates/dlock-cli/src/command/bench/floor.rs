//! The load on the echo: as many connections and messages in flight as the locks have.

use super::connection::connect;
use super::counts::{Latencies, Window};
use super::crew::Crew;
use super::echo::EchoServer;
use super::usage::{Busy, Used};
use crate::exit::{self, Exit};
use bytes::Bytes;
use dlock_core::Timestamp;
use dlock_proto::bench::echo_service_client::EchoServiceClient;
use dlock_proto::bench::{EchoOnceRequest, EchoRequest, EchoResponse, GetProcessRequest};
use dlock_runtime::{BootClock, Clock, ProcessUsage};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

/// How long a message is: about that of an acquire.
const PAYLOAD: &[u8] = &[b'x'; 64];

type Calls = EchoServiceClient<Channel>;
/// Shared by what runs on a thread.
type Shared = Arc<Mutex<Latencies>>;

/// An echo server, and connections to it.
pub(super) struct Floor<'a> {
    crew: &'a Crew,
    unary: bool,
    in_flight: u32,
    connections: Vec<Calls>,
    /// Asks for what the server has used.
    aside: Calls,
    _server: EchoServer,
}

/// A measured stretch.
pub(super) struct EchoSlice {
    pub(super) messages: u64,
    pub(super) seconds: f64,
    pub(super) latency: Latencies,
    pub(super) busy: Busy,
}

impl EchoSlice {
    pub(super) fn per_second(&self) -> f64 {
        self.messages as f64 / self.seconds
    }
}

impl<'a> Floor<'a> {
    pub(super) async fn start(
        crew: &'a Crew,
        connections: u32,
        in_flight: u32,
        unary: bool,
    ) -> Result<Floor<'a>, Exit> {
        let server = EchoServer::start().await?;
        let mut channels = Vec::new();
        for number in 0..connections {
            channels.push(EchoServiceClient::new(connect(server.address(), crew.member(number)).await?));
        }
        let aside = EchoServiceClient::new(connect(server.address(), crew.member(0)).await?);
        Ok(Floor { crew, unary, in_flight, connections: channels, aside, _server: server })
    }

    /// Echoes for the warm-up and then for `duration`.
    pub(super) async fn slice(&self, warm_up: Duration, duration: Duration) -> Result<EchoSlice, Exit> {
        let begin = BootClock.now() + warm_up;
        let window = Window { begin, end: begin + duration };
        let mut latencies: Vec<Shared> = Vec::new();
        for _ in self.crew.numbers() {
            latencies.push(Arc::new(Mutex::new(Latencies::new()?)));
        }
        let mut echoing = JoinSet::new();
        for (number, calls) in self.connections.iter().enumerate() {
            let (number, connections) = (number as u32, self.connections.len() as u32);
            let share = self.in_flight / connections + u32::from(number < self.in_flight % connections);
            let member = self.crew.member(number);
            let shared = &latencies[number as usize % latencies.len()];
            if self.unary {
                for _ in 0..share {
                    echoing.spawn_on(unary(calls.clone(), window, shared.clone()), member);
                }
            } else if share > 0 {
                echoing.spawn_on(stream(calls.clone(), share, window, shared.clone()), member);
            }
        }
        BootClock.sleep_until(window.begin).await;
        let before = self.used().await?;
        BootClock.sleep_until(window.end).await;
        let busy = before.busy_until(&self.used().await?);
        while let Some(done) = echoing.join_next().await {
            done.map_err(failed)?.map_err(failed)?;
        }
        let mut latency = Latencies::new()?;
        latencies.iter().for_each(|shared| latency.add(&shared.lock()));
        Ok(EchoSlice { messages: latency.count(), seconds: window.seconds(), latency, busy })
    }

    async fn used(&self) -> Result<Used, Exit> {
        let process =
            self.aside.clone().get_process(GetProcessRequest {}).await.map_err(failed)?.into_inner();
        let cpu = process.cpu_time.and_then(|time| dlock_proto::duration(&time).ok());
        let server = cpu.map(|cpu| ProcessUsage {
            cpu,
            resident_bytes: process.resident_bytes,
            resident_bytes_peak: process.resident_bytes_peak,
        });
        Ok(Used { at: BootClock.now(), client: ProcessUsage::now(), server })
    }
}

/// So many messages in flight on one stream. They come back in their order.
async fn stream(
    mut calls: Calls,
    in_flight: u32,
    window: Window,
    latencies: Shared,
) -> Result<(), Box<Status>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut sent = VecDeque::<Timestamp>::new();
    for _ in 0..in_flight {
        sent.push_back(BootClock.now());
        drop(sender.send(EchoRequest { payload: Bytes::from_static(PAYLOAD) }));
    }
    let mut answers = calls.echo(UnboundedReceiverStream::new(receiver)).await?.into_inner();
    while let Some(EchoResponse { payload }) = answers.message().await? {
        let now = BootClock.now();
        if now >= window.end {
            break;
        }
        if let Some(sent) = sent.pop_front()
            && window.contains(now)
        {
            latencies.lock().record(sent, now);
        }
        sent.push_back(now);
        drop(sender.send(EchoRequest { payload }));
    }
    Ok(())
}

/// One call after the other.
async fn unary(mut calls: Calls, window: Window, latencies: Shared) -> Result<(), Box<Status>> {
    let mut start = BootClock.now();
    while start < window.end {
        calls.echo_once(EchoOnceRequest { payload: Bytes::from_static(PAYLOAD) }).await?;
        let now = BootClock.now();
        if window.contains(now) {
            latencies.lock().record(start, now);
        }
        start = now;
    }
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> Exit {
    Exit::new(exit::FAILURE, format!("the echo has failed: {error}"))
}
