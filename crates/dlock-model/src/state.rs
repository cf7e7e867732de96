//! A state of the model: what every machine has in memory, what the store holds, and what is under way between them.

use crate::config::{Config, Limits};
use crate::message::{Answer, Ask, Claimed, Message};
use crate::part::Part;
use dlock_core::coordinator::{Commit, CommitResult, Coordinator, Loaded, SessionGuard};
use dlock_core::lease::{ClientLease, HomeLease, MemberLease, MemberObserver};
use dlock_core::resource::Command;
use dlock_core::session::{Sequence, SessionRecord};
use dlock_core::{Epoch, LockId, LockKey, MemberId, Mode, SessionId, Timestamp, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Of the lock that a client may have from the beginning.
pub(crate) const FIRST_LOCK: LockId = LockId(1);

/// A resource at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At {
    /// The server.
    pub server: usize,
    /// The resource.
    pub resource: usize,
}

/// The number of a stream between a client and a server, counted by the client.
pub(crate) type Link = u64;

/// A state.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct State {
    pub(crate) ticks: u8,
    pub(crate) store: Part<Store>,
    pub(crate) servers: Vec<Part<Server>>,
    pub(crate) clients: Vec<Part<Client>>,
    /// Messages under way to servers, each with how many times. They are delivered in any order, or never.
    pub(crate) network: Part<BTreeMap<Message, u8>>,
    /// What may still happen.
    pub(crate) left: Limits,
}

/// A record of the store with its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Versioned<T> {
    pub(crate) version: u64,
    pub(crate) value: T,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    pub(crate) resources: Vec<Resource>,
    /// By the clients' index.
    pub(crate) sessions: Vec<Versioned<SessionRecord>>,
    /// The notes of sessions that are moving, with the homes from where; empty where nothing is mastered.
    pub(crate) moving: Vec<Versioned<Option<Vec<MemberId>>>>,
    /// The members' counters; `None` where the record was deleted.
    pub(crate) members: Vec<Option<u64>>,
    /// Commits that nobody waits for any more, and that may still arrive: by where they come from, where they are numbered.
    pub(crate) late: BTreeMap<(At, u8), Commit>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resource {
    pub(crate) record: Loaded,
    pub(crate) witness: Witness,
}

/// What the store saw happen that must not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Witness {
    /// The greatest token granted in each mode.
    pub(crate) tokens: [Token; Mode::ALL.len()],
    /// A grant's token was not greater than that of an earlier conflicting one.
    pub(crate) token_fell: bool,
    /// A lock of a living session went without having been asked to.
    pub(crate) taken_unasked: bool,
    /// What was granted, where grants may stand in no record.
    pub(crate) granted: BTreeSet<(LockKey, Token)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    pub(crate) gone: bool,
    /// By the resources' index.
    pub(crate) slots: Vec<Slot>,
    /// By the clients' index.
    pub(crate) homes: BTreeMap<usize, Home>,
    pub(crate) directory: BTreeMap<usize, Foreign>,
    /// Writes of sessions' records, and their answers, under way.
    pub(crate) writes: BTreeSet<SessionWrite>,
    pub(crate) lease: MemberLease,
    pub(crate) observer: MemberObserver,
    /// A beat under way, sent then.
    pub(crate) beat: Option<Timestamp>,
    /// A look under way: when it was sent, and the counters of the others as they were read.
    pub(crate) look: Option<(Timestamp, Vec<(MemberId, u64)>)>,
    /// What others mastered, and somebody waited for here, when the look was sent.
    pub(crate) wanted: Vec<Wanted>,
    /// What the look has found to be mastered by the dead.
    pub(crate) recovery: Option<Recovery>,
    /// Attachments whose claims were not all answered yet, by client and version.
    pub(crate) claiming: BTreeMap<(usize, u64), Claiming>,
    /// What it has done since the last tick.
    pub(crate) done: Duties,
}

/// A resource that another server masters, as the record says of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) resource: usize,
    pub(crate) version: u64,
    pub(crate) master: MemberId,
}

/// What dead servers mastered, about to be recovered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Recovery {
    pub(crate) wanted: Vec<Wanted>,
    /// Of those, the masters where no session has its home; `None` before sessions were listed.
    pub(crate) left: Option<BTreeSet<MemberId>>,
}

/// The claims of an attachment that have no answer yet, and the version of the note that its session is moving.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claiming {
    pub(crate) note: u64,
    pub(crate) locks: BTreeSet<LockId>,
}

/// What a server does once in a tick at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Duties {
    pub(crate) beat: bool,
    pub(crate) look: bool,
}

/// What a server has of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub(crate) coordinator: Coordinator<Ticket>,
    pub(crate) call: Option<Call>,
    /// Refused tries that are to be sent once more, after a look whether those who stand in their way have ended.
    pub(crate) tries: VecDeque<(Ticket, Command)>,
    /// How many of its commits were given up.
    pub(crate) silences: u8,
    pub(crate) has_news: bool,
    /// It was looked at since the last tick, as somebody waits.
    pub(crate) rechecked: bool,
}

/// A server's call of the store for a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    /// The record is to be read.
    Read,
    /// It was read, and the answer is under way.
    ReadDone(Loaded),
    /// The sessions are to be verified before the commit is sent.
    Verify(Commit),
    /// The commit is under way.
    Write(Commit),
    /// Its answer is.
    WriteDone(CommitResult),
}

/// Whom a command's answer is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ticket {
    Request {
        client: usize,
        link: Link,
        request: u64,
        lock: LockId,
        kind: Kind,
        /// A *try* that was not checked yet against sessions that may have ended unnoticed.
        unverified: Option<Box<Command>>,
    },
    /// What a client claims in the attachment of this version.
    Claim {
        client: usize,
        version: u64,
        claim: Claimed,
    },
    Purge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Ask,
    Convert,
    Release,
}

/// An attachment of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Home {
    pub(crate) link: Link,
    pub(crate) version: u64,
    pub(crate) epoch: Epoch,
    pub(crate) lease: HomeLease,
    /// Its end is on the way to the store.
    pub(crate) expiring: bool,
    pub(crate) sequence: Sequence,
    /// The locks that were heard of.
    pub(crate) locks: BTreeMap<LockId, LocalLock>,
}

impl Home {
    /// What a commit for this attachment must find unchanged (`Home::guard` of the engine).
    pub(crate) fn guard(&self, client: usize) -> SessionGuard {
        let (session, version, moved) = (session_id(client), self.version, self.epoch > Epoch(1));
        SessionGuard { session, version, moved, claims_all: true }
    }
}

/// A lock of a session that is at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LocalLock {
    pub(crate) resource: usize,
    /// It is known to be held.
    pub(crate) granted: bool,
    /// The request that waits for it.
    pub(crate) waiting: Option<u64>,
    /// The newest request for it that came here.
    pub(crate) newest: Option<u64>,
}

/// A session that is at home elsewhere, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Foreign {
    pub(crate) version: u64,
    pub(crate) owner: MemberId,
    pub(crate) seen: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SessionWrite {
    /// An attachment is written; its server has yet to hear of it.
    Attached { greeting: Greeting, version: u64, epoch: Epoch, sent: Timestamp, note: Option<u64> },
    /// It is noted, in this version of the note, that the session is moving, and its record had this version: now it is to be
    /// attached.
    Noted { greeting: Greeting, found: u64, note: u64 },
    /// The note is to be deleted, if it still has this version.
    Moved { client: usize, note: u64 },
    /// A claim in the attachment of this version had no answer, and is to be sent again.
    ClaimAgain { client: usize, version: u64, claim: Claimed },
    /// The session is to end, if its record still has this version: its home says so.
    Expire { client: usize, version: u64 },
    /// The same, of an orphan.
    EndOrphan { client: usize, version: u64 },
}

/// With what a client attaches its session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Greeting {
    pub(crate) client: usize,
    pub(crate) link: Link,
    pub(crate) last_sequence: u64,
    pub(crate) claims: Vec<Claimed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) lease: ClientLease,
    /// The current link, and the server at its other end.
    pub(crate) link: Link,
    pub(crate) server: usize,
    pub(crate) attempt: Option<Attempt>,
    pub(crate) links: Link,
    /// What has arrived on each link that is listened to.
    pub(crate) inbox: BTreeMap<Link, VecDeque<Answer>>,
    /// The next operation of the script.
    pub(crate) position: usize,
    /// The newest request's number.
    pub(crate) sequence: u64,
    /// The newest lock's id.
    pub(crate) locks: u64,
    /// The locks that it has, or asks for, by their resources.
    pub(crate) own: BTreeMap<usize, OwnLock>,
    /// Locks that it was told are gone, or were never granted.
    pub(crate) ended: BTreeMap<LockId, Ending>,
    /// Locks that it has asked to end.
    pub(crate) given_up: BTreeSet<LockId>,
    /// The session is lost.
    pub(crate) over: bool,
    /// The client has stopped for ever.
    pub(crate) dead: bool,
}

/// How a client was told that it has a lock no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    Released,
    Refused,
}

/// An attempt to attach, sent then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) link: Link,
    pub(crate) server: usize,
    pub(crate) sent: Timestamp,
}

/// A lock that a client has, or asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OwnLock {
    pub(crate) id: LockId,
    pub(crate) held: Option<(Mode, Token)>,
    pub(crate) goal: Option<Ask>,
    /// The goal's request on the current link; `None` where it has yet to be sent.
    pub(crate) request: Option<u64>,
    /// Not to be sent again before.
    pub(crate) paused_until: u8,
}

impl Client {
    /// Whether it has nothing left to do.
    pub(crate) fn is_done(&self, config: &Config, index: usize) -> bool {
        self.over || self.dead || (self.own.is_empty() && self.position >= config.clients[index].script.len())
    }

    /// The lock of which something is asked, and its resource.
    pub(crate) fn asks(&self) -> Option<(usize, &OwnLock)> {
        self.own.iter().map(|(resource, lock)| (*resource, lock)).find(|(_, lock)| lock.goal.is_some())
    }

    /// The lock of which this is so, which it has no more.
    pub(crate) fn take(&mut self, is_it: impl Fn(&OwnLock) -> bool) -> Option<OwnLock> {
        let resource = *self.own.iter().find(|(_, lock)| is_it(lock))?.0;
        self.own.remove(&resource)
    }

    /// The lock that this request is about.
    pub(crate) fn asked(&mut self, request: u64) -> Option<&mut OwnLock> {
        self.own.values_mut().find(|lock| lock.request == Some(request))
    }
}

pub(crate) fn session_id(client: usize) -> SessionId {
    SessionId(client as u128 + 1)
}

pub(crate) fn client_of(session: SessionId) -> usize {
    session.0 as usize - 1
}

pub(crate) fn member_id(server: usize) -> MemberId {
    MemberId(server as u128 + 1)
}

pub(crate) fn server_of(member: MemberId) -> usize {
    member.0 as usize - 1
}

pub(crate) fn lock_key(client: usize, lock: LockId) -> LockKey {
    LockKey { session: session_id(client), lock }
}

impl State {
    /// To be done after each step.
    pub(crate) fn seal(&mut self) {
        self.store.seal();
        self.network.seal();
        self.servers.iter_mut().for_each(Part::seal);
        self.clients.iter_mut().for_each(Part::seal);
    }
}
