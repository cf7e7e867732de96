//! Sessions: attached, expired, and heard of. As `crates/dlock-engine/src/sessions.rs` does it.

use super::World;
use crate::config::Rule;
use crate::message::{Answer, Claimed};
use crate::state::{
    At, Foreign, Greeting, Home, LocalLock, SessionWrite, Slot, State, Ticket, Versioned, member_id,
    session_id,
};
use dlock_core::LockId;
use dlock_core::lease::HomeLease;
use dlock_core::resource::Command;
use dlock_core::session::{AttachError, EndReason, Sequence, SessionRecord};
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
    ///
    /// Where a former home may have granted locks from memory, the note that the session is moving comes before that.
    pub(super) fn attach(&mut self, server: usize, greeting: Greeting) {
        if self.state.servers[server].gone {
            return;
        }
        let Greeting { client, link, .. } = greeting;
        match self.attached(server, &greeting) {
            Ok(attached) => match self.note_moving(server, client) {
                Some(note) => {
                    let found = self.state.store.sessions[client].version;
                    self.server(server).writes.insert(SessionWrite::Noted { greeting, found, note });
                }
                None => self.write_attachment(server, greeting, attached, None),
            },
            Err(AttachError::Ended(_)) => self.answer(client, link, Answer::Ended),
            // Its client listens to a later one's link.
            Err(AttachError::Superseded { .. }) => {}
        }
    }

    /// The session's record with this server as its home.
    fn attached(&self, server: usize, greeting: &Greeting) -> Result<SessionRecord, AttachError> {
        let attempt = if self.config.keeps(Rule::AttemptsNumbered) { greeting.link } else { 0 };
        let mut attached =
            self.state.store.sessions[greeting.client].value.attach(member_id(server), attempt)?;
        attached.mastered |= self.config.masters;
        Ok(attached)
    }

    fn write_attachment(
        &mut self,
        server: usize,
        greeting: Greeting,
        attached: SessionRecord,
        note: Option<u64>,
    ) {
        let session = &mut self.state.store.sessions[greeting.client];
        let (version, epoch) = (session.version + 1, attached.epoch);
        *session = Versioned { version, value: attached };
        let sent = self.server_now();
        self.server(server).writes.insert(SessionWrite::Attached { greeting, version, epoch, sent, note });
    }

    pub(super) fn session_written(&mut self, server: usize, index: usize) {
        let Some(write) = self.state.servers[server].writes.iter().nth(index).cloned() else { return };
        self.server(server).writes.remove(&write);
        match write {
            SessionWrite::Noted { greeting, found, note } => {
                if self.state.store.sessions[greeting.client].version != found {
                    return self.attach(server, greeting);
                }
                match self.attached(server, &greeting) {
                    Ok(attached) => self.write_attachment(server, greeting, attached, Some(note)),
                    Err(_) => debug_assert!(false, "it could be attached before"),
                }
            }
            SessionWrite::Moved { client, note } => self.end_moving(client, note),
            SessionWrite::ClaimAgain { client, version, claim } => {
                let home = self.state.servers[server].homes.get(&client);
                if home.is_some_and(|home| home.version == version) {
                    self.send_claim(server, client, version, claim, true);
                }
            }
            SessionWrite::Attached { greeting, version, epoch, sent, note } => {
                let Greeting { client, link, last_sequence, .. } = greeting;
                let (terms, now) = (self.config.clients[client].terms, self.server_now());
                if self.config.keeps(Rule::AttachmentInTime) && !HomeLease::may_begin(terms, sent, now) {
                    return self.attach(server, greeting);
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
                if self.settle_in(server, client, home, &greeting.claims) {
                    self.claim_all(server, client, version, greeting.claims, note);
                }
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
    /// False if a later attachment was quicker to come here.
    fn settle_in(&mut self, server: usize, client: usize, mut home: Home, claims: &[Claimed]) -> bool {
        let machine = self.server(server);
        machine.directory.remove(&client);
        if let Some(known) = machine.homes.get(&client) {
            if known.version >= home.version {
                return false;
            }
            let handed_over =
                |(lock, known): (&LockId, &LocalLock)| (*lock, LocalLock { waiting: None, ..*known });
            home.locks = known.locks.iter().map(handed_over).collect();
        }
        for Claimed { lock, resource, .. } in claims {
            let claimed = LocalLock { resource: *resource, granted: false, waiting: None, newest: None };
            home.locks.entry(*lock).or_insert(claimed);
        }
        let (link, epoch) = (home.link, home.epoch);
        machine.homes.insert(client, home);
        self.answer(client, link, Answer::Attached { epoch });
        true
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
