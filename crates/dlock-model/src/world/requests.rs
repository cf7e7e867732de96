//! Requests on their way to the coordinator, and what it says on its way back. As `submit.rs`, `tell.rs` and `home.rs`
//! of `crates/dlock-engine/src` do it.

use super::World;
use crate::config::Rule;
use crate::message::{Answer, Ask, Message};
use crate::state::{At, Greeting, Home, Kind, Link, LocalLock, Ticket, client_of, lock_key, session_id};
use dlock_core::coordinator::{Action, Failure, SessionGuard};
use dlock_core::resource::{
    Acquire, Command, Convert, Grant, Outcome, Patience, Refusal, Resource, ValueUpdate,
};
use dlock_core::{LockId, LockKey, Mode, SessionId};

/// More than any model has clients.
const WAITERS_MAX: u32 = 100;

/// A request for a new lock.
pub(crate) fn acquire(key: LockKey, mode: Mode, patience: Patience) -> Command {
    let (reentrant, since_unix_ms, waiters_max) = (false, 0, WAITERS_MAX);
    Command::Acquire(Acquire { key, mode, patience, reentrant, since_unix_ms, waiters_max })
}

/// A command for a server's coordinator.
pub(super) type Submission = (Ticket, Command, Option<SessionGuard>);

impl World<'_> {
    pub(super) fn deliver(&mut self, message: Message) {
        match message {
            Message::Request { client, server, link, sequence, lock, resource, ask } => {
                if let Some(home) = self.live_home(server, client, link) {
                    let fresh = home.sequence.admit(sequence).is_ok();
                    if fresh || !self.config.keeps(Rule::SequenceGrows) {
                        self.take_request(At { server, resource }, client, sequence, lock, ask);
                    }
                }
            }
            Message::Heartbeat { client, server, link, epoch, nonce } => {
                let now = self.server_now();
                let Some(home) = self.live_home(server, client, link) else { return };
                if home.epoch != epoch {
                    return;
                }
                home.lease.received(now);
                if self.state.may_act(self.config, server) {
                    self.answer(client, link, Answer::Heartbeat { epoch, nonce });
                }
            }
            Message::Attach { client, server, link, last_sequence, claims } => {
                self.attach(server, Greeting { client, link, last_sequence, claims });
            }
        }
    }

    /// The attachment of this link, if it is served.
    fn live_home(&mut self, server: usize, client: usize, link: Link) -> Option<&mut Home> {
        let known = self.state.servers[server].homes.get(&client)?;
        if known.link != link || known.expiring {
            return None;
        }
        self.server(server).homes.get_mut(&client)
    }

    fn take_request(&mut self, at: At, client: usize, request: u64, lock: LockId, ask: Ask) {
        let current = self.state.store.sessions[client].version;
        let names_lock = self.config.keeps(Rule::ReleaseNamesLock);
        let verified_late = self.config.keeps(Rule::VerifyAfterRead);
        let Some(home) = self.server(at.server).homes.get_mut(&client) else { return };
        if let Some(known) = home.locks.get_mut(&lock) {
            known.newest = Some(request);
        }
        if !verified_late && home.version != current {
            return;
        }
        let key = lock_key(client, lock);
        let (kind, command) = match ask {
            Ask::Acquire { mode, at_once } => {
                let resource = at.resource;
                let fresh = LocalLock { resource, granted: false, waiting: None, newest: None };
                home.locks.entry(lock).or_insert(fresh).newest = Some(request);
                let patience = if at_once { Patience::Try } else { Patience::Wait };
                (Kind::Ask, acquire(key, Ask::mode(mode), patience))
            }
            Ask::Convert { mode } => {
                let (mode, patience, value) = (Ask::mode(mode), Patience::Wait, ValueUpdate::Keep);
                (Kind::Convert, Command::Convert(Convert { key, mode, patience, value }))
            }
            Ask::Release if names_lock => (Kind::Release, Command::Release { key, value: ValueUpdate::Keep }),
            Ask::Release => (Kind::Release, Command::Purge { sessions: vec![session_id(client)] }),
        };
        let tries = matches!(ask, Ask::Acquire { at_once: true, .. });
        let unverified = tries.then(|| Box::new(command.clone()));
        let guard = home.guard(client);
        let ticket = Ticket::Request { client, link: home.link, request, lock, kind, unverified };
        self.submit(at, (ticket, command, Some(guard)));
    }

    pub(super) fn submit(&mut self, at: At, (ticket, command, guard): Submission) {
        let rules = self.rules(at.server);
        let mut actions = Vec::new();
        // A guard that a master would answer from memory without.
        let settled = self.slot(at).coordinator.settled();
        let masters = settled.and_then(Resource::master).is_some_and(|master| !master.is_asked());
        let verified = self.config.keeps(Rule::VerifiedByMaster) || !masters;
        let guard = guard.filter(|_| verified);
        self.slot(at).coordinator.submit(ticket, command, guard, &rules, &mut actions);
        self.carry_out(at, actions);
    }

    /// Tells what a coordinator has to say; returns what is to be submitted to it after that.
    pub(super) fn tell(&mut self, at: At, action: Action<Ticket>) -> Vec<Submission> {
        match action {
            Action::Answer { ticket, outcome } => self.answer_request(at, ticket, outcome),
            Action::Fail { ticket, failure } => self.fail(at.server, ticket, &failure),
            Action::Promoted(grant) => {
                self.witness_grant(at, &grant);
                self.promoted(at.server, &grant)
            }
            Action::Vanished(key) => self.vanished(at.server, key),
            Action::WentBack => {
                self.state.store.resources[at.resource].witness.token_fell = true;
                Vec::new()
            }
            Action::Load | Action::Commit(_) | Action::Contention => Vec::new(),
        }
    }

    fn answer_request(&mut self, at: At, ticket: Ticket, outcome: Outcome) -> Vec<Submission> {
        let server = at.server;
        let (client, link, request, lock, kind, unverified) = match ticket {
            Ticket::Request { client, link, request, lock, kind, unverified } => {
                (client, link, request, lock, kind, unverified)
            }
            Ticket::Claim { client, version, claim } => {
                self.claim_answered(server, client, version, claim.lock, &outcome);
                return Vec::new();
            }
            Ticket::Purge => return Vec::new(),
        };
        let answer = match outcome {
            Outcome::Granted(grant) => {
                self.witness_grant(at, &grant);
                if let Some(home) = self.home(server, client, link) {
                    home.locks.entry(lock).and_modify(|known| (known.granted, known.waiting) = (true, None));
                }
                Answer::Granted { request, mode: grant.mode, token: grant.token }
            }
            Outcome::Queued(place) => {
                if let Some(home) = self.home(server, client, link) {
                    home.locks.entry(lock).and_modify(|known| {
                        (known.granted, known.waiting) = (place.held.is_some(), Some(request));
                    });
                }
                return if place.ahead == 0 { self.purge_ended(at) } else { Vec::new() };
            }
            Outcome::Refused(Refusal::WouldBlock) if unverified.is_some() => {
                let ticket = Ticket::Request { client, link, request, lock, kind, unverified: None };
                self.slot(at).tries.extend(unverified.map(|command| (ticket, *command)));
                return Vec::new();
            }
            Outcome::Released | Outcome::Cancelled | Outcome::Purged => {
                if let Some(home) = self.home(server, client, link) {
                    home.locks.remove(&lock);
                }
                Answer::Released { request }
            }
            Outcome::Refused(refusal) => {
                let nothing_there = kind == Kind::Ask || refusal == Refusal::NotFound;
                if nothing_there && let Some(home) = self.home(server, client, link) {
                    let unused = |known: &LocalLock| !known.granted && known.waiting.is_none();
                    if home.locks.get(&lock).is_some_and(unused) {
                        home.locks.remove(&lock);
                    }
                }
                Answer::Refused { request }
            }
        };
        self.answer_home(server, client, link, answer);
        Vec::new()
    }

    fn fail(&mut self, server: usize, ticket: Ticket, failure: &Failure) -> Vec<Submission> {
        let (client, link, request) = match ticket {
            Ticket::Request { client, link, request, .. } => (client, link, request),
            Ticket::Claim { client, version, claim } => {
                self.claim_failed(server, client, version, claim, failure);
                return Vec::new();
            }
            Ticket::Purge => return Vec::new(),
        };
        // The lock stays noted: the record may have it.
        self.answer_home(server, client, link, Answer::Unavailable { request });
        if *failure == Failure::SessionRefused {
            self.session_seen(server, client);
        }
        Vec::new()
    }

    /// A request that had waited is granted. Told once.
    fn promoted(&mut self, server: usize, grant: &Grant) -> Vec<Submission> {
        let (client, lock) = (client_of(grant.key.session), grant.key.lock);
        if let Some(home) = self.server(server).homes.get_mut(&client) {
            let link = home.link;
            let Some(known) = home.locks.get_mut(&lock) else { return Vec::new() };
            known.granted = true;
            if let Some(request) = known.waiting.take() {
                let answer = Answer::Granted { request, mode: grant.mode, token: grant.token };
                self.answer(client, link, answer);
            }
        }
        Vec::new()
    }

    fn vanished(&mut self, server: usize, key: LockKey) -> Vec<Submission> {
        let client = client_of(key.session);
        if self.config.masters && self.state.servers[server].homes.contains_key(&client) {
            // Its session may have moved: then that is all that is to be told (`Shared::tell_vanished`).
            self.session_seen(server, client);
        }
        if let Some(home) = self.server(server).homes.get_mut(&client) {
            let link = home.link;
            if home.locks.remove(&key.lock).is_some() {
                self.answer(client, link, Answer::Revoked { lock: key.lock });
            }
        }
        Vec::new()
    }

    /// The attachment that a request came from, unless another has taken over.
    fn home(&mut self, server: usize, client: usize, link: Link) -> Option<&mut Home> {
        self.server(server).homes.get_mut(&client).filter(|home| home.link == link)
    }

    fn answer_home(&mut self, server: usize, client: usize, link: Link, answer: Answer) {
        if self.home(server, client, link).is_some() {
            self.answer(client, link, answer);
        }
    }

    /// Sends a refused try once more, after a look at those who stood in its way: unless something was asked of its
    /// lock since (`Shared::step`).
    pub(super) fn try_again(&mut self, at: At) {
        let server = at.server;
        let Some((ticket, command)) = self.slot(at).tries.pop_front() else { return };
        for purge in self.purge_ended(at) {
            self.submit(at, purge);
        }
        let Ticket::Request { client, link, request, lock, .. } = ticket else { return };
        let keeps_place = self.config.keeps(Rule::TryKeepsItsPlace);
        let Some(home) = self.home(server, client, link) else { return };
        let guard = home.guard(client);
        let is_newest = home.locks.get(&lock).is_some_and(|known| known.newest == Some(request));
        if is_newest || !keeps_place {
            self.submit(at, (ticket, command, Some(guard)));
        } else {
            self.answer_home(server, client, link, Answer::Refused { request });
        }
    }

    /// Looks whether sessions that stand in the way, and are not at home here, have ended unnoticed; returns their
    /// purge.
    pub(super) fn purge_ended(&self, at: At) -> Vec<Submission> {
        let slot = &self.state.servers[at.server].slots[at.resource];
        let latest = slot.coordinator.latest();
        let ended = latest.map(|latest| self.ended(at.server, latest)).unwrap_or_default();
        let purge = (!ended.is_empty()).then(|| (Ticket::Purge, Command::Purge { sessions: ended }, None));
        purge.into_iter().collect()
    }

    /// The ended among the sessions on the resource that are not at home here.
    pub(super) fn ended(&self, server: usize, resource: &Resource) -> Vec<SessionId> {
        let machine = &self.state.servers[server];
        let foreign = |session: &SessionId| !machine.homes.contains_key(&client_of(*session));
        let is_active =
            |session: &SessionId| self.state.store.sessions[client_of(*session)].value.is_active();
        let mut ended: Vec<SessionId> =
            resource.sessions().filter(|session| foreign(session) && !is_active(session)).collect();
        ended.sort_unstable();
        ended.dedup();
        ended
    }
}
