//! The engine's public face. SKELETON: signatures are final, bodies are being written.

use crate::{
    EngineConfig, EventSink, MemberView, PageOf, Request, RequestError, RequestId, ResourceEvent, ResourceView,
    SessionError, SessionView,
};
use dlock_core::lease::LeaseTerms;
use dlock_core::resource::{Grant, Queued};
use dlock_core::session::{ClientInfo, EndReason};
use dlock_core::{Epoch, LockId, LockKey, MemberId, Namespace, ResourceId, SessionId, Token};
use dlock_runtime::Environment;
use dlock_store::{Condition, Store};
use futures::stream::BoxStream;
use std::sync::Arc;

/// A running engine; clones are handles to the same one.
#[derive(Clone)]
pub struct Engine {}

/// The secret that lets a client attach its session anew: 128 random bits, known to the client alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

/// What a new session is to be.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// Time to live and lock delay.
    pub terms: LeaseTerms,
    /// As whom the client authenticated; empty without authentication.
    pub principal: String,
    /// Who the client says it is.
    pub client: ClientInfo,
}

/// A request to make this engine a session's home.
#[derive(Clone)]
pub struct AttachSession {
    /// Which session.
    pub session: SessionId,
    /// Its secret.
    pub secret: Secret,
    /// The locks that the client believes to hold or to wait for.
    pub claims: Vec<Claim>,
}

/// A lock that a client believes to hold or to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its id.
    pub lock: LockId,
    /// What it locks.
    pub resource: ResourceId,
    /// Its token, where the client believes to hold it.
    pub token: Option<Token>,
    /// The request that waits for this lock (an acquire or a conversion), if one does: told when it is granted.
    pub waiting: Option<RequestId>,
}

/// How a claimed lock stands according to its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// Held.
    Granted(Grant),
    /// Waiting, or held and converting.
    Queued(Queued),
    /// Neither: it was never recorded, or was released or revoked.
    Absent,
    /// The record could not be read; ask again with [`Request::Query`].
    Unknown(RequestError),
}

/// What [`Engine::check_token`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCheck {
    /// A live session holds the resource with this token.
    pub held: bool,
    /// The highest token granted on the resource so far.
    pub highest: Token,
}

/// Whether the engine can serve, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether requests are served at the moment.
    pub serving: bool,
    /// Whether it is shutting down.
    pub draining: bool,
    /// What is wrong with the store.
    pub conditions: Vec<Condition>,
}

/// Counts, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Sessions at home here.
    pub sessions: usize,
    /// Resources in memory.
    pub resources: usize,
    /// Grants made since the start.
    pub grants: u64,
    /// Releases made since the start.
    pub releases: u64,
    /// Requests that are waiting, of sessions at home here.
    pub waiting: usize,
    /// Commits sent to the store since the start.
    pub commits: u64,
    /// Commits that met a newer version.
    pub conflicts: u64,
    /// Sessions expired by this engine since the start.
    pub expired: u64,
}

/// The engine can't start on this store.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store does not answer.
    #[error("the store can't be read: {0}")]
    Store(#[from] dlock_store::StoreError),
    /// Its records are not dlock's, or a newer dlock's.
    #[error("the store's records can't be read: {0}")]
    Record(#[from] dlock_core::record::RecordError),
}

impl Engine {
    /// Joins the store's other members, if any, and serves. Must be called within a tokio runtime.
    pub async fn start(store: Arc<dyn Store>, environment: Environment, config: EngineConfig) -> Result<Engine, StartError> { unimplemented!() }
    /// This engine, among its peers.
    pub fn member(&self) -> MemberId { unimplemented!() }
    /// Its limits.
    pub fn config(&self) -> &EngineConfig { unimplemented!() }
    /// Opens a session at home here. Its events go to `sink`.
    pub async fn open_session(&self, open: OpenSession, sink: Arc<dyn EventSink>) -> Result<(Session, Secret), SessionError> { unimplemented!() }
    /// Makes this engine the session's home, at the next epoch, with a full fresh time to live. The states are in the order of the claims.
    pub async fn attach_session(&self, attach: AttachSession, sink: Arc<dyn EventSink>) -> Result<(Session, Vec<ClaimState>), SessionError> { unimplemented!() }
    /// A session that is at home here.
    pub fn session(&self, session: SessionId, secret: &Secret) -> Result<Session, SessionError> { unimplemented!() }
    /// Ends any session, wherever it is at home.
    pub async fn end_session(&self, session: SessionId, reason: EndReason) -> Result<(), SessionError> { unimplemented!() }
    /// Takes a lock from its session, if it has it, and with `token` only if that is still its token.
    pub async fn force_release(&self, resource: &ResourceId, key: LockKey, token: Option<Token>) -> Result<(), RequestError> { unimplemented!() }
    /// One resource as it stands, read linearizably; one that nobody ever locked has no holder and no queue.
    pub async fn resource(&self, resource: &ResourceId) -> Result<ResourceView, RequestError> { unimplemented!() }
    /// Resources that have a record, by name.
    pub async fn resources(&self, namespace: &Namespace, prefix: &str, after: Option<&str>, limit: usize) -> Result<PageOf<ResourceView>, RequestError> { unimplemented!() }
    /// Sessions of the whole service, by id.
    pub async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<PageOf<SessionView>, SessionError> { unimplemented!() }
    /// All members of the service.
    pub async fn members(&self) -> Result<Vec<MemberView>, SessionError> { unimplemented!() }
    /// A snapshot of the resources whose name begins with `prefix`, then their changes.
    pub async fn watch_resources(&self, namespace: &Namespace, prefix: &str) -> Result<BoxStream<'static, ResourceEvent>, RequestError> { unimplemented!() }
    /// Whether a token is still a holder's, and the highest granted.
    pub async fn check_token(&self, resource: &ResourceId, token: Token) -> Result<TokenCheck, RequestError> { unimplemented!() }
    /// Whether the engine can serve; changes wake the receiver.
    pub fn health(&self) -> tokio::sync::watch::Receiver<Health> { unimplemented!() }
    /// Counts, for metrics.
    pub fn statistics(&self) -> Statistics { unimplemented!() }
    /// Refuses new sessions and attachments from now on and tells all sessions to move ([`crate::Event::Draining`]).
    pub fn drain(&self) { unimplemented!() }
    /// How many sessions are still at home here: what a drain waits for.
    pub fn sessions_at_home(&self) -> usize { unimplemented!() }
    /// Stops acting and leaves the members, so that the sessions which are still at home here can be adopted at once.
    pub async fn shutdown(&self) { unimplemented!() }
}

/// A session at home in an engine: one attachment of it. Clones are handles to the same one.
#[derive(Clone)]
pub struct Session {}

impl Session {
    /// Its id.
    pub fn id(&self) -> SessionId { unimplemented!() }
    /// The epoch of this attachment.
    pub fn epoch(&self) -> Epoch { unimplemented!() }
    /// Its time to live and lock delay.
    pub fn terms(&self) -> LeaseTerms { unimplemented!() }
    /// The client lives. `Ok` is the acknowledgement that it may count on.
    pub fn heartbeat(&self, epoch: Epoch) -> Result<(), SessionError> { unimplemented!() }
    /// Takes requests, in order; their answers come as events. Returns at once.
    pub fn submit(&self, requests: Vec<(RequestId, Request)>) { unimplemented!() }
    /// Ends the session: all its locks are free.
    pub async fn close(&self) -> Result<(), SessionError> { unimplemented!() }
}
