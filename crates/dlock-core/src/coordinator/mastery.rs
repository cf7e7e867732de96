//! Mastering a resource: what a server remembers of it that no record tells, and when it may begin to.
//!
//! A server that has written a record several times in a row, with nobody else's session in it, writes into it that it
//! masters the resource ([`crate::resource::Master`]). From then on it answers from memory, while
//!
//! - its own lease holds, and has held since that write: those who take it for dead may otherwise have given the resource to
//!   others, and only a compare-and-swap tells;
//! - the command's session was found at home here since that write, by a commit that was guarded by its record: what a
//!   session's former home still has in hand is refused that way;
//! - the tokens last that the record allows;
//! - no value block is written, and nobody has recalled the resource.
//!
//! Everything else is a commit as ever, which may at the same time go on mastering or give the resource back. What is in
//! memory is the truth: a commit that fails leaves it as it was before.

use super::flight::Pending;
use super::{GUARDS_MAX, Rules, SessionGuard};
use crate::resource::{Command, Master, Resource, ValueUpdate};
use crate::{SessionId, Token};
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// How many tokens a master may give before it writes again.
const TOKENS: u64 = 1 << 20;
/// After it was given back, it takes twice as many commits, up to this many doublings.
const SETBACKS_MAX: u32 = 10;
/// So many answers from memory pay for a recall: a resource that gave as many is taken again as soon as at first.
const ANSWERS_WORTH_IT: u64 = 256;
/// If more sessions than this are remembered, those that have nothing on the resource are forgotten.
const VERIFIED_MAX: usize = 256;

/// What a server remembers of a resource that it masters, or may.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mastery {
    /// The lease period in which the record was last written that makes this server the master, if it is.
    since: Option<u64>,
    /// How the resource stands, while something is under way or the record's version is not known. Only of a master.
    truth: Option<Box<Resource>>,
    /// Sessions that were at home here when a commit was guarded by them, with the version of their record: for a master,
    /// since it is.
    verified: Verified,
    /// The version of this server's last commit.
    written: u64,
    /// Commits in a row between which nobody else wrote.
    alone: u32,
    /// How often it was given back for little since it paid last.
    setbacks: u32,
    /// Commands that were answered from memory since this server is the master.
    answered: u64,
    /// The resource is to be given back though nobody asks for it.
    yielding: bool,
}

impl Mastery {
    pub(super) fn new() -> Mastery {
        Mastery {
            since: None,
            truth: None,
            verified: Verified::default(),
            written: 0,
            alone: 0,
            setbacks: 0,
            answered: 0,
            yielding: false,
        }
    }

    pub(super) fn is_master(&self) -> bool {
        self.since.is_some()
    }

    pub(super) fn is_yielding(&self) -> bool {
        self.yielding && self.is_master()
    }

    pub(super) fn give_back(&mut self) {
        self.yielding = true;
    }

    /// Keeps what a master knows, while it is not settled.
    pub(super) fn keep(&mut self, resource: Box<Resource>) {
        self.truth = Some(resource);
    }

    pub(super) fn truth(&self) -> Option<&Resource> {
        self.truth.as_deref()
    }

    pub(super) fn take_truth(&mut self) -> Option<Box<Resource>> {
        self.truth.take()
    }

    /// Whether a master may answer these commands from memory.
    pub(super) fn answers<T>(&self, resource: &Resource, commands: &[Pending<T>], rules: &Rules) -> bool {
        let Some(master) = resource.master().filter(|master| !master.is_asked()) else { return false };
        let tokens_left = master.limit().get().saturating_sub(resource.last_token().get());
        let served = |pending: &Pending<T>| {
            !writes_value(&pending.command) && pending.guard.is_none_or(|guard| self.knows(guard))
        };
        self.since.is_some()
            && self.since == rules.period
            && !self.yielding
            && rules.generation <= resource.last_token().generation()
            && commands.len() as u64 <= tokens_left
            && commands.iter().all(served)
    }

    pub(super) fn has_answered(&mut self, commands: usize) {
        self.answered += commands as u64;
    }

    fn knows(&self, guard: SessionGuard) -> bool {
        guard.claims_all && self.verified.version(guard.session) == Some(guard.version)
    }

    /// The mark that the record gets with a commit of these commands; and, where it is the first one, the sessions that have
    /// anything on the resource, by which the commit must be guarded too. `None` if this server can't be the master, or is
    /// to be it no longer.
    pub(super) fn mark<'a, T: 'a>(
        &self,
        rules: &Rules,
        expected: u64,
        resource: &Resource,
        commands: impl Iterator<Item = &'a Pending<T>> + Clone,
    ) -> Option<(Master, SmallVec<[SessionGuard; 2]>)> {
        let in_store = |pending: &Pending<T>| {
            writes_value(&pending.command) || pending.guard.is_some_and(|guard| !guard.claims_all)
        };
        if self.yielding || !resource.value().block.is_empty() || commands.clone().any(in_store) {
            return None;
        }
        let limit = Token::from_u64(resource.last_token().get().saturating_add(TOKENS))?;
        let mark = Master::new(rules.member, expected, limit);
        if self.is_master() {
            return Some((mark, SmallVec::new()));
        }
        let needed = u64::from(rules.master_after) << self.setbacks;
        if u64::from(self.alone) + 1 < needed {
            return None;
        }
        let own: SmallVec<[SessionId; 8]> =
            commands.filter_map(|pending| pending.guard.map(|guard| guard.session)).collect();
        let mut others = SmallVec::new();
        for session in resource.sessions() {
            if !own.contains(&session) {
                let version = self.verified.version(session)?;
                let guard = SessionGuard { session, version, moved: false, claims_all: true };
                if !others.contains(&guard) {
                    others.push(guard);
                }
            }
            if others.len() + own.len() > GUARDS_MAX {
                return None;
            }
        }
        Some((mark, others))
    }

    /// A commit of this server succeeded.
    pub(super) fn committed(
        &mut self,
        version: u64,
        resource: &Resource,
        guards: &[SessionGuard],
        period: Option<u64>,
    ) {
        self.truth = None;
        self.written = version;
        let was_master = self.is_master();
        let is_master = resource.master().is_some();
        self.alone = self.alone.saturating_add(1);
        if is_master && !was_master {
            self.verified.0.clear();
            self.answered = 0;
        }
        guards.iter().filter(|guard| guard.claims_all).for_each(|guard| self.verified.add(*guard));
        // Without a period, this server may not act; and it can't have acted in any when the commit was sent.
        self.since = if is_master { Some(period.unwrap_or(u64::MAX)) } else { None };
        if was_master && !is_master {
            self.given_back();
        }
        if self.verified.0.len() > VERIFIED_MAX {
            let here: BTreeSet<SessionId> = resource.sessions().collect();
            self.verified.0.retain(|(session, _)| here.contains(session));
        }
    }

    /// A session was found to be at home elsewhere.
    pub(super) fn refused(&mut self, guard: SessionGuard) {
        self.verified.remove(guard.session);
    }

    /// The record has this version, and does not say that this server is the master. What it knew as such is returned.
    pub(super) fn lost(&mut self, version: u64) -> Option<Box<Resource>> {
        if version == self.written {
            return None;
        }
        if self.is_master() {
            self.given_back();
        }
        self.since = None;
        self.alone = 0;
        self.verified.0.clear();
        self.truth.take()
    }

    fn given_back(&mut self) {
        self.alone = 0;
        self.setbacks =
            if self.answered >= ANSWERS_WORTH_IT { 0 } else { (self.setbacks + 1).min(SETBACKS_MAX) };
        self.yielding = false;
    }
}

/// Sessions with the versions of their records, in order; mostly one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Verified(SmallVec<[(SessionId, u64); 1]>);

impl Verified {
    fn place(&self, session: SessionId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&session, |(session, _)| *session)
    }

    fn version(&self, session: SessionId) -> Option<u64> {
        self.place(session).ok().map(|place| self.0[place].1)
    }

    fn add(&mut self, guard: SessionGuard) {
        match self.place(guard.session) {
            Ok(place) => self.0[place].1 = guard.version,
            Err(place) => self.0.insert(place, (guard.session, guard.version)),
        }
    }

    fn remove(&mut self, session: SessionId) {
        if let Ok(place) = self.place(session) {
            self.0.remove(place);
        }
    }
}

/// Whether the command writes the value block: what was written must be in the store when it is told.
fn writes_value(command: &Command) -> bool {
    match command {
        Command::Release { value, .. } => *value != ValueUpdate::Keep,
        Command::Convert(convert) => convert.value != ValueUpdate::Keep,
        _ => false,
    }
}
