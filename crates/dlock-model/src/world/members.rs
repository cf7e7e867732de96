//! Servers among each other: their counters, and the orphans of those that fell silent. As
//! `crates/dlock-engine/src/membership.rs` does it.

use super::World;
use crate::config::{Config, Rule};
use crate::state::{SessionWrite, State, member_id};
use dlock_core::{MemberId, Timestamp};

impl State {
    /// Whether a server may acknowledge and commit (`Shared::check_may_act`).
    pub(crate) fn may_act(&self, config: &Config, server: usize) -> bool {
        let now = config.server_time(self.ticks);
        !config.members || !config.keeps(Rule::MemberDeadline) || self.servers[server].lease.may_act(now)
    }

    /// Whether a server is to end a session whose home is dead.
    pub(crate) fn orphan_is_due(&self, config: &Config, server: usize, client: usize) -> bool {
        let machine = &self.servers[server];
        let Some(foreign) = machine.directory.get(&client) else { return false };
        let write = SessionWrite::EndOrphan { client, version: foreign.version };
        if !config.members || machine.writes.contains(&write) {
            return false;
        }
        if !config.keeps(Rule::OrphansWait) {
            return machine.observer.is_dead(foreign.owner);
        }
        machine.observer.is_orphan_due(foreign.owner, foreign.seen, config.clients[client].terms)
    }
}

impl World<'_> {
    pub(super) fn end_orphan(&mut self, server: usize, client: usize) {
        let found = self.state.store.sessions[client].version;
        let Some(version) = self.state.servers[server].directory.get(&client).map(|known| known.version)
        else {
            return;
        };
        if found != version && self.config.keeps(Rule::ExpiryBoundToEpoch) {
            return self.session_seen(server, client);
        }
        self.server(server).writes.insert(SessionWrite::EndOrphan { client, version });
    }

    pub(super) fn beat(&mut self, server: usize) {
        let now = self.server_now();
        self.server(server).done.beat = true;
        if self.config.slow_members {
            self.server(server).beat = Some(now);
        } else {
            self.beaten(server, now);
        }
    }

    pub(super) fn beat_done(&mut self, server: usize) {
        if let Some(sent) = self.server(server).beat.take() {
            self.beaten(server, sent);
        }
    }

    /// The counter is written, and this server knows it.
    pub(super) fn beaten(&mut self, server: usize, sent: Timestamp) {
        let now = self.server_now();
        let counter = &mut self.state.store.members[server];
        *counter = Some(counter.unwrap_or(0) + 1);
        let machine = self.server(server);
        let lapse = machine.lease.committed(sent, now);
        let Some(lapse) = lapse.filter(|_| self.config.keeps(Rule::LapseGivesUp)) else { return };
        let homes = &self.state.servers[server].homes;
        let given_up: Vec<(usize, u64)> = (homes.iter())
            .filter(|(client, _)| lapse.may_have_ended(self.config.clients[**client].terms))
            .map(|(client, home)| (*client, home.version))
            .collect();
        for (client, version) in given_up {
            self.detach(server, client, version, member_id(server));
        }
    }

    pub(super) fn look(&mut self, server: usize) {
        let now = self.server_now();
        let members = self.state.store.members.iter().enumerate();
        let others = members.filter(|(other, _)| *other != server);
        let counters: Vec<(MemberId, u64)> =
            others.filter_map(|(other, counter)| Some((member_id(other), (*counter)?))).collect();
        let wanted = if self.config.masters { self.mastered_elsewhere(server) } else { Vec::new() };
        let machine = self.server(server);
        machine.done.look = true;
        machine.look = Some((now, counters));
        machine.wanted = wanted;
        if !self.config.slow_members {
            self.look_done(server);
        }
    }

    pub(super) fn look_done(&mut self, server: usize) {
        let now = self.server_now();
        let machine = self.server(server);
        if let Some((sent, counters)) = machine.look.take() {
            machine.observer.look(sent, now, counters);
            let wanted = std::mem::take(&mut machine.wanted);
            if self.config.masters {
                self.recover(server, wanted);
            }
        }
    }
}
