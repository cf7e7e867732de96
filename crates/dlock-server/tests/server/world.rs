//! A server on loopback, and short words for its streams.

use dlock_backend_embedded::EmbeddedStore;
use dlock_core::Mode;
use dlock_engine::{Engine, EngineConfig};
use dlock_proto::mode_to_proto;
use dlock_proto::v1::client_message::Body as Say;
use dlock_proto::v1::lock_service_client::LockServiceClient;
use dlock_proto::v1::server_message::Body as Hear;
use dlock_proto::v1::*;
use dlock_runtime::Environment;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Long enough for anything that happens at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub channel: Channel,
    pub engine: Engine,
}

impl World {
    pub async fn new() -> World {
        World::with(EngineConfig::default()).await
    }

    pub async fn with(config: EngineConfig) -> World {
        let environment = Environment::real();
        let store = Arc::new(EmbeddedStore::in_memory());
        let engine = Engine::start(store, environment.clone(), config).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = dlock_server::routes(&engine, &environment);
        tokio::spawn(dlock_server::serve_listener(routes, listener, std::future::pending()));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        World { channel, engine }
    }

    pub fn locks(&self) -> LockServiceClient<Channel> {
        LockServiceClient::new(self.channel.clone())
    }

    /// A session on a stream of its own.
    pub async fn open(&self) -> Stream {
        let mut stream = self.stream().await;
        stream.say(0, Say::Open(OpenSession::default()));
        match stream.hear().await {
            (0, Hear::Opened(opened)) => stream.opened = opened,
            other => panic!("{other:?}"),
        }
        stream
    }

    pub async fn stream(&self) -> Stream {
        let (sender, receiver) = mpsc::unbounded_channel();
        let frames = self.locks().session(UnboundedReceiverStream::new(receiver)).await.unwrap().into_inner();
        let opened = SessionOpened::default();
        Stream { sender, frames, heard: VecDeque::new(), received: 0, sequence: 0, opened }
    }
}

/// A session's stream, spoken to message by message.
pub struct Stream {
    pub sender: mpsc::UnboundedSender<SessionRequest>,
    frames: Streaming<SessionResponse>,
    heard: VecDeque<ServerMessage>,
    received: u64,
    sequence: u64,
    pub opened: SessionOpened,
}

impl Stream {
    pub fn say(&mut self, sequence: u64, body: Say) {
        let messages = vec![ClientMessage { sequence, body: Some(body) }];
        drop(self.sender.send(SessionRequest { received_frames: self.received, messages }));
    }

    /// Sends a request with the next sequence number; returns the number.
    pub fn ask(&mut self, body: Say) -> u64 {
        self.sequence += 1;
        self.say(self.sequence, body);
        self.sequence
    }

    async fn frame(&mut self) -> Result<Option<SessionResponse>, Status> {
        let frame =
            tokio::time::timeout(PATIENCE, self.frames.message()).await.expect("the server is silent");
        self.received += 1;
        frame
    }

    /// The next message.
    pub async fn hear(&mut self) -> (u64, Hear) {
        while self.heard.is_empty() {
            let frame = self.frame().await.unwrap().expect("the stream has ended");
            self.heard.extend(frame.messages);
        }
        let message = self.heard.pop_front().unwrap();
        (message.sequence, message.body.unwrap())
    }

    /// How the stream ends.
    pub async fn end(&mut self) -> Result<(), Status> {
        while let Some(frame) = self.frame().await? {
            self.heard.extend(frame.messages);
        }
        Ok(())
    }

    /// Says no more, and hears how the stream ends.
    pub async fn finish(&mut self) -> Result<(), Status> {
        self.sender = mpsc::unbounded_channel().0;
        self.end().await
    }

    /// Asks, and waits for the first answer.
    pub async fn call(&mut self, body: Say) -> Hear {
        let asked = self.ask(body);
        loop {
            let (sequence, body) = self.hear().await;
            if sequence == asked {
                return body;
            }
        }
    }

    pub async fn granted(&mut self, body: Say) -> LockGranted {
        match self.call(body).await {
            Hear::Granted(granted) => granted,
            other => panic!("not granted: {other:?}"),
        }
    }

    pub async fn failed(&mut self, body: Say) -> Failure {
        match self.call(body).await {
            Hear::Failed(failure) => failure,
            other => panic!("not failed: {other:?}"),
        }
    }
}

pub fn resource(name: &str) -> Option<Resource> {
    Some(Resource { namespace: String::new(), name: name.to_owned() })
}

pub fn acquire(lock_id: u64, name: &str, mode: Mode) -> AcquireLock {
    let (resource, mode) = (resource(name), mode_to_proto(mode) as i32);
    AcquireLock { lock_id, resource, mode, ..AcquireLock::default() }
}

pub fn lock(lock_id: u64, name: &str, mode: Mode) -> Say {
    Say::Acquire(acquire(lock_id, name, mode))
}

pub fn try_lock(lock_id: u64, name: &str, mode: Mode) -> Say {
    Say::Acquire(AcquireLock { patience: try_only(), ..acquire(lock_id, name, mode) })
}

pub fn try_only() -> Option<Patience> {
    Some(Patience { limit: Some(patience::Limit::TryOnly(true)) })
}

pub fn wait(milliseconds: i64) -> Option<Patience> {
    let timeout = prost_types::Duration {
        seconds: milliseconds / 1000,
        nanos: (milliseconds % 1000 * 1_000_000) as i32,
    };
    Some(Patience { limit: Some(patience::Limit::WaitTimeout(timeout)) })
}

pub fn release(lock_id: u64) -> Say {
    Say::Release(ReleaseLock { lock_id, ..ReleaseLock::default() })
}

pub fn convert(lock_id: u64, mode: Mode) -> ConvertLock {
    ConvertLock { lock_id, mode: mode_to_proto(mode) as i32, ..ConvertLock::default() }
}
