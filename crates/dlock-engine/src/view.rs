//! What the engine shows to people: resources, sessions and members as they stand.

use dlock_core::lease::LeaseTerms;
use dlock_core::session::{ClientInfo, SessionState};
use dlock_core::{Epoch, LockKey, MemberId, Mode, ResourceId, SessionId, Token, ValueRead};

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceView {
    /// Which.
    pub resource: ResourceId,
    /// Changes with every change of the resource.
    pub version: u64,
    /// The highest token granted.
    pub last_token: Token,
    /// The value block.
    pub value: ValueRead,
    /// Another server grants and releases it from its own memory: who holds it and who waits, only that server can say.
    pub mastered_by: Option<MemberId>,
    /// Granted locks.
    pub holders: Vec<HolderView>,
    /// Conversions, then waiting requests, in the order of service.
    pub queue: Vec<QueuedView>,
}

/// A granted lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderView {
    /// Whose.
    pub key: LockKey,
    /// The mode held.
    pub mode: Mode,
    /// Its token.
    pub token: Token,
    /// How many acquires share it.
    pub holds: u32,
    /// When it was asked for, in milliseconds of Unix time.
    pub since_unix_ms: u64,
    /// Who the client is, where its session's record could be read.
    pub client: Option<ClientInfo>,
}

/// A queued conversion or request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedView {
    /// Whose.
    pub key: LockKey,
    /// The mode wanted.
    pub mode: Mode,
    /// The mode held meanwhile, for a conversion.
    pub held: Option<Mode>,
    /// When it was asked for, in milliseconds of Unix time.
    pub since_unix_ms: u64,
    /// Who has to go first.
    pub blocked_by: Vec<LockKey>,
    /// Who the client is, where its session's record could be read.
    pub client: Option<ClientInfo>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Which.
    pub session: SessionId,
    /// Its home.
    pub owner: MemberId,
    /// How often it was opened or attached.
    pub epoch: Epoch,
    /// Its time to live and lock delay.
    pub terms: LeaseTerms,
    /// As whom the client authenticated.
    pub principal: String,
    /// Who the client says it is.
    pub client: ClientInfo,
    /// When it was opened, in milliseconds of Unix time.
    pub opened_unix_ms: u64,
    /// Whether it lives.
    pub state: SessionState,
    /// How many locks it holds or waits for, known only at its home.
    pub locks: Option<usize>,
}

/// One running server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Which.
    pub member: MemberId,
    /// How clients reach it; empty if unknown.
    pub address: String,
    /// Its version.
    pub version: String,
    /// When it started, in milliseconds of Unix time.
    pub started_unix_ms: u64,
    /// Whether it is the one that answers.
    pub this: bool,
    /// Whether it has been silent for so long that its sessions count as orphans.
    pub dead: bool,
}

/// A change of a watched resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceEvent {
    /// The resource as it stands now.
    Changed(ResourceView),
    /// Nobody holds it or waits for it, and its record was collected.
    Removed(ResourceId),
    /// The initial snapshot is complete.
    SnapshotDone,
    /// Changes may have been missed; a snapshot follows.
    Resync,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOf<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where to go on; nothing when this was the last page.
    pub next: Option<String>,
}
