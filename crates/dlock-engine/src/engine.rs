//! The engine's public face.

use crate::directory::Directory;
use crate::home::Home;
use crate::shard::Shards;
use crate::shared::{Counters, Shared};
use crate::timers::Timers;
use crate::{
    EngineConfig, Event, EventSink, Mastering, MemberView, PageOf, Request, RequestError, RequestId,
    ResourceEvent, ResourceView, SessionError, SessionView, io, membership, sessions, submit, sweeper,
    timers,
};
use dlock_core::lease::{LeaseTerms, MemberLease, MemberObserver};
use dlock_core::resource::{Command, Grant, Outcome, Queued};
use dlock_core::session::{ClientInfo, EndReason};
use dlock_core::{Epoch, LockId, LockKey, MemberId, Mode, Namespace, ResourceId, SessionId, Token};
use dlock_runtime::Environment;
use dlock_store::{Condition, Store};
use futures::stream::BoxStream;
use parking_lot::{Mutex, RwLock};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A running engine; clones are handles to the same one. It stops when [`Engine::shutdown`] is called or the last
/// handle, session handles included, is dropped.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    _running: Arc<Running>,
}

/// Stops the engine's tasks when the last handle goes.
struct Running(CancellationToken);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

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
    /// The number of the client's attempt, greater than those of all before, or 0: see
    /// [`SessionRecord::attach`](dlock_core::session::SessionRecord::attach).
    pub attempt: u64,
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
    /// The mode on which the client counts, where it believes to hold it: of a downgrade that has no answer yet, the lower one.
    pub mode: Option<Mode>,
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
    /// Requests answered from memory, by steps that wrote nothing, of resources that this engine masters.
    pub from_memory: u64,
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
    pub async fn start(
        store: Arc<dyn Store>,
        environment: Environment,
        config: EngineConfig,
    ) -> Result<Engine, StartError> {
        let member = MemberId(environment.entropy.next_u128());
        let (io, incoming) = mpsc::unbounded_channel();
        let capabilities = store.capabilities();
        let mastering = config.mastering.clone().unwrap_or_else(|| Mastering::by_default(capabilities));
        let shared = Arc::new(Shared {
            capabilities,
            shards: Shards::new(config.shards),
            store,
            environment,
            config,
            mastering,
            member,
            generation: AtomicU16::new(0),
            store_state: Mutex::default(),
            homes: RwLock::default(),
            directory: Mutex::new(Directory::default()),
            lease: Mutex::new(MemberLease::new()),
            observer: Mutex::new(MemberObserver::new()),
            timers: Timers::default(),
            draining: AtomicBool::new(false),
            peers_master: AtomicBool::new(false),
            followers: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            stop: CancellationToken::new(),
            health: watch::Sender::new(Health::default()),
            counters: Counters::default(),
            io,
        });
        shared.read_or_make_store_record().await?;
        if shared.capabilities.exclusive {
            shared.bury_predecessors().await?;
        }
        let own = shared.join().await?;
        shared.read_directory().await?;
        shared.judge_health().await;
        tokio::spawn(io::drive(Arc::clone(&shared), incoming));
        tokio::spawn(timers::run(Arc::clone(&shared)));
        tokio::spawn(membership::run(Arc::clone(&shared), own));
        tokio::spawn(sweeper::run_rechecks(Arc::clone(&shared)));
        tokio::spawn(sweeper::run_collector(Arc::clone(&shared)));
        tokio::spawn(sweeper::run_sweeps(Arc::clone(&shared)));
        if !shared.capabilities.exclusive {
            tokio::spawn(Arc::clone(&shared).follow_store());
        }
        let running = Arc::new(Running(shared.stop.clone()));
        Ok(Engine { shared, _running: running })
    }

    /// This engine, among its peers.
    pub fn member(&self) -> MemberId {
        self.shared.member
    }

    /// Its limits.
    pub fn config(&self) -> &EngineConfig {
        &self.shared.config
    }

    /// What the store says about itself.
    pub fn store_info(&self) -> dlock_store::StoreInfo {
        self.shared.store.info()
    }

    /// Opens a session at home here. Its events go to `sink`.
    pub async fn open_session(
        &self,
        open: OpenSession,
        sink: Arc<dyn EventSink>,
    ) -> Result<(Session, Secret), SessionError> {
        let (home, secret) = self.shared.open_session(open, sink).await?;
        Ok((self.handle(home), secret))
    }

    /// Makes this engine the session's home, at the next epoch, with a full fresh time to live. The states are in
    /// the order of the claims.
    pub async fn attach_session(
        &self,
        attach: AttachSession,
        sink: Arc<dyn EventSink>,
    ) -> Result<(Session, Vec<ClaimState>), SessionError> {
        let (home, states) = self.shared.attach_session(attach, sink).await?;
        Ok((self.handle(home), states))
    }

    /// A session that is at home here; [`SessionError::Moved`] for one that isn't, whatever became of it.
    pub fn session(&self, session: SessionId, secret: &Secret) -> Result<Session, SessionError> {
        let home = self.shared.home(session).ok_or(SessionError::Moved)?;
        sessions::check_secret(&home, secret)?;
        Ok(self.handle(home))
    }

    fn handle(&self, home: Arc<Home>) -> Session {
        Session { engine: self.clone(), home }
    }

    /// Ends any session, wherever it is at home.
    pub async fn end_session(&self, session: SessionId, reason: EndReason) -> Result<(), SessionError> {
        self.shared.end_session(session, reason).await
    }

    /// Takes a lock from its session, if it has it, and with `token` only if that is still its token.
    pub async fn force_release(
        &self,
        resource: &ResourceId,
        key: LockKey,
        token: Option<Token>,
    ) -> Result<(), RequestError> {
        match self.shared.call(resource, Command::Revoke { key, token }).await? {
            Outcome::Refused(refusal) => Err(refusal.into()),
            _ => Ok(()),
        }
    }

    /// One resource as it stands, read linearizably; one that nobody ever locked has no holder and no queue.
    pub async fn resource(&self, resource: &ResourceId) -> Result<ResourceView, RequestError> {
        self.shared.resource(resource).await
    }

    /// Resources that have a record and whose name begins with `prefix`, by name; at most `limit`, and at most 500.
    pub async fn resources(
        &self,
        namespace: &Namespace,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<PageOf<ResourceView>, RequestError> {
        self.shared.resources(namespace, prefix, after, limit).await
    }

    /// Sessions of the whole service, by id; at most `limit`, and at most 500. Ended ones are shown for a while.
    pub async fn sessions(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<PageOf<SessionView>, SessionError> {
        self.shared.sessions(after, limit).await
    }

    /// All members of the service.
    pub async fn members(&self) -> Result<Vec<MemberView>, SessionError> {
        self.shared.members().await
    }

    /// A snapshot of the resources whose name begins with `prefix`, then their changes.
    pub async fn watch_resources(
        &self,
        namespace: &Namespace,
        prefix: &str,
    ) -> Result<BoxStream<'static, ResourceEvent>, RequestError> {
        self.shared.watch_resources(namespace, prefix).await
    }

    /// Whether a token is still a holder's, and the highest granted.
    pub async fn check_token(&self, resource: &ResourceId, token: Token) -> Result<TokenCheck, RequestError> {
        self.shared.check_token(resource, token).await
    }

    /// Whether the engine can serve; changes wake the receiver.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Counts, for metrics.
    pub fn statistics(&self) -> Statistics {
        let counters = &self.shared.counters;
        let homes = self.shared.all_homes();
        Statistics {
            sessions: homes.len(),
            resources: self.shared.shards.len(),
            grants: counters.grants.load(Ordering::Relaxed),
            releases: counters.releases.load(Ordering::Relaxed),
            waiting: homes.iter().map(|home| home.waiting_count()).sum(),
            commits: counters.commits.load(Ordering::Relaxed),
            conflicts: counters.conflicts.load(Ordering::Relaxed),
            expired: counters.expired.load(Ordering::Relaxed),
            from_memory: counters.from_memory.load(Ordering::Relaxed),
        }
    }

    /// Refuses new sessions and attachments from now on and tells all sessions to move ([`Event::Draining`]).
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.health.send_modify(|health| {
            health.serving = false;
            health.draining = true;
        });
        self.shared.give_all_back();
        for home in self.shared.all_homes() {
            home.notify(Event::Draining);
        }
    }

    /// How many sessions are still at home here: what a drain waits for.
    pub fn sessions_at_home(&self) -> usize {
        self.shared.homes.read().len()
    }

    /// Stops acting and leaves the members, so that the sessions which are still at home here can be adopted at once.
    pub async fn shutdown(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.give_all_back_now().await;
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.stop.cancel();
        self.shared.health.send_modify(|health| health.serving = false);
        if let Err(error) = self.shared.leave().await {
            tracing::warn!(%error, "this server could not leave its peers: they will notice by its silence");
        }
    }
}

/// A session at home in an engine: one attachment of it. Clones are handles to the same one; dropping them does not
/// end the session.
#[derive(Clone)]
pub struct Session {
    engine: Engine,
    home: Arc<Home>,
}

impl Session {
    /// Its id.
    pub fn id(&self) -> SessionId {
        self.home.id
    }

    /// The epoch of this attachment.
    pub fn epoch(&self) -> Epoch {
        self.home.epoch()
    }

    /// Its time to live and lock delay.
    pub fn terms(&self) -> LeaseTerms {
        self.home.terms()
    }

    /// Whether this attachment is still served, and why not.
    pub fn check(&self) -> Result<(), SessionError> {
        self.home.check_live()
    }

    /// The client lives. `Ok` is the acknowledgement that it may count on: this server owns the session at that
    /// epoch, and its own lease holds.
    pub fn heartbeat(&self, epoch: Epoch) -> Result<(), SessionError> {
        if epoch != self.home.epoch() {
            return Err(SessionError::Moved);
        }
        let shared = &self.engine.shared;
        // It counts as heard even where it can't be acknowledged: the home ends nobody who speaks.
        self.home.heartbeat(shared.now())?;
        shared.check_may_act().map_err(|reason| SessionError::Fenced { reason })
    }

    /// Takes requests, in order; their answers come as events. Returns at once.
    pub fn submit(&self, requests: Vec<(RequestId, Request)>) {
        submit::submit(&self.engine.shared, &self.home, requests);
    }

    /// Ends the session: all its locks are free.
    pub async fn close(&self) -> Result<(), SessionError> {
        self.engine.shared.close_session(&self.home).await
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("member", &self.shared.member).finish_non_exhaustive()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.home.id)
            .field("epoch", &self.home.epoch())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Secret {
    /// Never the secret itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
