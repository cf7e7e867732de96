//! The one place in a server where the commands for one resource meet: a pure state machine between the
//! [`Resource`] and the store.
//!
//! While a commit is in flight the next commands gather, and the next compare-and-swap carries them all (group
//! commit). The last record is kept, so that an uncontended command costs one round trip to the store.
//!
//! ```text
//!            submit                     loaded                      submit
//!  Unknown ─────────► Loading ─────────────────────► Settled ──────────────────► Committing
//!     ▲                  ▲                              ▲  ▲        committed        │  │
//!     │ not applied      │ conflict, session refused    │  └────────────────────────┘  │ ambiguous
//!     └──────────────────┴──────────────────────────────┴───────── loaded ◄──────── Resolving
//! ```
//!
//! Inputs are methods, effects are [`Action`]s pushed to a vector, in the order in which they are to be carried out.
//! An [`Action::Answer`] or [`Action::Promoted`] is pushed only when what it says is committed. `T` is the caller's
//! ticket: whom to answer. It is only handed back.
//!
//! **Ambiguous commits.** When a commit's outcome is unknown, the cached record is frozen and read again. The very
//! bytes that were sent are there: it succeeded. The version has not moved: the identical compare-and-swap is sent
//! again. It has moved and the bytes differ: the commands are decided anew on what is there; they are idempotent, so
//! one that had taken effect after all is answered as it was.
//!
//! **Stores that this server does not own alone.** What leaves the record unchanged (a refusal, a retry's answer)
//! is answered only from a record read, or committed, after the command had come.
//!
//! **Late commits.** What is answered may not be undone by a commit that was sent before and arrives later. So an
//! answer writes, though it changes nothing, and with that makes a commit fail that expects the same version:
//!
//! - while the record has the version that a commit of this server expected whose outcome is still unknown;
//! - where the store can't guard a commit by the session's record, if the command's sender takes from the answer that
//!   it has no such lock, or not the mode: a commit from the session's former home may still be under way, verified.

mod flight;
mod mastering;
mod mastery;
#[cfg(test)]
mod tests;

use crate::record::Pieces;
use crate::resource::{Command, Grant, Master, Outcome, Refusal, Resource};
use crate::{LockKey, MemberId, ModeSet, SessionId, Token};
use bytes::Bytes;
use flight::{Flight, FlightKind, Pending, answer_from_memory};
use mastering::is_elsewhere;
pub use mastering::is_recalled;
use mastery::Mastery;
use smallvec::SmallVec;
use std::collections::HashSet;

/// The most sessions by whose records one commit is guarded: what a store takes at most. Commands of more sessions wait
/// for the next commit. In Miri, which is slow, few do.
pub const GUARDS_MAX: usize = if cfg!(miri) { 3 } else { 100 };

/// How often the identical compare-and-swap is sent again before its commands are answered "unknown".
const RESENDS_MAX: u32 = 3;

/// What a coordinator must know of its server and store, the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// The store's generation, for tokens.
    pub generation: u16,
    /// The store can guard a commit by a session's record.
    pub guards: bool,
    /// Nobody else writes to the store.
    pub exclusive: bool,
    /// This server.
    pub member: MemberId,
    /// This server may become the resource's master, or go on to be.
    pub masters: bool,
    /// So many commits in a row, between which nobody else wrote, make it the master; after each time that it had to give the
    /// resource back for little, twice as many.
    pub master_after: u32,
    /// Another server may be the master, or become it.
    pub peers_master: bool,
    /// The period of this server's lease, if that holds at this moment: a number that changes whenever it had run out. A
    /// master answers from memory in the period in which it became one.
    pub period: Option<u64>,
}

impl Rules {
    /// Those of server 1 with a store of its own, which masters nothing: to begin others with.
    pub const ALONE: Rules = Rules {
        generation: 0,
        guards: true,
        exclusive: true,
        member: MemberId(1),
        masters: false,
        master_after: 3,
        peers_master: false,
        period: None,
    };
}

/// The session record that a command's commit must find unchanged: it names the epoch in which the command's
/// sender had its home here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionGuard {
    /// The session.
    pub session: SessionId,
    /// The version of its record.
    pub version: u64,
    /// The session had another attachment before: what its former home has under way may still arrive.
    pub moved: bool,
    /// Its client can claim all its locks when it comes to another home. Of others, every lock must be in the store.
    pub claims_all: bool,
}

/// A record as read from the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loaded {
    /// Its version, or that of its absence.
    pub version: u64,
    /// What it holds.
    pub content: Content,
}

/// A record's value, or the floor below which no token may be given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// An encoded [`Resource`].
    Present(Bytes),
    /// No record.
    Absent {
        /// The greatest token that may have been granted before.
        floor: u64,
    },
}

/// A compare-and-swap to be tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Commit {
    /// The version that the record must have.
    pub expected: u64,
    /// What it becomes.
    pub change: Change,
    /// Session records that must be unchanged: in the same transaction, or read between the record's own
    /// reading and this commit, where the store can't.
    pub guards: SmallVec<[SessionGuard; 2]>,
}

/// What a commit makes of the record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// This, an encoded [`Resource`].
    Put(Pieces),
    /// Absent, remembering the floor.
    Delete {
        /// The greatest token granted.
        floor: u64,
    },
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CommitResult {
    /// It is in the store.
    Committed {
        /// The record's new version.
        version: u64,
    },
    /// The record had another version.
    Conflict {
        /// The record as it stands, where the store said so.
        current: Option<Loaded>,
    },
    /// A session's record had changed; nothing was written.
    SessionRefused(SessionGuard),
    /// Nobody knows.
    Ambiguous {
        /// What was seen.
        reason: String,
    },
    /// Nothing was written and nothing will be.
    NotApplied {
        /// Why.
        reason: String,
    },
}

/// Why a command has no answer. It may be sent again: it has one effect, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The store can't say or do what is needed.
    Unavailable {
        /// Why.
        reason: String,
    },
    /// The sender's session has moved or ended.
    SessionRefused,
    /// The record can't be read.
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<T> {
    /// Read the record linearizably and pass it to [`Coordinator::loaded`].
    Load,
    /// Try this and pass the result to [`Coordinator::committed`].
    Commit(Commit),
    /// Tell the sender; it is committed.
    Answer {
        /// Whom.
        ticket: T,
        /// What.
        outcome: Outcome,
    },
    /// Tell the sender that there is no answer.
    Fail {
        /// Whom.
        ticket: T,
        /// Why.
        failure: Failure,
    },
    /// A lock that had waited, or whose conversion had, is granted. Whoever is home to its session tells it.
    Promoted(Grant),
    /// A lock is gone from the record, and no command that was submitted here asked for that, answered or not. If its session is at
    /// home here, it was revoked; else it may as well have been released there.
    Vanished(LockKey),
    /// The record's last token is smaller than it was: the store has gone back in time.
    WentBack,
    /// Other modes are wanted in the queue than before: holders may have to be told that they block somebody.
    Contention,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State<T> {
    /// Nothing is known of the record.
    Unknown,
    /// It is being read. `again` when news came meanwhile that the answer may not have.
    Loading { again: bool },
    /// The record as of `version`, and nothing under way.
    Settled { version: u64, resource: Box<Resource> },
    /// `resource` is what the record becomes if the commit succeeds.
    Committing { resource: Box<Resource>, flight: Box<Flight<T>> },
    /// The commit's outcome is unknown, and the record is being read.
    Resolving { resource: Box<Resource>, flight: Box<Flight<T>> },
    /// Another server masters the resource, says the record as of `version`. How it stands, only that server knows.
    Elsewhere { version: u64, resource: Box<Resource> },
}

/// One resource's commands on their way to the store. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator<T> {
    state: State<T>,
    pending: Vec<Pending<T>>,
    /// The last record that was seen committed, where others may write too: what waiting sessions were told.
    base: Option<Box<Resource>>,
    /// Locks that a commit of unknown outcome may have granted, and that nobody was told of.
    untold: Vec<LockKey>,
    /// Locks that a commit of unknown outcome, since given up, may have ended because it was asked to.
    ended: Vec<LockKey>,
    /// The version that a commit of unknown outcome expected, after it was given up: while the record has it, the
    /// commit may still arrive.
    doubted: Option<u64>,
    /// The modes that were wanted in the queue when [`Action::Contention`] was last considered.
    wanted: ModeSet,
    /// Kept only of a resource that this server may master.
    mastery: Option<Box<Mastery>>,
}

impl<T> Default for Coordinator<T> {
    fn default() -> Self {
        Coordinator {
            state: State::Unknown,
            pending: Vec::new(),
            base: None,
            untold: Vec::new(),
            ended: Vec::new(),
            doubted: None,
            wanted: ModeSet::EMPTY,
            mastery: None,
        }
    }
}

impl<T> Coordinator<T> {
    /// A coordinator that knows nothing of its record yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The record, where it is known and nothing is under way.
    pub fn settled(&self) -> Option<&Resource> {
        match &self.state {
            State::Settled { resource, .. } => Some(resource),
            _ => None,
        }
    }

    /// The record as it will be if all goes well: for looks that need not be exact.
    pub fn latest(&self) -> Option<&Resource> {
        match &self.state {
            State::Settled { resource, .. }
            | State::Committing { resource, .. }
            | State::Resolving { resource, .. } => Some(resource),
            State::Unknown | State::Loading { .. } => self.truth().or(self.base.as_deref()),
            State::Elsewhere { .. } => None,
        }
    }

    /// Whether no command is under way and nothing is being read or written: it can be dropped without loss.
    pub fn is_quiet(&self) -> bool {
        let under_way =
            !matches!(self.state, State::Unknown | State::Settled { .. } | State::Elsewhere { .. });
        self.pending.is_empty() && !under_way && self.doubted.is_none()
    }

    /// Whether nothing is lost with it, and nothing saved by keeping it: its record is not known, nor is it remembered how
    /// often this server had to give it back.
    pub fn is_forgettable(&self) -> bool {
        let elsewhere = matches!(self.state, State::Elsewhere { .. });
        self.is_quiet() && self.latest().is_none() && !(elsewhere && self.mastery.is_some())
    }

    /// Takes a command and goes on with it. `guard` is the sender's session record, for commands that a session sends.
    pub fn submit(
        &mut self,
        ticket: T,
        command: Command,
        guard: Option<SessionGuard>,
        rules: &Rules,
        out: &mut Vec<Action<T>>,
    ) {
        self.gather(ticket, command, guard, rules);
        self.advance(rules, out);
    }

    /// Takes a command as [`Coordinator::submit`] does, and leaves it to [`Coordinator::advance`]: one commit carries
    /// all that were gathered.
    pub fn gather(&mut self, ticket: T, command: Command, guard: Option<SessionGuard>, rules: &Rules) {
        let fresh = rules.exclusive;
        // A store of this server's own has no other home to which anything could be taken.
        let guard =
            guard.map(|guard| SessionGuard { claims_all: guard.claims_all || rules.exclusive, ..guard });
        // In such a store there may be very many resources: those that are used once cost no memory.
        let used_before = !matches!(self.state, State::Unknown | State::Loading { .. });
        if rules.masters && self.mastery.is_none() && (used_before || !rules.exclusive) {
            self.mastery = Some(Box::new(Mastery::new()));
        }
        if self.pending.is_empty() {
            self.pending.reserve_exact(1); // mostly, it is the only one
        }
        self.pending.push(Pending { ticket, command, guard, fresh, read_begun: false, retried: false });
    }

    /// The record that [`Action::Load`] asked for.
    pub fn loaded(&mut self, result: Result<Loaded, String>, rules: &Rules, out: &mut Vec<Action<T>>) {
        match (std::mem::replace(&mut self.state, State::Unknown), result) {
            (State::Loading { again: true }, Ok(_)) => self.load(out),
            (State::Loading { .. }, Ok(loaded)) => {
                self.adopt(loaded, rules, out);
                self.advance(rules, out);
            }
            (State::Loading { .. }, Err(reason)) => {
                self.fail_all(Failure::Unavailable { reason }, out);
            }
            (State::Resolving { resource, flight }, Ok(loaded)) => {
                self.resolve(resource, flight, loaded, rules, out);
            }
            (State::Resolving { flight, .. }, Err(reason)) => {
                self.give_up(*flight, reason, out);
                self.advance(rules, out);
            }
            (state, _) => self.state = state, // an answer to a question that is no longer asked
        }
    }

    /// What became of [`Action::Commit`].
    pub fn committed(&mut self, result: CommitResult, rules: &Rules, out: &mut Vec<Action<T>>) {
        let State::Committing { resource, mut flight } = std::mem::replace(&mut self.state, State::Unknown)
        else {
            debug_assert!(false, "a commit's result without a commit");
            return;
        };
        match result {
            CommitResult::Committed { version } => self.succeed(resource, *flight, version, rules, out),
            CommitResult::Conflict { current } => {
                self.take_back(*flight);
                match current {
                    Some(current) => self.adopt(current, rules, out),
                    None => self.load(out),
                }
            }
            CommitResult::SessionRefused(guard) => {
                if let Some(mastery) = self.mastery.as_deref_mut() {
                    mastery.refused(guard);
                }
                self.doubt(&flight);
                self.take_back(*flight);
                self.refuse(guard, out);
                self.load(out);
            }
            CommitResult::Ambiguous { .. } => {
                flight.may_arrive = true;
                self.state = State::Resolving { resource, flight };
                out.push(Action::Load);
            }
            CommitResult::NotApplied { reason } => {
                // Those who wait for a resource that can't be asked for are to hear of it.
                if flight.kind == FlightKind::Recall {
                    self.fail_all(Failure::Unavailable { reason: reason.clone() }, out);
                }
                self.give_up(*flight, reason, out);
            }
        }
        self.advance(rules, out);
    }

    /// News of the record from elsewhere: it had this version at some time, and the content where it is known.
    pub fn changed(&mut self, news: Option<Loaded>, rules: &Rules, out: &mut Vec<Action<T>>) {
        let owes_news = self.owes_news();
        match &mut self.state {
            State::Loading { again } => *again = true,
            State::Settled { version, .. } | State::Elsewhere { version, .. } => match news {
                Some(loaded) if loaded.version <= *version => {}
                Some(loaded) => {
                    self.set_aside();
                    self.adopt(loaded, rules, out);
                }
                None => self.load(out),
            },
            State::Unknown if owes_news => self.load(out),
            // Only this server can give it back.
            State::Unknown if news.as_ref().is_some_and(|news| is_recalled(news, rules.member)) => {
                self.load(out);
            }
            // The commit in flight finds out by itself, and nobody waits for news of what was never known.
            State::Unknown | State::Committing { .. } | State::Resolving { .. } => {}
        }
        self.advance(rules, out);
    }

    /// Whether [`Coordinator::recheck`] is due now and then: somebody waits, or a commit that was given up may still
    /// arrive.
    pub fn needs_rechecks(&self) -> bool {
        self.is_in_doubt()
            || self.waits_for().is_some()
            || self.latest().is_some_and(|resource| !resource.queued_modes().is_empty())
    }

    /// Looks at the store though nothing was heard: a lost wake-up then costs latency, never liveness.
    pub fn recheck(&mut self, rules: &Rules, out: &mut Vec<Action<T>>) {
        let unknown = matches!(self.state, State::Unknown) && (self.owes_news() || self.is_in_doubt());
        // What a master has is the truth, and who wants it says so again and again.
        let settled =
            matches!(self.state, State::Settled { .. }) && (!self.is_master() || self.is_in_doubt());
        if unknown || settled {
            self.load(out);
        } else if self.waits_for().is_some() {
            self.recall(rules, out);
        }
    }

    /// Whether somebody may have been told of the record what it says no longer. After a read or a commit that failed,
    /// nothing is known of it, but those who wait still do.
    fn owes_news(&self) -> bool {
        self.base.is_some() || self.truth().is_some() || !self.untold.is_empty()
    }

    /// Whether a commit that was given up may still arrive: a recheck sees to it that it can't.
    pub fn is_in_doubt(&self) -> bool {
        self.doubted.is_some()
    }

    /// Drops the waiting commands that were sent under this guard: its session has moved or ended.
    fn refuse(&mut self, guard: SessionGuard, out: &mut Vec<Action<T>>) {
        for pending in std::mem::take(&mut self.pending) {
            if pending.guard == Some(guard) {
                out.push(Action::Fail { ticket: pending.ticket, failure: Failure::SessionRefused });
            } else {
                self.pending.push(pending);
            }
        }
    }

    /// Deletes the record if nobody uses the resource. Returns whether that is under way.
    pub fn collect(&mut self, out: &mut Vec<Action<T>>) -> bool {
        match std::mem::replace(&mut self.state, State::Unknown) {
            State::Settled { version, resource } if resource.is_collectable() && self.pending.is_empty() => {
                let flight = Flight::collection(version, resource.last_token());
                if self.is_master() {
                    self.keep(resource.clone());
                }
                out.push(Action::Commit(flight.commit()));
                self.state = State::Committing { resource, flight: Box::new(flight) };
                true
            }
            state => {
                self.state = state;
                false
            }
        }
    }

    fn load(&mut self, out: &mut Vec<Action<T>>) {
        self.set_aside();
        self.state = State::Loading { again: false };
        for pending in &mut self.pending {
            pending.read_begun = true;
        }
        out.push(Action::Load);
    }

    /// Starts what can be started: a read where the record is unknown, a commit where it is known.
    pub fn advance(&mut self, rules: &Rules, out: &mut Vec<Action<T>>) {
        if self.pending.is_empty() && !self.has_to_write() {
            return;
        }
        match std::mem::replace(&mut self.state, State::Unknown) {
            State::Unknown => self.load(out),
            State::Settled { version, resource } => self.start(version, resource, rules, out),
            State::Elsewhere { version, resource } => {
                let recalled = resource.master().is_some_and(|master| master.recalled);
                self.state = State::Elsewhere { version, resource };
                if !recalled {
                    self.recall(rules, out);
                }
            }
            busy => self.state = busy,
        }
    }

    /// Whether the record must be written though no command wants it: a commit that was given up may still arrive, or the
    /// resource is to be given back.
    fn has_to_write(&self) -> bool {
        matches!(&self.state, State::Settled { version, resource } if self.is_write_due(*version, resource))
    }

    fn is_write_due(&self, version: u64, resource: &Resource) -> bool {
        let yields = self.mastery.as_deref().is_some_and(Mastery::is_yielding);
        self.doubted == Some(version) || resource.master().is_some_and(Master::is_asked) || yields
    }

    /// Applies all that waits and sends one commit for it, or answers at once what changes nothing, or what a master may
    /// answer from memory.
    fn start(&mut self, version: u64, mut resource: Box<Resource>, rules: &Rules, out: &mut Vec<Action<T>>) {
        let has_to_write = self.is_write_due(version, &resource);
        let commands = self.take_pending();
        if !has_to_write && self.answers_from_memory(&resource, &commands, rules) {
            if let Some(mastery) = self.mastery.as_deref_mut() {
                mastery.has_answered(commands.len());
            }
            answer_from_memory(commands, &mut resource, rules, out);
            self.settle(version, resource, out);
            return self.advance(rules, out);
        }
        let masters = self.is_master();
        if masters {
            self.keep(resource.clone());
        } else if !rules.exclusive && self.base.is_none() {
            self.base = Some(resource.clone());
        }
        let mark = resource.take_master();
        let mut flight = Flight::of(commands, version, &mut resource, rules);
        flight.writes |= has_to_write || masters;
        if flight.writes {
            if !mark.is_some_and(|mark| mark.is_asked()) {
                self.mark(&mut flight, &mut resource, rules);
            }
            return self.send(resource, flight, out);
        }
        resource.set_master(mark);
        self.state = State::Settled { version, resource };
        if flight.is_fresh() {
            flight.answer(out);
            self.advance(rules, out); // where there were more than one flight takes
        } else {
            self.take_back(flight);
            self.load(out);
        }
    }

    /// Tries to make the record what the resource has become.
    fn send(&mut self, resource: Box<Resource>, mut flight: Flight<T>, out: &mut Vec<Action<T>>) {
        flight.change_to(resource.encode_in_pieces());
        out.push(Action::Commit(flight.commit()));
        self.state = State::Committing { resource, flight: Box::new(flight) };
    }

    /// The waiting commands, the oldest first, as far as one commit can guard them.
    fn take_pending(&mut self) -> Vec<Pending<T>> {
        if self.pending.len() <= GUARDS_MAX {
            return std::mem::take(&mut self.pending);
        }
        let mut guards = HashSet::new();
        let one_too_many = |pending: &Pending<T>| {
            guards.extend(pending.guard.map(|guard| (guard.session, guard.version)));
            guards.len() > GUARDS_MAX
        };
        let end = self.pending.iter().position(one_too_many).unwrap_or(self.pending.len());
        let later = self.pending.split_off(end);
        std::mem::replace(&mut self.pending, later)
    }

    fn succeed(
        &mut self,
        resource: Box<Resource>,
        flight: Flight<T>,
        version: u64,
        rules: &Rules,
        out: &mut Vec<Action<T>>,
    ) {
        if flight.kind == FlightKind::Collection {
            self.doubted = None;
            self.base = None;
            self.state = State::Unknown;
            self.mastery = None;
            return;
        }
        if let Some(mastery) = self.mastery.as_deref_mut() {
            if is_elsewhere(&resource, rules) {
                mastery.lost(version);
            } else {
                mastery.committed(version, &resource, flight.guards(), flight.period);
            }
        }
        flight.answer(out);
        self.place(version, resource, rules, out);
    }

    /// The record is as it was read, or written.
    fn place(&mut self, version: u64, resource: Box<Resource>, rules: &Rules, out: &mut Vec<Action<T>>) {
        if is_elsewhere(&resource, rules) {
            self.doubted = self.doubted.filter(|doubted| *doubted == version);
            self.base = None;
            self.state = State::Elsewhere { version, resource };
            return;
        }
        self.base = if rules.exclusive || self.is_master() { None } else { Some(resource.clone()) };
        self.settle(version, resource, out);
    }

    /// What to do with a commit whose outcome was unknown, now that the record has been read.
    fn resolve(
        &mut self,
        resource: Box<Resource>,
        mut flight: Box<Flight<T>>,
        found: Loaded,
        rules: &Rules,
        out: &mut Vec<Action<T>>,
    ) {
        if flight.is_effect(&found.content) && found.version != flight.expected {
            self.succeed(resource, *flight, found.version, rules, out);
        } else if found.version == flight.expected && flight.resends < RESENDS_MAX {
            flight.resends += 1;
            out.push(Action::Commit(flight.commit()));
            self.state = State::Committing { resource, flight };
        } else if found.version == flight.expected {
            let reason = "the outcome of a write is still not known".to_owned();
            self.give_up(*flight, reason, out);
        } else {
            self.take_back(*flight);
            self.adopt(found, rules, out);
        }
        self.advance(rules, out);
    }

    /// Takes a committed record as the truth, and tells what differs from what was told.
    fn adopt(&mut self, loaded: Loaded, rules: &Rules, out: &mut Vec<Action<T>>) {
        let decoded = match loaded.content {
            Content::Present(bytes) => Resource::decode(&bytes).map_err(|error| error.to_string()),
            Content::Absent { floor } => Token::from_u64(floor)
                .map(Resource::new)
                .ok_or_else(|| format!("the floor {floor} is no token")),
        };
        let resource = match decoded {
            Ok(resource) => Box::new(resource),
            Err(reason) => {
                self.state = State::Unknown;
                return self.fail_all(Failure::Unreadable { reason }, out);
            }
        };
        for pending in &mut self.pending {
            pending.fresh |= pending.read_begun;
        }
        if let Some(truth) = self.truth_over(&resource, rules) {
            return self.place(loaded.version, truth, rules, out);
        }
        self.lose_mastery(loaded.version);
        // Of a resource that is mastered elsewhere, the record says how it stood before its master's sessions went on.
        if let Some(base) = self.base.take() {
            if resource.last_token() < base.last_token() {
                out.push(Action::WentBack);
            }
            self.tell_differences(&base, &resource, out);
        }
        self.tell_untold(&resource, out);
        self.place(loaded.version, resource, rules, out);
    }

    fn settle(&mut self, version: u64, resource: Box<Resource>, out: &mut Vec<Action<T>>) {
        self.doubted = self.doubted.filter(|doubted| *doubted == version);
        if self.doubted.is_none() {
            self.ended.clear();
        }
        let wanted = resource.queued_modes();
        if wanted != self.wanted {
            self.wanted = wanted;
            out.push(Action::Contention);
        }
        self.state = State::Settled { version, resource };
    }

    fn tell_differences(&self, before: &Resource, now: &Resource, out: &mut Vec<Action<T>>) {
        use crate::resource::LockState;
        // A lock that one of our own commands is about to end is answered by that command; one that a command has ended
        // which had no answer, by the command that is sent in its place.
        let ours =
            |key: LockKey| self.pending.iter().any(|pending| pending.ends(key)) || self.ended.contains(&key);
        for entry in before.queue() {
            match now.lock(entry.key) {
                Some(LockState::Granted(grant)) => out.push(Action::Promoted(grant)),
                Some(LockState::Waiting { .. } | LockState::Converting { .. }) => {}
                None if entry.held.is_some() || ours(entry.key) => {} // a holder is told as such, below
                None => out.push(Action::Vanished(entry.key)),
            }
        }
        for holder in before.holders() {
            let keys = std::iter::once(holder.key).chain(holder.aliases());
            let gone = keys.filter(|key| !ours(*key) && now.lock(*key).is_none());
            out.extend(gone.map(Action::Vanished));
        }
    }

    /// A lock may be told twice here, if the record's former state is known as well; sessions take that as once.
    fn tell_untold(&mut self, now: &Resource, out: &mut Vec<Action<T>>) {
        use crate::resource::LockState;
        for key in std::mem::take(&mut self.untold) {
            if let Some(LockState::Granted(grant)) = now.lock(key) {
                out.push(Action::Promoted(grant));
            }
        }
    }

    /// Puts a flight's commands back, ahead of those that came since. If its outcome was unknown once, they may have had
    /// their effect, whatever its last sending met.
    fn take_back(&mut self, flight: Flight<T>) {
        let later = std::mem::take(&mut self.pending);
        self.pending = flight.into_pending();
        self.pending.extend(later);
    }

    /// Nothing is known any more of the record, and the flight's commands can't be carried out.
    fn give_up(&mut self, flight: Flight<T>, reason: String, out: &mut Vec<Action<T>>) {
        self.state = State::Unknown;
        self.doubt(&flight);
        self.untold.extend(flight.promoted());
        if flight.may_arrive {
            self.ended.extend(flight.ended());
        }
        for pending in flight.into_pending() {
            out.push(Action::Fail {
                ticket: pending.ticket,
                failure: Failure::Unavailable { reason: reason.clone() },
            });
        }
    }

    /// A flight ends here of which a commit may still arrive.
    fn doubt(&mut self, flight: &Flight<T>) {
        if flight.may_arrive {
            self.doubted = Some(flight.expected);
        }
    }

    fn fail_all(&mut self, failure: Failure, out: &mut Vec<Action<T>>) {
        for pending in std::mem::take(&mut self.pending) {
            out.push(Action::Fail { ticket: pending.ticket, failure: failure.clone() });
        }
    }
}

/// Whether an outcome says that there was nothing to end.
fn is_not_found(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(Refusal::NotFound))
}
