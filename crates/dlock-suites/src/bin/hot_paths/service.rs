//! The services, and the SDK on top.

use crate::engine::runtime;
use dlock_backend_embedded::EmbeddedStore;
use dlock_client::Client;
use dlock_engine::{Engine, EngineConfig};
use dlock_proto::v1::client_message::Body as Said;
use dlock_proto::v1::lock_service_client::LockServiceClient;
use dlock_proto::v1::server_message::Body as Heard;
use dlock_proto::v1::*;
use dlock_runtime::Environment;
use dlock_testing::{Network, TestServer};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::service::Routes;

/// The server's services without a connection: calls go to them directly.
async fn calls() -> LockServiceClient<Routes> {
    let (store, environment) = (Arc::new(EmbeddedStore::in_memory()), Environment::real());
    let engine = Engine::start(store, environment.clone(), EngineConfig::default()).await.unwrap();
    LockServiceClient::new(dlock_server::routes(&engine, &environment))
}

fn resource(number: u64) -> Option<Resource> {
    Some(Resource { namespace: String::new(), name: format!("hot/{number}") })
}

fn acquire(lock_id: u64, number: u64) -> AcquireLock {
    AcquireLock { lock_id, resource: resource(number), ..AcquireLock::default() }
}

fn release(lock_id: u64, number: u64) -> ReleaseLock {
    ReleaseLock { lock_id, resource: resource(number), value: None }
}

/// A session's stream.
struct Stream {
    sender: mpsc::Sender<SessionRequest>,
    answers: Streaming<SessionResponse>,
    received_frames: u64,
    sequence: u64,
}

impl Stream {
    async fn open() -> Stream {
        let (sender, receiver) = mpsc::channel(4);
        let open = ClientMessage { sequence: 0, body: Some(Said::Open(OpenSession::default())) };
        sender.send(SessionRequest { received_frames: 0, messages: vec![open] }).await.unwrap();
        let answers = calls().await.session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let mut stream = Stream { sender, answers, received_frames: 0, sequence: 0 };
        stream.hear(1).await;
        stream
    }

    /// Sends a frame, and reads as many answers as it has requests.
    async fn ask(&mut self, requests: impl Iterator<Item = Said>) {
        let mut messages = Vec::new();
        for body in requests {
            self.sequence += 1;
            messages.push(ClientMessage { sequence: self.sequence, body: Some(body) });
        }
        let count = messages.len();
        let frame = SessionRequest { received_frames: self.received_frames, messages };
        self.sender.send(frame).await.unwrap();
        self.hear(count).await;
    }

    async fn hear(&mut self, mut count: usize) {
        while count > 0 {
            let frame = self.answers.message().await.unwrap().unwrap();
            self.received_frames += 1;
            for message in &frame.messages {
                let expected =
                    matches!(message.body, Some(Heard::Opened(_) | Heard::Granted(_) | Heard::Released(_)));
                assert!(expected, "{message:?}");
            }
            count -= frame.messages.len();
        }
    }
}

/// So many pairs on a session's stream, so many requests in a frame.
pub(crate) fn frames(batch: u64, count: u64) {
    runtime().block_on(async {
        let mut stream = Stream::open().await;
        for round in 0..count / batch {
            let first = round * batch + 1;
            stream.ask((0..batch).map(|number| Said::Acquire(acquire(first + number, number)))).await;
            stream.ask((0..batch).map(|number| Said::Release(release(first + number, number)))).await;
        }
    });
}

/// So many pairs by unary calls.
pub(crate) fn unary(count: u64) {
    runtime().block_on(async {
        let mut calls = calls().await;
        let open = OpenSessionRequest { session: Some(OpenSession::default()) };
        let opened = calls.open_session(open).await.unwrap().into_inner().session.unwrap();
        let session = Some(SessionRef { session_id: opened.session_id, resume_secret: opened.resume_secret });
        for lock in 1..=count {
            let acquire = Some(acquire(lock, 0));
            let request = AcquireRequest { session: session.clone(), acquire, keep_waiting: false };
            calls.acquire(request).await.unwrap();
            let request = ReleaseRequest { session: session.clone(), release: Some(release(lock, 0)) };
            calls.release(request).await.unwrap();
        }
    });
}

/// So many pairs by the SDK, over HTTP/2 in memory, so many locks under way at a time.
pub(crate) fn whole(in_flight: u64, count: u64) {
    runtime().block_on(async {
        let server = TestServer::builder().network(&Network::new()).start().await.unwrap();
        let client = server.client_builder().on_current_runtime().connect().await.unwrap();
        let workers =
            (0..in_flight).map(|number| tokio::spawn(pairs(client.clone(), number, count / in_flight)));
        for worker in workers.collect::<Vec<_>>() {
            worker.await.unwrap();
        }
    });
}

async fn pairs(client: Client, number: u64, count: u64) {
    let name = format!("hot/{number}");
    for _ in 0..count {
        client.lock(name.as_str()).acquire().await.unwrap().release().await.unwrap();
    }
}
