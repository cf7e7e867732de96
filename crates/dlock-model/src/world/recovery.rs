//! What dead servers mastered, and the claims of sessions that come from there. As `crates/dlock-engine/src/recovery.rs`
//! does it.

use super::World;
use crate::config::Rule;
use crate::message::{Answer, Ask, Claimed};
use crate::state::{At, Claiming, Recovery, SessionWrite, Ticket, Versioned, Wanted, lock_key, member_id};
use dlock_core::coordinator::Failure;
use dlock_core::resource::{Claim, Command, Outcome};
use dlock_core::{LockId, MemberId};
use std::collections::BTreeSet;

impl World<'_> {
    /// The resources that others master and somebody here waits for.
    pub(super) fn mastered_elsewhere(&self, server: usize) -> Vec<Wanted> {
        let slots = self.state.servers[server].slots.iter().enumerate();
        let wanted = slots.filter_map(|(resource, slot)| {
            let (master, version) = slot.coordinator.waits_for()?;
            Some(Wanted { resource, version, master })
        });
        wanted.collect()
    }

    /// Goes on with those whose masters the last look found dead; it was sent after they were known to be wanted.
    pub(super) fn recover(&mut self, server: usize, mut wanted: Vec<Wanted>) {
        if !self.config.keeps(Rule::RecoveryBoundToRecord) {
            wanted = self.all_mastered_by_others(server);
        }
        if wanted.is_empty() || !self.state.may_act(self.config, server) {
            return;
        }
        let now = self.server_now();
        let observer = &mut self.server(server).observer;
        wanted.retain(|wanted| {
            observer.expect(wanted.master, now);
            observer.is_dead(wanted.master)
        });
        if wanted.is_empty() {
            return;
        }
        self.server(server).recovery = Some(Recovery { wanted, left: None });
        if !self.config.slow_members {
            self.list(server);
            self.list(server);
        }
    }

    fn all_mastered_by_others(&self, server: usize) -> Vec<Wanted> {
        let others = (0..self.config.servers).filter(|other| *other != server);
        let wanted = others.flat_map(|other| {
            (0..self.config.resources).map(move |resource| Wanted {
                resource,
                version: 0,
                master: member_id(other),
            })
        });
        wanted.collect()
    }

    /// Lists the sessions, and then those that are moving (`Shared::has_claimed_all`).
    pub(super) fn list(&mut self, server: usize) {
        let Some(Recovery { wanted, left }) = self.server(server).recovery.take() else { return };
        let Some(left) = left else {
            let masters: BTreeSet<MemberId> = wanted.iter().map(|wanted| wanted.master).collect();
            let left = masters.into_iter().filter(|master| !self.is_a_home(server, *master)).collect();
            self.server(server).recovery = Some(Recovery { wanted, left: Some(left) });
            return;
        };
        for Wanted { resource, version, master } in wanted {
            let recovered = left.contains(&master) && !self.is_left(master);
            let at = At { server, resource };
            let version = match self.slot(at).coordinator.waits_for() {
                Some((found, version)) if !self.config.keeps(Rule::RecoveryBoundToRecord) => {
                    if found != master {
                        continue;
                    }
                    version
                }
                _ => version,
            };
            let rules = self.rules(server);
            let mut actions = Vec::new();
            self.slot(at).coordinator.master_dead(version, recovered, &rules, &mut actions);
            self.carry_out(at, actions);
        }
    }

    /// Whether a session has its home at this member, as far as is known here or by its record.
    fn is_a_home(&self, server: usize, member: MemberId) -> bool {
        let directory = &self.state.servers[server].directory;
        let sessions = &self.state.store.sessions;
        self.config.keeps(Rule::RecoveryWaitsForHomes)
            && (directory.values().any(|foreign| foreign.owner == member)
                || sessions.iter().any(|found| found.value.is_active() && found.value.owner == member))
    }

    /// Whether a session is on its way from there.
    fn is_left(&self, member: MemberId) -> bool {
        let sessions = &self.state.store.sessions;
        let moving = self.state.store.moving.iter().zip(sessions);
        self.config.keeps(Rule::RecoveryWaitsForMoving)
            && moving
                .filter(|(_, session)| session.value.is_active())
                .any(|(note, _)| note.value.as_ref().is_some_and(|former| former.contains(&member)))
    }

    /// Notes that a session is about to move here, if its homes may have granted it locks from memory; returns the note's
    /// version.
    pub(super) fn note_moving(&mut self, server: usize, client: usize) -> Option<u64> {
        let record = &self.state.store.sessions[client].value;
        if !record.mastered || !self.config.keeps(Rule::MovingIsNoted) {
            return None;
        }
        let (owner, here) = (record.owner, record.owner == member_id(server));
        let Versioned { version, value } = &self.state.store.moving[client];
        let (version, mut former) = (version + 1, value.clone().unwrap_or_default());
        if here && former.is_empty() {
            return None;
        }
        if !here && !former.contains(&owner) {
            former.push(owner);
        }
        self.state.store.moving[client] = Versioned { version, value: Some(former) };
        Some(version)
    }

    /// Deletes the note that a session is moving, unless it was written anew for a later attachment.
    pub(super) fn end_moving(&mut self, client: usize, note: u64) {
        if self.state.store.moving[client].version == note {
            self.state.store.moving[client] = Versioned { version: note + 1, value: None };
        }
    }

    /// Claims what the client says that it holds.
    pub(super) fn claim_all(
        &mut self,
        server: usize,
        client: usize,
        version: u64,
        claims: Vec<Claimed>,
        note: Option<u64>,
    ) {
        if let Some(note) = note {
            let waits = self.config.keeps(Rule::NoteOutlivesClaims);
            let locks: BTreeSet<LockId> = claims.iter().filter(|_| waits).map(|claim| claim.lock).collect();
            if locks.is_empty() {
                self.server(server).writes.insert(SessionWrite::Moved { client, note });
            } else {
                self.server(server).claiming.insert((client, version), Claiming { note, locks });
            }
        }
        let believed = note.is_some() || !self.config.keeps(Rule::MovingIsNoted);
        for claim in claims {
            self.send_claim(server, client, version, claim, believed);
        }
    }

    pub(super) fn send_claim(
        &mut self,
        server: usize,
        client: usize,
        version: u64,
        claim: Claimed,
        believed: bool,
    ) {
        let Some(home) = self.state.servers[server].homes.get(&client) else { return };
        if home.version != version {
            return;
        }
        let guard = home.guard(client);
        let Claimed { lock, resource, mode, token } = claim;
        let key = lock_key(client, lock);
        let command = if believed {
            Command::Claim(Claim { key, mode: Ask::mode(mode), token, since_unix_ms: 0 })
        } else {
            Command::Query { key }
        };
        self.submit(
            At { server, resource },
            (Ticket::Claim { client, version, claim }, command, Some(guard)),
        );
    }

    pub(super) fn claim_answered(
        &mut self,
        server: usize,
        client: usize,
        version: u64,
        lock: LockId,
        outcome: &Outcome,
    ) {
        let machine = self.server(server);
        if let Some(home) = machine.homes.get_mut(&client).filter(|home| home.version == version) {
            let link = home.link;
            match outcome {
                Outcome::Granted(_) => {
                    home.locks.entry(lock).and_modify(|known| known.granted = true);
                }
                Outcome::Queued(place) => {
                    home.locks.entry(lock).and_modify(|known| known.granted = place.held.is_some());
                }
                _ => {
                    home.locks.remove(&lock);
                    self.answer(client, link, Answer::Revoked { lock });
                }
            }
        }
        let machine = self.server(server);
        let Some(claiming) = machine.claiming.get_mut(&(client, version)) else { return };
        claiming.locks.remove(&lock);
        let note = claiming.note;
        if claiming.locks.is_empty() {
            machine.claiming.remove(&(client, version));
            machine.writes.insert(SessionWrite::Moved { client, note });
        }
    }

    pub(super) fn claim_failed(
        &mut self,
        server: usize,
        client: usize,
        version: u64,
        claim: Claimed,
        failure: &Failure,
    ) {
        if *failure == Failure::SessionRefused {
            self.session_seen(server, client);
        }
        let lives = |version: u64| {
            let home = self.state.servers[server].homes.get(&client);
            home.is_some_and(|home| home.version == version)
        };
        if lives(version) {
            self.server(server).writes.insert(SessionWrite::ClaimAgain { client, version, claim });
        } else {
            self.server(server).claiming.remove(&(client, version));
        }
    }
}
