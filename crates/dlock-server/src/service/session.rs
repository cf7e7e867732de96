//! The session's stream. When it breaks, the session lives on for its time to live: the client resumes it on another.

use super::outbox::Outbox;
use super::{AnswerStream, LockApi, to_the_end};
use crate::convert;
use crate::fault::Fault;
use crate::unreadable;
use dlock_core::Epoch;
use dlock_core::session::Sequence;
use dlock_engine::{AttachSession, OpenSession, Request, RequestId, Session, SessionError};
use dlock_proto::v1::server_message::Body as Answer;
use dlock_proto::v1::{self, ClientMessage, SessionRequest, SessionResponse, client_message::Body};
use futures::{Stream, StreamExt};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

impl LockApi {
    /// Serves a stream: what comes in is taken by a task of its own, what goes out is pulled from the outbox.
    pub(super) fn serve_session(
        &self,
        mut incoming: impl Stream<Item = Result<SessionRequest, Status>> + Send + Unpin + 'static,
    ) -> AnswerStream<SessionResponse> {
        let outbox = Outbox::new();
        let (api, sink) = (self.clone(), Arc::clone(&outbox));
        let reading = tokio::spawn(async move {
            let end = api.read(&mut incoming, &sink).await;
            sink.finish(end);
        });
        Outgoing { outbox, _reading: AbortOnDropHandle::new(reading) }.boxed()
    }

    /// Takes frames until the client sends no more, or one that ends the stream. Most streams wait for a frame most of the
    /// time: what is rare has memory of its own (`Box::pin`), or each of them would have it at hand.
    async fn read(
        &self,
        incoming: &mut (impl Stream<Item = Result<SessionRequest, Status>> + Unpin),
        outbox: &Arc<Outbox>,
    ) -> Result<(), Status> {
        let mut attached: Option<Attached> = None;
        while let Some(frame) = incoming.next().await {
            // A connection that broke is an error here, too: then nobody reads what the stream ends with.
            let SessionRequest { received_frames, messages } =
                frame.map_err(|status| unreadable::explain(&status).map_or(status, Status::from))?;
            outbox.received(received_frames);
            let mut batch = Vec::new();
            for message in messages {
                match &mut attached {
                    None => attached = Some(Box::pin(self.begin(message, outbox)).await?),
                    Some(attached) => attached.take(message, outbox, &mut batch).await?,
                }
            }
            if let Some(attached) = &attached {
                attached.submit(&mut batch);
            }
        }
        Ok(())
    }

    /// The first message: a new session, or one that goes on here.
    async fn begin(&self, message: ClientMessage, outbox: &Arc<Outbox>) -> Result<Attached, Fault> {
        match message.body {
            Some(Body::Open(open)) => {
                let open = OpenSession {
                    terms: convert::terms(&open, "open")?,
                    principal: String::new(),
                    client: convert::client_info(open.client, "open")?,
                };
                let (engine, sink) = (self.engine.clone(), outbox.clone());
                let (session, secret) =
                    to_the_end(async move { engine.open_session(open, sink).await }).await?;
                let endpoints = self.endpoints().await;
                let opened = v1::SessionOpened {
                    session_id: session.id().to_string(),
                    resume_secret: secret.0.to_vec().into(),
                    terms: Some(convert::session_terms(&self.engine, &session, endpoints.clone())),
                };
                outbox.start(Answer::Opened(opened), endpoints);
                Ok(Attached { session, sequence: Sequence::starting_after(0) })
            }
            Some(Body::Resume(resume)) => {
                let last_sequence = resume.last_sequence;
                let (session, resumed, endpoints) = self.attach(resume, outbox.clone(), "resume").await?;
                outbox.start(Answer::Resumed(resumed), endpoints);
                Ok(Attached { session, sequence: Sequence::starting_after(last_sequence) })
            }
            _ => Err(Fault::out_of_order("the first message on a stream must be open or resume")),
        }
    }

    /// Makes this server the session's home; its events go to `sink`.
    pub(super) async fn attach(
        &self,
        resume: v1::ResumeSession,
        sink: Arc<dyn dlock_engine::EventSink>,
        at: &str,
    ) -> Result<(Session, v1::SessionResumed, Vec<String>), Fault> {
        let claims = convert::claims(resume.claims, at)?;
        let locks: Vec<_> = claims.iter().map(|claim| claim.lock).collect();
        let attach = AttachSession {
            session: convert::session_id(&resume.session_id, at)?,
            secret: convert::secret(&resume.resume_secret, at)?,
            attempt: resume.attempt,
            claims,
        };
        let engine = self.engine.clone();
        let (session, states) = to_the_end(async move { engine.attach_session(attach, sink).await }).await?;
        let endpoints = self.endpoints().await;
        let resumed = v1::SessionResumed {
            terms: Some(convert::session_terms(&self.engine, &session, endpoints.clone())),
            results: locks
                .into_iter()
                .zip(states)
                .map(|(lock, state)| convert::claim_result(lock, state))
                .collect(),
        };
        Ok((session, resumed, endpoints))
    }
}

/// The stream's outgoing half: the call ends with it.
struct Outgoing {
    outbox: Arc<Outbox>,
    _reading: AbortOnDropHandle<()>,
}

impl Stream for Outgoing {
    type Item = Result<SessionResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.outbox.poll_frame(context)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.outbox.abandon();
    }
}

/// A session on its stream.
struct Attached {
    session: Session,
    sequence: Sequence,
}

impl Attached {
    /// Takes a message; requests are added to the batch. An error ends the stream, not the session.
    async fn take(
        &mut self,
        message: ClientMessage,
        outbox: &Outbox,
        batch: &mut Vec<(RequestId, Request)>,
    ) -> Result<(), Fault> {
        let ClientMessage { sequence, body } = message;
        let request = match body {
            Some(Body::Heartbeat(heartbeat)) => {
                self.heartbeat(heartbeat, outbox);
                return Ok(());
            }
            Some(Body::Open(_) | Body::Resume(_)) => {
                return Err(Fault::out_of_order("open and resume come first on a stream, and only there"));
            }
            None => {
                return Err(Fault::field(
                    "body",
                    "is missing or unknown to this server: upgrade it, or name one",
                ));
            }
            Some(Body::Acquire(acquire)) => convert::acquire(acquire, "acquire"),
            Some(Body::Convert(convert)) => convert::convert(convert, "convert"),
            Some(Body::Release(release)) => convert::release(release, "release"),
            Some(Body::Cancel(cancel)) => convert::cancel(cancel, "cancel"),
            Some(Body::Query(query)) => convert::query(query, "query"),
            Some(Body::Close(v1::CloseSession {})) => {
                self.admit(sequence)?;
                self.submit(batch);
                Box::pin(self.close(sequence, outbox)).await;
                return Ok(());
            }
        };
        self.admit(sequence)?;
        match request {
            Ok(request) => batch.push((RequestId(sequence), request)),
            Err(fault) => outbox.send(sequence, Answer::Failed(fault.into_failure())),
        }
        Ok(())
    }

    async fn close(&self, sequence: u64, outbox: &Outbox) {
        let session = self.session.clone();
        if let Err(error) = to_the_end(async move { session.close().await }).await {
            outbox.send(sequence, Answer::Failed(Fault::from(error).into_failure()));
        }
    }

    fn admit(&mut self, sequence: u64) -> Result<(), Fault> {
        self.sequence.admit(sequence).map_err(Fault::out_of_order)
    }

    fn submit(&self, batch: &mut Vec<(RequestId, Request)>) {
        if !batch.is_empty() {
            self.session.submit(std::mem::take(batch));
        }
    }

    /// Acknowledges only what the client may count on. An ended session has an event of its own, and a server that is
    /// fenced is silent: the client then goes to another.
    fn heartbeat(&self, heartbeat: v1::Heartbeat, outbox: &Outbox) {
        let v1::Heartbeat { epoch, nonce } = heartbeat;
        match self.session.heartbeat(Epoch(epoch)) {
            Ok(()) => outbox.send(0, Answer::Heartbeat(v1::HeartbeatAcknowledged { epoch, nonce })),
            Err(SessionError::Moved) => {
                outbox.send(0, Answer::Moved(v1::SessionMoved {}));
                outbox.finish(Ok(()));
            }
            Err(error) => {
                tracing::debug!(session = %self.session.id(), %error, "a heartbeat is not acknowledged")
            }
        }
    }
}
