//! What a model consists of, what may go wrong in it, and which rule it goes without.

use dlock_core::lease::LeaseTerms;
use dlock_core::{Mode, Timestamp};
use std::time::Duration;

/// One operation of a client's script, on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Take a new lock, waiting for it. A client has one lock at most on a resource.
    Lock(Mode),
    /// Take a new lock if it can be granted at once.
    Try(Mode),
    /// Convert the held lock, waiting for it.
    Convert(Mode),
    /// Release the held lock.
    Unlock,
}

/// A line of a client's script. They follow each other: each waits for the answer to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// Which resource it is about.
    pub resource: usize,
    /// What is done.
    pub operation: Operation,
}

impl Line {
    /// Whether it needs a lock on its resource.
    pub(crate) fn needs_lock(&self) -> bool {
        !matches!(self.operation, Operation::Lock(_) | Operation::Try(_))
    }
}

/// A client with its session, which is open at the beginning.
#[derive(Clone, Debug)]
pub struct ClientSetup {
    /// The server that is its session's home at the beginning.
    pub home: usize,
    /// What it does. It skips what needs a lock that it did not get.
    pub script: Vec<Line>,
    /// Whether the first of that, which takes a lock, is done at the beginning.
    pub holds: bool,
    /// Whether it may attach its session anew.
    pub roams: bool,
    /// The session's time to live and lock delay.
    pub terms: LeaseTerms,
}

/// A rule of the protocol that a model can be built without, to see that the checker finds what it prevents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A session is expired by a compare-and-swap at the version of the epoch that was silent.
    ExpiryBoundToEpoch,
    /// A commit is bound to its sessions' records at all: guarded by them, or tried after they were verified.
    CommitBoundToSessions,
    /// Where a store can't guard: the session is verified after the resource was read, not before.
    VerifyAfterRead,
    /// A release names the lock that it ends, not only the session.
    ReleaseNamesLock,
    /// Requests whose sequence number does not grow are dropped.
    SequenceGrows,
    /// A server past its own deadline acknowledges and commits nothing.
    MemberDeadline,
    /// A server whose lease had lapsed for long gives its sessions up.
    LapseGivesUp,
    /// An attachment whose answer came too late is made once more.
    AttachmentInTime,
    /// A client's attempts to attach are numbered, and one that is carried out after a later one is refused.
    AttemptsNumbered,
    /// A client counts its deadline from when the acknowledged heartbeat was sent.
    DeadlineFromSending,
    /// A client's deadline has a margin for the rates of clocks.
    DeadlineMargin,
    /// Orphans are ended only after their time to live and lock delay.
    OrphansWait,
    /// A commit of unknown outcome is not taken for one that failed.
    AmbiguityIsNotFailure,
    /// The deletion of a resource's record leaves a floor for its tokens.
    FloorOutlivesRecord,
    /// Where a store can't guard: what says that there is no such lock writes the record.
    AbsenceWrites,
    /// What changes nothing is answered only from a record read after the command came.
    FreshAnswers,
    /// Those who wait are looked at, though nothing was heard.
    Recheck,
    /// A refused *try* is not sent again after what was asked of its lock since.
    TryKeepsItsPlace,
    /// A master whose lease had run out answers nothing from memory before it has written the record.
    LapseEndsMastering,
    /// A master answers a session from memory only if a commit found it at home there since it is the master.
    VerifiedByMaster,
    /// What a dead server mastered is not given to others while a session has its home there.
    RecoveryWaitsForHomes,
    /// Nor while a session is moving from there.
    RecoveryWaitsForMoving,
    /// What says that a master is dead, and all claimed, was asked after the record was read.
    RecoveryBoundToRecord,
    /// A client does not act on a grant that comes from its former home after its claims were sent.
    ClaimsAreTheLastWord,
    /// A session is noted to be moving before it is attached elsewhere.
    MovingIsNoted,
    /// The note is deleted when the claims are answered, not before.
    NoteOutlivesClaims,
    /// A lock that may have been converted downwards is claimed in the lower mode.
    ClaimsAreLow,
}

/// How often each thing may happen that the protocol can do without, or that goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Attempts of clients to attach their sessions, to any server and at any time.
    pub attaches: u8,
    /// Requests and heartbeats that the network delivers once more.
    pub duplicates: u8,
    /// Calls of the store that get no answer in time: a read's answer is lost; a commit may have been applied, may be
    /// applied later, or never.
    pub silences: u8,
    /// Requests for a lock that are given up before they are answered.
    pub withdrawals: u8,
    /// Requests that are sent again after "unavailable".
    pub retries: u8,
    /// Deletions of a resource's record that nobody uses.
    pub collections: u8,
    /// Wake-ups that are lost.
    pub lost_news: u8,
    /// Servers that stop for ever, without a word.
    pub crashes: u8,
    /// Servers that leave in good order.
    pub departures: u8,
    /// Clients that stop for ever, without a word.
    pub deaths: u8,
}

/// What the store's wake-ups say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// There are none.
    Never,
    /// That the record has changed.
    Key,
    /// What the record is. Refusals of commits say it, too.
    Record,
}

/// A model: a service of a few servers and clients, one or two resources, and a store.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// How many servers there are.
    pub servers: usize,
    /// How many resources.
    pub resources: usize,
    /// The clients.
    pub clients: Vec<ClientSetup>,
    /// Whether the store can guard a commit by the sessions' records.
    pub guards: bool,
    /// Whether servers may master resources.
    pub masters: bool,
    /// With that: whether the first server masters the first resource at the beginning; else it is one commit short of it.
    pub mastered: bool,
    /// Whether servers judge each other; else none is ever taken for dead.
    pub members: bool,
    /// Servers that have looked at no other server yet.
    pub newcomers: Vec<usize>,
    /// Servers that write their counter and look at the others' as each tick begins, without fail.
    pub steady: Vec<usize>,
    /// How many ticks of time there are.
    pub ticks: u8,
    /// How long a tick is.
    pub tick: Duration,
    /// The rate of the clients' clocks in percent of that of the servers'.
    pub client_clock_percent: u64,
    /// What the store's wake-ups say.
    pub news: News,
    /// Whether a read's answer may be under way while others write; else it is there at once.
    pub slow_reads: bool,
    /// Whether a commit's answer may be under way while others write.
    pub slow_commits: bool,
    /// Whether the servers' writes and readings of the members' counters take time.
    pub slow_members: bool,
    /// Whether all that can be done is done before time goes on: with that, everybody is served in the end.
    pub prompt: bool,
    /// What may go wrong, and how often.
    pub limits: Limits,
    /// The rules that are left out.
    pub without: Vec<Rule>,
}

/// What every clock shows at the beginning.
const START: Timestamp = Timestamp(1_000_000_000_000);

impl Config {
    /// Whether a rule is kept.
    pub fn keeps(&self, rule: Rule) -> bool {
        !self.without.contains(&rule)
    }

    /// What the servers' clocks show after so many ticks.
    pub(crate) fn server_time(&self, ticks: u8) -> Timestamp {
        START + self.tick * u32::from(ticks)
    }

    /// What the clients' clocks show.
    pub(crate) fn client_time(&self, ticks: u8) -> Timestamp {
        let elapsed = self.tick * u32::from(ticks);
        START + Duration::from_millis(elapsed.as_millis() as u64 * self.client_clock_percent / 100)
    }
}
