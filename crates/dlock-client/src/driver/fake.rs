//! A server that keeps no locks: it grants what it is asked for, or lets it wait, and writes down what it hears. For
//! tests of what goes over the wire, in one runtime, under paused time.

use crate::connector::BoxIo;
use crate::{Client, ClientBuilder, Endpoint, Environment};
use dlock_proto::v1::client_message::Body as Said;
use dlock_proto::v1::lock_service_server::{LockService, LockServiceServer};
use dlock_proto::v1::server_message::Body as Heard;
use dlock_proto::v1::{self, ServerMessage, SessionRequest, SessionResponse};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub(super) const TTL: Duration = Duration::from_secs(10);

/// A handle to the server, to change how it behaves and to see what it heard.
#[derive(Clone)]
pub(super) struct Fake {
    /// All frames, on all streams.
    pub(super) heard: Arc<Mutex<Vec<SessionRequest>>>,
    /// It reads, and says nothing.
    pub(super) silent: Arc<watch::Sender<bool>>,
    connections: mpsc::UnboundedSender<DuplexStream>,
}

impl Fake {
    /// A server that runs until the handles are gone.
    pub(super) fn start() -> Fake {
        let (connections, mut incoming) = mpsc::unbounded_channel();
        let fake = Fake { heard: Arc::default(), silent: Arc::new(watch::Sender::new(false)), connections };
        let service =
            LockServiceServer::new(Service { heard: fake.heard.clone(), silent: fake.silent.clone() });
        let incoming = futures::stream::poll_fn(move |cx| incoming.poll_recv(cx)).map(Ok::<_, io::Error>);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        fake
    }

    /// Settings for a client of this server.
    pub(super) fn client(&self) -> ClientBuilder {
        let connections = self.connections.clone();
        let connector = move |_: &Endpoint| -> BoxFuture<'static, io::Result<BoxIo>> {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let sent =
                connections.send(theirs).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused));
            std::future::ready(sent.map(|()| Box::new(ours) as BoxIo)).boxed()
        };
        Client::builder()
            .endpoints(["fake"])
            .ttl(TTL)
            .environment(Environment::simulated(1, 1.0))
            .connector(connector)
            .on_current_runtime()
    }

    /// What it was told, in order, apart from heartbeats.
    pub(super) fn messages(&self) -> Vec<Said> {
        let heard = self.heard.lock();
        let messages =
            heard.iter().flat_map(|frame| frame.messages.iter().filter_map(|message| message.body.clone()));
        messages.filter(|body| !matches!(body, Said::Heartbeat(_))).collect()
    }
}

struct Service {
    heard: Arc<Mutex<Vec<SessionRequest>>>,
    silent: Arc<watch::Sender<bool>>,
}

fn terms(epoch: u64) -> Option<v1::SessionTerms> {
    Some(v1::SessionTerms {
        epoch,
        ttl: Some(dlock_proto::duration_to_proto(TTL)),
        lock_delay: Some(dlock_proto::duration_to_proto(Duration::ZERO)),
        ..Default::default()
    })
}

/// A grant in the mode asked for, with the lock's id as its token.
fn granted(lock_id: u64, mode: i32) -> v1::LockGranted {
    v1::LockGranted { lock_id, mode, token: lock_id, holds: 1, value: None }
}

/// The answer to one message; names that begin with `busy` wait for ever.
fn answer(said: Said) -> Option<Heard> {
    Some(match said {
        Said::Open(_) => Heard::Opened(v1::SessionOpened {
            session_id: "0".repeat(31) + "7",
            resume_secret: vec![0; 16].into(),
            terms: terms(1),
        }),
        Said::Resume(resume) => {
            let result = |claim: v1::Claim| v1::ClaimResult {
                lock_id: claim.lock_id,
                state: Some(v1::claim_result::State::Granted(granted(
                    claim.lock_id,
                    claim.mode.unwrap_or(v1::Mode::Exclusive as i32),
                ))),
            };
            let results = resume.claims.into_iter().map(result).collect();
            Heard::Resumed(v1::SessionResumed { terms: terms(2), results })
        }
        Said::Heartbeat(v1::Heartbeat { epoch, nonce }) => {
            Heard::Heartbeat(v1::HeartbeatAcknowledged { epoch, nonce })
        }
        Said::Acquire(acquire) if acquire.resource.as_ref()?.name.starts_with("busy") => {
            Heard::Queued(v1::LockQueued { lock_id: acquire.lock_id, ahead: 3, held: None })
        }
        Said::Acquire(acquire) => Heard::Granted(granted(acquire.lock_id, acquire.mode)),
        Said::Convert(convert) => Heard::Granted(granted(convert.lock_id, convert.mode)),
        Said::Release(release) => Heard::Released(v1::LockReleased { lock_id: release.lock_id }),
        Said::Cancel(cancel) => Heard::Cancelled(v1::LockCancelled { lock_id: cancel.lock_id }),
        Said::Query(query) => Heard::Granted(granted(query.lock_id, v1::Mode::Exclusive as i32)),
        Said::Close(_) => Heard::Ended(v1::SessionEnded { reason: v1::EndReason::Closed as i32 }),
    })
}

#[tonic::async_trait]
impl LockService for Service {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;
    type HoldStream = BoxStream<'static, Result<v1::HoldResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        let (mut frames, heard, silent) = (request.into_inner(), self.heard.clone(), self.silent.clone());
        tokio::spawn(async move {
            while let Some(Ok(frame)) = frames.next().await {
                heard.lock().push(frame.clone());
                if *silent.borrow() {
                    continue;
                }
                let answers = frame.messages.into_iter().filter_map(|message| {
                    Some(ServerMessage { sequence: message.sequence, body: Some(answer(message.body?)?) })
                });
                if sender.send(Ok(SessionResponse { messages: answers.collect() })).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn hold(&self, _: Request<v1::HoldRequest>) -> Result<Response<Self::HoldStream>, Status> {
        Err(Status::unimplemented("hold"))
    }
    async fn open_session(
        &self,
        _: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        Err(Status::unimplemented("open_session"))
    }
    async fn resume_session(
        &self,
        _: Request<v1::ResumeSessionRequest>,
    ) -> Result<Response<v1::ResumeSessionResponse>, Status> {
        Err(Status::unimplemented("resume_session"))
    }
    async fn keep_session_alive(
        &self,
        _: Request<v1::KeepSessionAliveRequest>,
    ) -> Result<Response<v1::KeepSessionAliveResponse>, Status> {
        Err(Status::unimplemented("keep_session_alive"))
    }
    async fn close_session(
        &self,
        _: Request<v1::CloseSessionRequest>,
    ) -> Result<Response<v1::CloseSessionResponse>, Status> {
        Err(Status::unimplemented("close_session"))
    }
    async fn acquire(&self, _: Request<v1::AcquireRequest>) -> Result<Response<v1::AcquireResponse>, Status> {
        Err(Status::unimplemented("acquire"))
    }
    async fn convert(&self, _: Request<v1::ConvertRequest>) -> Result<Response<v1::ConvertResponse>, Status> {
        Err(Status::unimplemented("convert"))
    }
    async fn release(&self, _: Request<v1::ReleaseRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        Err(Status::unimplemented("release"))
    }
    async fn cancel(&self, _: Request<v1::CancelRequest>) -> Result<Response<v1::CancelResponse>, Status> {
        Err(Status::unimplemented("cancel"))
    }
    async fn check_token(
        &self,
        _: Request<v1::CheckTokenRequest>,
    ) -> Result<Response<v1::CheckTokenResponse>, Status> {
        Err(Status::unimplemented("check_token"))
    }
}
