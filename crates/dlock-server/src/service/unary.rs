//! Sessions and locks by single calls. A session opened here lives on for its time to live when its client goes; a
//! call that waits withdraws its request when it is cancelled, unless it was told to keep waiting.

use super::{LockApi, to_the_end};
use crate::convert;
use crate::fault::Fault;
use dlock_core::resource::Grant;
use dlock_core::{Epoch, SessionId};
use dlock_engine::{Caller, Event, OpenSession, Reply, Request, Session, SessionError};
use dlock_proto::v1::{self, *};
use futures::FutureExt;
use std::sync::Arc;

impl LockApi {
    pub(super) async fn serve_open(&self, request: OpenSessionRequest) -> Result<OpenSessionResponse, Fault> {
        let open = request.session.unwrap_or_default();
        let caller = Caller::new();
        let open = OpenSession {
            terms: convert::terms(&open, "session")?,
            principal: String::new(),
            client: convert::client_info(open.client, "session")?,
        };
        let (engine, sink) = (self.engine.clone(), caller.clone());
        let (session, secret) = to_the_end(async move { engine.open_session(open, sink).await }).await?;
        self.keep(session.id(), caller);
        let terms = convert::session_terms(&self.engine, &session, self.endpoints().await);
        let (session_id, resume_secret) = (session.id().to_string(), secret.0.to_vec().into());
        Ok(OpenSessionResponse {
            session: Some(SessionOpened { session_id, resume_secret, terms: Some(terms) }),
        })
    }

    pub(super) async fn serve_resume(
        &self,
        request: ResumeSessionRequest,
    ) -> Result<ResumeSessionResponse, Fault> {
        let resume =
            request.session.ok_or_else(|| Fault::field("session", "is missing: name the session"))?;
        let caller = Caller::new();
        let (session, resumed, _) = self.attach(resume, caller.clone(), "session").await?;
        self.keep(session.id(), caller);
        Ok(ResumeSessionResponse { session: Some(resumed) })
    }

    pub(super) fn serve_keep_alive(
        &self,
        request: KeepSessionAliveRequest,
    ) -> Result<KeepSessionAliveResponse, Fault> {
        let (session, caller) = self.find(request.session)?;
        session.heartbeat(Epoch(request.epoch))?;
        let mut response = KeepSessionAliveResponse::default();
        while let Some(event) = caller.next().now_or_never() {
            match event {
                Event::Blocking { lock, wanted, resource } => {
                    response.blocking.push(convert::blocking(lock, wanted, Some(&resource)));
                }
                Event::Revoked { lock } => {
                    let reason = v1::LossReason::Revoked as i32;
                    response.lost.push(LockLost { lock_id: lock.0, reason });
                }
                Event::Draining => response.draining = true,
                Event::Ended { reason } => return Err(SessionError::Ended(reason).into()),
                Event::Detached => return Err(SessionError::Moved.into()),
                _ => {}
            }
        }
        Ok(response)
    }

    pub(super) async fn serve_close(
        &self,
        request: CloseSessionRequest,
    ) -> Result<CloseSessionResponse, Fault> {
        let (session, _) = self.find(request.session)?;
        to_the_end(async move { session.close().await }).await?;
        Ok(CloseSessionResponse {})
    }

    pub(super) async fn serve_acquire(&self, request: AcquireRequest) -> Result<AcquireResponse, Fault> {
        let acquire =
            request.acquire.ok_or_else(|| Fault::field("acquire", "is missing: say what to acquire"))?;
        let acquire = convert::acquire(acquire, "acquire")?;
        let (session, caller) = self.find(request.session)?;
        let reply = if request.keep_waiting {
            caller.call_detached(&session, acquire).await?
        } else {
            caller.call(&session, acquire).await?
        };
        Ok(AcquireResponse { granted: grant(reply).map(convert::granted) })
    }

    pub(super) async fn serve_convert(&self, request: ConvertRequest) -> Result<ConvertResponse, Fault> {
        let conversion =
            request.convert.ok_or_else(|| Fault::field("convert", "is missing: say what to convert"))?;
        let reply = self.call(request.session, convert::convert(conversion, "convert")?).await?;
        Ok(ConvertResponse { granted: grant(reply).map(convert::granted) })
    }

    pub(super) async fn serve_release(&self, request: ReleaseRequest) -> Result<ReleaseResponse, Fault> {
        let release =
            request.release.ok_or_else(|| Fault::field("release", "is missing: say what to release"))?;
        self.call(request.session, convert::release(release, "release")?).await?;
        Ok(ReleaseResponse {})
    }

    pub(super) async fn serve_cancel(&self, request: CancelRequest) -> Result<CancelResponse, Fault> {
        let cancel =
            request.cancel.ok_or_else(|| Fault::field("cancel", "is missing: say what to cancel"))?;
        let reply = self.call(request.session, convert::cancel(cancel, "cancel")?).await?;
        Ok(CancelResponse { granted: grant(reply).map(convert::granted) })
    }

    pub(super) async fn serve_check_token(
        &self,
        request: CheckTokenRequest,
    ) -> Result<CheckTokenResponse, Fault> {
        let resource = convert::resource(request.resource, "")?;
        let check = self.engine.check_token(&resource, convert::token(request.token, "token")?).await?;
        Ok(CheckTokenResponse { held: check.held, highest: check.highest.get() })
    }

    async fn call(&self, session: Option<SessionRef>, request: Request) -> Result<Reply, Fault> {
        let (session, caller) = self.find(session)?;
        Ok(caller.call(&session, request).await?)
    }

    /// The session and its caller, if the session is at home here and was opened by these calls.
    fn find(&self, session: Option<SessionRef>) -> Result<(Session, Arc<Caller>), Fault> {
        let named = session.ok_or_else(|| Fault::field("session", "is missing: open one, and name it"))?;
        let id = convert::session_id(&named.session_id, "session")?;
        let session = self.engine.session(id, &convert::secret(&named.resume_secret, "session")?)?;
        let caller = self.callers.lock().get(&id).cloned();
        Ok((session, caller.ok_or(SessionError::Moved)?))
    }

    /// Remembers a session's caller until the session is over.
    fn keep(&self, id: SessionId, caller: Arc<Caller>) {
        let callers = Arc::clone(&self.callers);
        callers.lock().insert(id, caller.clone());
        tokio::spawn(async move {
            caller.over().await;
            let mut callers = callers.lock();
            if callers.get(&id).is_some_and(|known| Arc::ptr_eq(known, &caller)) {
                callers.remove(&id);
            }
        });
    }
}

fn grant(reply: Reply) -> Option<Grant> {
    match reply {
        Reply::Granted(grant) => Some(grant),
        Reply::Queued(_) | Reply::Released | Reply::Cancelled => None,
    }
}
