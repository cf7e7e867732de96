//! What the service shows of its resources, sessions and members.

use crate::LossReason;
use dlock_core::{Epoch, LockId, MemberId, Mode, ResourceId, SessionId, Token, ValueRead};
use dlock_runtime::ProcessUsage;
use std::time::Duration;

/// Names one lock in the whole service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockAddress {
    /// Whose lock it is.
    pub session: SessionId,
    /// Which of the session's locks.
    pub lock: LockId,
}

/// One resource as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceInfo {
    /// Which.
    pub resource: ResourceId,
    /// Changes with every change of the resource.
    pub version: u64,
    /// The highest token granted so far; zero if none ever was.
    pub last_token: Token,
    /// The value block.
    pub value: ValueRead,
    /// Granted locks.
    pub holders: Vec<HolderInfo>,
    /// Conversions, then waiting requests, in the order of service.
    pub queue: Vec<QueuedInfo>,
    /// Another server than the one that answers, which grants and releases it from its own memory: only that one can say
    /// who holds it and who waits, and the rest of this is as old as what it wrote last.
    pub mastered_by: Option<MemberId>,
}

/// A granted lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HolderInfo {
    /// Which.
    pub lock: LockAddress,
    /// The mode held.
    pub mode: Mode,
    /// Its token.
    pub token: Token,
    /// How many acquires share it.
    pub holds: u32,
    /// When it was asked for, in milliseconds of Unix time by its server's clock.
    pub since_unix_ms: u64,
    /// Who holds it, where that is known.
    pub client: Option<ClientInfo>,
}

/// A queued conversion or request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuedInfo {
    /// Which.
    pub lock: LockAddress,
    /// The mode wanted.
    pub mode: Mode,
    /// The mode held meanwhile, for a conversion.
    pub held: Option<Mode>,
    /// When it was asked for, in milliseconds of Unix time by its server's clock.
    pub since_unix_ms: u64,
    /// Who has to go first.
    pub blocked_by: Vec<LockAddress>,
    /// Who waits, where that is known.
    pub client: Option<ClientInfo>,
}

/// Who a client says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// Its name, as given to [`ClientBuilder::client_name`](crate::ClientBuilder::client_name).
    pub name: String,
    /// Its machine's name.
    pub host: String,
    /// Its process id, 0 if unknown.
    pub process_id: u32,
    /// Its SDK and version.
    pub version: String,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Which.
    pub session: SessionId,
    /// The server that it is at home at.
    pub home: MemberId,
    /// How often it was opened or attached.
    pub epoch: Epoch,
    /// Its time to live.
    pub ttl: Duration,
    /// How long its locks stay locked after its time to live is over.
    pub lock_delay: Duration,
    /// As whom the client authenticated; empty without authentication.
    pub principal: String,
    /// Who the client says it is.
    pub client: ClientInfo,
    /// When it was opened, in milliseconds of Unix time by its server's clock.
    pub opened_unix_ms: u64,
    /// Whether it lives.
    pub active: bool,
    /// Why it ended, where it has.
    pub ended: Option<LossReason>,
    /// How many locks it holds or waits for, where its home answered.
    pub locks: Option<u64>,
}

/// One running server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberInfo {
    /// Which.
    pub member: MemberId,
    /// How clients reach it; empty if unknown.
    pub address: String,
    /// Its version.
    pub version: String,
    /// When it started, in milliseconds of Unix time by its own clock.
    pub started_unix_ms: u64,
    /// Whether it is the one that answered.
    pub this: bool,
    /// Whether it has been silent for so long that its sessions count as orphans.
    pub dead: bool,
}

/// The server that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// Which.
    pub member: MemberId,
    /// Its version.
    pub version: String,
    /// Where its records live: `embedded`, `etcd`, `redis` or `nats`.
    pub store: String,
    /// Where that is, without secrets.
    pub store_place: String,
    /// What that store can't promise as it is set up, and the way out.
    pub caveats: Vec<String>,
    /// Whether requests are served.
    pub serving: bool,
    /// Whether it is shutting down.
    pub draining: bool,
    /// What is wrong with the store at the moment, for people.
    pub conditions: Vec<String>,
    /// How many tasks it runs at the moment.
    pub tasks: u64,
    /// What its process has used, where its system tells.
    pub process: Option<ProcessUsage>,
}

/// A change of a watched resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResourceEvent {
    /// The resource as it stands now.
    Changed(ResourceInfo),
    /// Nobody holds it or waits for it, and its record was collected.
    Removed(ResourceId),
    /// The initial snapshot is complete.
    SnapshotDone,
    /// Changes may have been missed; a snapshot follows.
    Resync,
}

/// What [`QueryClient::check_token`](crate::QueryClient::check_token) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenCheck {
    /// A live session holds the resource with this token.
    pub held: bool,
    /// The highest token granted on the resource so far.
    pub highest: Token,
}

/// How a server feels, by the standard gRPC health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It serves.
    Serving,
    /// It is up and does not serve at the moment.
    NotServing,
    /// It does not say.
    Unknown,
}
