//! Sessions: attached, expired, and heard of. As `crates/dlock-engine/src/sessions.rs` does it.

use super::World;
use crate::config::Rule;
use crate::message::Answer;
use crate::state::{
    At, Foreign, Home, Link, LocalLock, SessionWrite, Slot, State, Ticket, Versioned, member_id, session_id,
};
use dlock_core::LockId;
use dlock_core::lease::HomeLease;
use dlock_core::resource::Command;
use dlock_core::session::{AttachError, EndReason, Sequence};
use std::collections::BTreeMap;

impl State {
    /// Whether a server would learn of a session's record what it did not know.
    pub(crate) fn session_is_news(&self, server: usize, client: usize) -> bool {
        let Versioned { version, value: record } = &self.store.sessions[client];
        let machine = &self.servers[server];
        let elsewhere = !record.is_active() || record.owner != member_id(server);
        match (machine.homes.get(&client), machine.directory.get(&client)) {
            (Some(home), _) => *version > home.version && elsewhere,
            (None, Some(foreign)) => *version > foreign.version && elsewhere,
            (None, None) => false,
        }
    }
}

impl World<'_> {
    /// The record is read, and replaced by a compare-and-swap that is tried again on what it finds: that is one change
    /// at the moment of the last of them. What lies before it is the message's time under way; so is the check whether
    /// the server may act, which may be true no more when its write arrives.
    pub(super) fn attach(&mut self, server: usize, client: usize, link: Link, last_sequence: u64) {
        if self.state.servers[server].gone {
            return;
        }
        let attempt = if self.config.keeps(Rule::AttemptsNumbered) { link } else { 0 };
        match self.state.store.sessions[client].value.attach(member_id(server), attempt) {
            Ok(attached) => {
                let session = &mut self.state.store.sessions[client];
                let (version, epoch) = (session.version + 1, attached.epoch);
                *session = Versioned { version, value: attached };
                let sent = self.server_now();
                let write = SessionWrite::Attached { client, link, version, epoch, last_sequence, sent };
                self.server(server).writes.insert(write);
            }
            Err(AttachError::Ended(_)) => self.answer(client, link, Answer::Ended),
            // Its client listens to a later one's link.
            Err(AttachError::Superseded { .. }) => {}
        }
    }

    pub(super) fn session_written(&mut self, server: usize, index: usize) {
        let Some(write) = self.state.servers[server].writes.iter().nth(index).cloned() else { return };
        self.server(server).writes.remove(&write);
        match write {
            SessionWrite::Attached { client, link, version, epoch, last_sequence, sent } => {
                let (terms, now) = (self.config.clients[client].terms, self.server_now());
                if self.config.keeps(Rule::AttachmentInTime) && !HomeLease::may_begin(terms, sent, now) {
                    return self.attach(server, client, link, last_sequence);
                }
                let home = Home {
                    link,
                    version,
                    epoch,
                    lease: HomeLease::new(terms, now),
                    expiring: false,
                    sequence: Sequence::starting_after(last_sequence),
                    locks: BTreeMap::new(),
                };
                self.settle_in(server, client, home);
            }
            SessionWrite::Expire { client, version } | SessionWrite::EndOrphan { client, version } => {
                if self.end(client, version) {
                    self.session_ended(server, client);
                } else {
                    self.session_seen(server, client);
                }
            }
        }
    }

    /// Makes the server the session's home in memory, after the store has said so.
    fn settle_in(&mut self, server: usize, client: usize, mut home: Home) {
        let machine = self.server(server);
        machine.directory.remove(&client);
        if let Some(known) = machine.homes.get(&client) {
            if known.version >= home.version {
                return; // a later attachment was quicker to come here
            }
            let handed_over =
                |(lock, known): (&LockId, &LocalLock)| (*lock, LocalLock { waiting: None, ..*known });
            home.locks = known.locks.iter().map(handed_over).collect();
        }
        let (link, epoch) = (home.link, home.epoch);
        machine.homes.insert(client, home);
        self.answer(client, link, Answer::Attached { epoch });
    }

    pub(super) fn expire(&mut self, server: usize, client: usize) {
        let Some(home) = self.server(server).homes.get_mut(&client) else { return };
        home.expiring = true;
        let version = home.version;
        self.server(server).writes.insert(SessionWrite::Expire { client, version });
    }

    /// Ends a session, if its record still has this version.
    fn end(&mut self, client: usize, version: u64) -> bool {
        let bound = self.config.keeps(Rule::ExpiryBoundToEpoch);
        let found = &self.state.store.sessions[client];
        if bound && found.version != version {
            return false;
        }
        let Ok(ended) = found.value.end(EndReason::Expired) else { return false };
        let version = found.version + 1;
        self.state.store.sessions[client] = Versioned { version, value: ended };
        true
    }

    /// A session's record says that it has ended: so do its home, and its locks.
    pub(super) fn session_ended(&mut self, server: usize, client: usize) {
        if self.state.servers[server].gone {
            return;
        }
        let session = session_id(client);
        let machine = self.server(server);
        machine.directory.remove(&client);
        let home = machine.homes.remove(&client);
        let to_purge = |(resource, slot): (usize, &Slot)| {
            let waits = slot.coordinator.latest().is_some_and(|latest| {
                !latest.queued_modes().is_empty() && latest.sessions().any(|known| known == session)
            });
            let mut locks = home.iter().flat_map(|home| home.locks.values());
            (waits || locks.any(|lock| lock.resource == resource)).then_some(At { server, resource })
        };
        let purges: Vec<At> = machine.slots.iter().enumerate().filter_map(to_purge).collect();
        if let Some(home) = home {
            self.answer(client, home.link, Answer::Ended);
        }
        for at in purges {
            self.submit(at, (Ticket::Purge, Command::Purge { sessions: vec![session] }, None));
        }
    }

    /// Acts on what a session's record says now.
    pub(super) fn session_seen(&mut self, server: usize, client: usize) {
        if self.state.servers[server].gone {
            return;
        }
        let Versioned { version, value: record } = self.state.store.sessions[client].clone();
        let known = self.state.servers[server].homes.get(&client).map(|home| home.version);
        let newer = known.is_none_or(|known| version > known);
        if !record.is_active() {
            if newer {
                self.session_ended(server, client);
            }
        } else if record.owner != member_id(server) && newer {
            self.detach(server, client, version, record.owner);
        }
    }

    /// Serves an attachment no longer, if there is one: its session goes on elsewhere.
    pub(super) fn detach(&mut self, server: usize, client: usize, version: u64, owner: dlock_core::MemberId) {
        let seen = self.server_now();
        let machine = self.server(server);
        machine.homes.remove(&client);
        if machine.directory.get(&client).is_none_or(|known| known.version < version) {
            machine.directory.insert(client, Foreign { version, owner, seen });
        }
    }
}
