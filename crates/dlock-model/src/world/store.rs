//! The store, and the servers' calls of it for a resource. As `crates/dlock-engine/src/io.rs` does it, over the
//! contract of `crates/dlock-store/src/lib.rs`.

use super::World;
use crate::config::{News, Rule};
use crate::state::{At, Call, Ticket, client_of, member_id};
use dlock_core::Token;
use dlock_core::coordinator::{Action, Change, Commit, CommitResult, Content, Loaded};
use dlock_core::resource::{Command, Grant, Resource};

impl World<'_> {
    /// Does what a coordinator wants done.
    pub(super) fn carry_out(&mut self, at: At, actions: Vec<Action<Ticket>>) {
        let (mut commit, mut submissions) = (None, Vec::new());
        for action in actions {
            match action {
                Action::Load => self.slot(at).call = Some(Call::Read),
                Action::Commit(wanted) => commit = Some(wanted),
                told => submissions.extend(self.tell(at, told)),
            }
        }
        if let Some(commit) = commit {
            self.send_commit(at, commit);
        }
        for submission in submissions {
            self.submit(at, submission);
        }
    }

    fn send_commit(&mut self, at: At, commit: Commit) {
        if !self.state.may_act(self.config, at.server) {
            let reason = String::new();
            return self.committed(at, CommitResult::NotApplied { reason });
        }
        let verifies = !self.config.guards
            && self.config.keeps(Rule::VerifyAfterRead)
            && self.config.keeps(Rule::CommitBoundToSessions)
            && !commit.guards.is_empty();
        self.slot(at).call = Some(if verifies { Call::Verify(commit) } else { Call::Write(commit) });
    }

    fn committed(&mut self, at: At, result: CommitResult) {
        let rules = self.rules(at.server);
        let mut actions = Vec::new();
        self.slot(at).coordinator.committed(result, &rules, &mut actions);
        self.carry_out(at, actions);
    }

    fn loaded(&mut self, at: At, result: Result<Loaded, String>) {
        let rules = self.rules(at.server);
        let mut actions = Vec::new();
        self.slot(at).coordinator.loaded(result, &rules, &mut actions);
        self.carry_out(at, actions);
    }

    pub(super) fn store_serves(&mut self, at: At) {
        match self.slot(at).call.take() {
            Some(Call::Read) => {
                let record = self.state.store.resources[at.resource].record.clone();
                if self.config.slow_reads {
                    self.slot(at).call = Some(Call::ReadDone(record));
                } else {
                    self.loaded(at, Ok(record));
                }
            }
            Some(Call::Verify(commit)) => {
                let refused = self.changed_guard(&commit).copied();
                match refused {
                    Some(guard) => self.committed(at, CommitResult::SessionRefused(guard)),
                    None => self.slot(at).call = Some(Call::Write(commit)),
                }
            }
            Some(Call::Write(commit)) => {
                let result = self.apply(at, &commit, true);
                if self.config.slow_commits {
                    self.slot(at).call = Some(Call::WriteDone(result));
                } else {
                    self.committed(at, result);
                }
            }
            done => self.slot(at).call = done,
        }
    }

    pub(super) fn store_answers(&mut self, at: At) {
        match self.slot(at).call.take() {
            Some(Call::ReadDone(record)) => self.loaded(at, Ok(record)),
            Some(Call::WriteDone(result)) => self.committed(at, result),
            waiting => self.slot(at).call = waiting,
        }
    }

    /// The server's patience has come to its end.
    pub(super) fn store_silent(&mut self, at: At) {
        self.state.left.silences -= 1;
        let reason = String::new();
        let unknown = if self.config.keeps(Rule::AmbiguityIsNotFailure) {
            CommitResult::Ambiguous { reason: reason.clone() }
        } else {
            CommitResult::NotApplied { reason: reason.clone() }
        };
        match self.slot(at).call.take() {
            Some(Call::Read | Call::ReadDone(_)) => self.loaded(at, Err(reason)),
            Some(Call::Verify(_)) => self.committed(at, CommitResult::NotApplied { reason }),
            Some(Call::Write(commit)) => {
                let slot = self.slot(at);
                slot.silences += 1;
                let number = slot.silences;
                self.state.store.late.insert((at, number), commit);
                self.committed(at, unknown);
            }
            Some(Call::WriteDone(_)) => self.committed(at, unknown),
            None => {}
        }
    }

    pub(super) fn late_commit(&mut self, at: At, number: u8) {
        if let Some(commit) = self.state.store.late.remove(&(at, number)) {
            self.apply(at, &commit, false);
        }
    }

    /// The first session that does not have the version that a commit is bound to.
    fn changed_guard<'a>(&self, commit: &'a Commit) -> Option<&'a dlock_core::coordinator::SessionGuard> {
        let sessions = &self.state.store.sessions;
        commit.guards.iter().find(|guard| sessions[client_of(guard.session)].version != guard.version)
    }

    /// The compare-and-swap itself. Everybody has news of it but its sender, if that is `waiting` for the result.
    fn apply(&mut self, at: At, commit: &Commit, waiting: bool) -> CommitResult {
        let resource = at.resource;
        if self.config.guards
            && self.config.keeps(Rule::CommitBoundToSessions)
            && let Some(guard) = self.changed_guard(commit)
        {
            return CommitResult::SessionRefused(*guard);
        }
        let found = &self.state.store.resources[resource].record;
        if found.version != commit.expected {
            let tells = self.config.news == News::Record;
            return CommitResult::Conflict { current: tells.then(|| found.clone()) };
        }
        let content = match &commit.change {
            Change::Put(pieces) => Content::Present(pieces.concat().into()),
            Change::Delete { floor } => {
                let floor = if self.config.keeps(Rule::FloorOutlivesRecord) { *floor } else { 0 };
                Content::Absent { floor }
            }
        };
        let (before, version) = (decode(&found.content), found.version + 1);
        self.witness(at, &before, &decode(&content));
        let store = &mut *self.state.store;
        store.resources[resource].record = Loaded { version, content };
        // What expects an older version can't be applied any more.
        store.late.retain(|(at, _), commit| at.resource != resource || commit.expected >= version);
        self.announce(resource, waiting.then_some(at.server));
        CommitResult::Committed { version }
    }

    fn announce(&mut self, resource: usize, sender: Option<usize>) {
        if self.config.news == News::Never {
            return;
        }
        for server in 0..self.state.servers.len() {
            let (machine, at) = (&self.state.servers[server], At { server, resource });
            let slot = &machine.slots[resource];
            let interested = slot.coordinator.latest().is_some()
                || slot.call.is_some()
                || (self.config.masters && !slot.coordinator.is_forgettable());
            if interested && !machine.gone && !slot.has_news && sender != Some(server) {
                self.slot(at).has_news = true;
            }
        }
    }

    /// Notes what must not happen to a record.
    fn witness(&mut self, at: At, before: &Resource, after: &Resource) {
        let resource = at.resource;
        // What no client was told of may be gone with the master.
        let recovers = after.master().is_none()
            && before.master().is_some_and(|master| master.member != member_id(at.server));
        let claimed = before.recovered().filter(|_| recovers);
        let before = claimed.as_ref().unwrap_or(before);
        let unasked = {
            let (sessions, clients) = (&self.state.store.sessions, &self.state.clients);
            let holders = before.holders().map(|holder| holder.key);
            let mut keys = holders.chain(before.queue().map(|entry| entry.key));
            keys.any(|key| {
                let client = client_of(key.session);
                let lives = sessions[client].value.is_active();
                lives && after.lock(key).is_none() && !clients[client].given_up.contains(&key.lock)
            })
        };
        let mut witness = self.state.store.resources[resource].witness.clone();
        witness.taken_unasked |= unasked;
        for holder in after.holders() {
            let known = |other: dlock_core::resource::Holder<'_>| {
                other.key == holder.key && other.token == holder.token
            };
            let new = if self.config.masters {
                witness.granted.insert((holder.key, holder.token))
            } else {
                !before.holders().any(known)
            };
            if new {
                let conflicts = holder.mode.conflicts();
                let earlier = conflicts.iter().map(|mode| witness.tokens[mode as usize]).max();
                witness.token_fell |= earlier.is_some_and(|earlier| holder.token <= earlier);
            }
        }
        for holder in after.holders() {
            let newest = &mut witness.tokens[holder.mode as usize];
            *newest = holder.token.max(*newest);
        }
        if self.state.store.resources[resource].witness != witness {
            self.state.store.resources[resource].witness = witness;
        }
    }

    /// Notes a grant that stands in no record, if this is one that its master gave from memory.
    pub(super) fn witness_grant(&mut self, at: At, grant: &Grant) {
        if !self.config.masters || !self.slot(at).coordinator.is_master() {
            return;
        }
        let record = self.state.store.resources[at.resource].decoded();
        let is_its_own = record.master().is_some_and(|master| master.member == member_id(at.server));
        if is_its_own && grant.token <= record.last_token() {
            return; // it was committed
        }
        let mut witness = self.state.store.resources[at.resource].witness.clone();
        if !witness.granted.insert((grant.key, grant.token)) {
            return;
        }
        let earlier = grant.mode.conflicts().iter().map(|mode| witness.tokens[mode as usize]).max();
        witness.token_fell |= earlier.is_some_and(|earlier| grant.token <= earlier);
        let newest = &mut witness.tokens[grant.mode as usize];
        *newest = grant.token.max(*newest);
        self.state.store.resources[at.resource].witness = witness;
    }

    pub(super) fn hear_news(&mut self, at: At) {
        let news = (self.config.news == News::Record)
            .then(|| self.state.store.resources[at.resource].record.clone());
        let rules = self.rules(at.server);
        let mut actions = Vec::new();
        let slot = self.slot(at);
        slot.has_news = false;
        slot.coordinator.changed(news, &rules, &mut actions);
        self.carry_out(at, actions);
    }

    /// As `sweeper.rs` looks at those who wait.
    pub(super) fn recheck(&mut self, at: At) {
        let settled = self.state.servers[at.server].slots[at.resource].coordinator.settled();
        let ended = settled.map(|settled| self.ended(at.server, settled)).unwrap_or_default();
        let rules = self.rules(at.server);
        let mut actions = Vec::new();
        let slot = self.slot(at);
        slot.rechecked = true;
        slot.coordinator.recheck(&rules, &mut actions);
        self.carry_out(at, actions);
        if !ended.is_empty() {
            self.submit(at, (Ticket::Purge, Command::Purge { sessions: ended }, None));
        }
    }

    pub(super) fn collect(&mut self, at: At) {
        self.state.left.collections -= 1;
        let mut actions = Vec::new();
        self.slot(at).coordinator.collect(&mut actions);
        self.carry_out(at, actions);
    }
}

/// A record of the model's store.
///
/// # Panics
/// When it can't be read: it was written by the core.
pub(crate) fn decode(content: &Content) -> Resource {
    match content {
        Content::Present(bytes) => Resource::decode(bytes).expect("the core reads what it wrote"),
        Content::Absent { floor } => {
            Resource::new(Token::from_u64(*floor).expect("a floor is a token that was granted"))
        }
    }
}

impl crate::state::Resource {
    /// The resource's record.
    pub(crate) fn decoded(&self) -> Resource {
        decode(&self.record.content)
    }
}
