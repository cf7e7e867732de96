//! What each step does. A [`World`] is a state that is being changed.

mod client;
mod members;
mod recovery;
mod requests;
mod sessions;
mod store;

pub(crate) use requests::acquire;
pub(crate) use store::decode;

use crate::config::{Config, Rule};
use crate::message::{Answer, Message};
use crate::state::{At, Call, Client, Link, Server, SessionWrite, Slot, State, member_id};
use crate::step::Step;
use dlock_core::Timestamp;
use dlock_core::coordinator::{Coordinator, Rules};

impl Config {
    /// The rules of a server's coordinators in this period of its lease.
    pub(crate) fn rules(&self, server: usize, period: Option<u64>) -> Rules {
        Rules {
            generation: 0,
            // Coordinators write what they would leave unwritten exactly where the store can't guard.
            guards: self.guards || !self.keeps(Rule::AbsenceWrites),
            exclusive: !self.keeps(Rule::FreshAnswers),
            member: member_id(server),
            masters: self.masters,
            master_after: 3,
            peers_master: self.masters,
            period: period.filter(|_| self.masters),
        }
    }
}

/// A state on its way to the next.
pub(crate) struct World<'a> {
    pub(crate) config: &'a Config,
    pub(crate) state: State,
}

impl World<'_> {
    /// Does one step.
    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Tick => self.tick(),
            Step::Send(client) => self.send(client),
            Step::Withdraw(client) => self.withdraw(client),
            Step::Heartbeat(client) => self.send_heartbeat(client),
            Step::Attach { client, server } => self.send_attach(client, server),
            Step::Receive { client, link } => self.receive(client, link),
            Step::Deliver(message) => {
                self.take_off_the_network(&message);
                self.deliver(message);
            }
            Step::Duplicate(message) => {
                self.state.left.duplicates -= 1;
                self.deliver(message);
            }
            Step::StoreServes(at) => self.store_serves(at),
            Step::StoreAnswers(at) => self.store_answers(at),
            Step::TryAgain(at) => self.try_again(at),
            Step::StoreSilent(at) => self.store_silent(at),
            Step::LateCommit { at, number } => self.late_commit(at, number),
            Step::SessionWritten { server, index } => self.session_written(server, index),
            Step::Expire { server, client } => self.expire(server, client),
            Step::EndOrphan { server, client } => self.end_orphan(server, client),
            Step::Beat(server) => self.beat(server),
            Step::BeatDone(server) => self.beat_done(server),
            Step::Look(server) => self.look(server),
            Step::LookDone(server) => self.look_done(server),
            Step::List(server) => self.list(server),
            Step::News(at) => self.hear_news(at),
            Step::LoseNews(at) => {
                self.state.left.lost_news -= 1;
                self.slot(at).has_news = false;
            }
            Step::SessionNews { server, client } => self.session_seen(server, client),
            Step::Recheck(at) => self.recheck(at),
            Step::Collect(at) => self.collect(at),
            Step::Die(client) => {
                self.state.left.deaths -= 1;
                let client = self.client(client);
                client.dead = true;
                client.inbox.clear();
            }
            Step::Crash(server) => {
                self.state.left.crashes -= 1;
                self.stop(server);
            }
            Step::Leave(server) => {
                self.state.left.departures -= 1;
                self.state.store.members[server] = None;
                self.stop(server);
            }
        }
        if self.config.masters {
            self.forget();
        }
        self.state.seal();
    }

    /// Drops the coordinators that know nothing (`ShardInner::step`).
    fn forget(&mut self) {
        for server in 0..self.state.servers.len() {
            for resource in 0..self.state.servers[server].slots.len() {
                let coordinator = &self.state.servers[server].slots[resource].coordinator;
                if coordinator.is_forgettable() && *coordinator != Coordinator::new() {
                    self.slot(At { server, resource }).coordinator = Coordinator::new();
                }
            }
        }
    }

    fn tick(&mut self) {
        self.state.ticks += 1;
        for server in &mut self.state.servers {
            if server.done != Default::default() {
                server.done = Default::default();
            }
            for resource in 0..server.slots.len() {
                if server.slots[resource].rechecked {
                    server.slots[resource].rechecked = false;
                }
            }
        }
        let now = self.server_now();
        for server in &self.config.steady {
            if !self.state.servers[*server].gone {
                self.beaten(*server, now);
            }
        }
        for server in &self.config.steady {
            let machine = &self.state.servers[*server];
            // While it goes on with what the last look has found, it does not look.
            if !machine.gone && machine.recovery.is_none() {
                self.look(*server);
                self.look_done(*server);
            }
        }
    }

    fn server(&mut self, index: usize) -> &mut Server {
        &mut self.state.servers[index]
    }

    fn slot(&mut self, at: At) -> &mut Slot {
        &mut self.server(at.server).slots[at.resource]
    }

    fn client(&mut self, index: usize) -> &mut Client {
        &mut self.state.clients[index]
    }

    fn server_now(&self) -> Timestamp {
        self.config.server_time(self.state.ticks)
    }

    fn client_now(&self) -> Timestamp {
        self.config.client_time(self.state.ticks)
    }

    /// A message on its way to a server.
    fn post(&mut self, message: Message) {
        *self.state.network.entry(message).or_insert(0) += 1;
    }

    fn take_off_the_network(&mut self, message: &Message) {
        let network = &mut *self.state.network;
        if let Some(count) = network.get_mut(message) {
            *count -= 1;
            if *count == 0 {
                network.remove(message);
            }
        }
    }

    /// A message on its way to a client, if it still listens to that link.
    fn answer(&mut self, client: usize, link: Link, answer: Answer) {
        let listens = {
            let client = &self.state.clients[client];
            !client.dead
                && (client.link == link
                    || client.attempt.as_ref().is_some_and(|attempt| attempt.link == link))
        };
        if listens {
            self.client(client).inbox.entry(link).or_default().push_back(answer);
        }
    }

    /// The coordinators' rules, as the engine gives them (`Shared::rules`).
    fn rules(&self, server: usize) -> Rules {
        let lapses = self.config.members && self.config.keeps(Rule::LapseEndsMastering);
        let period = match &self.state.servers[server].lease {
            lease if lapses => lease.period(self.server_now()),
            _ => Some(0),
        };
        self.config.rules(server, period)
    }

    /// A server is gone. What it had under way may still arrive.
    fn stop(&mut self, server: usize) {
        let machine = self.server(server);
        machine.gone = true;
        machine.homes.clear();
        machine.directory.clear();
        machine.beat = None;
        machine.look = None;
        machine.wanted.clear();
        machine.recovery = None;
        machine.claiming.clear();
        machine.writes.retain(|write| {
            use SessionWrite::{Attached, ClaimAgain, EndOrphan, Expire, Moved, Noted};
            match write {
                Expire { .. } | EndOrphan { .. } | Moved { .. } => true,
                Attached { .. } | Noted { .. } | ClaimAgain { .. } => false,
            }
        });
        for resource in 0..machine.slots.len() {
            let at = At { server, resource };
            let slot = self.slot(at);
            let silences = slot.silences + 1;
            let Slot { call, .. } = std::mem::replace(slot, Slot { silences, ..Slot::default() });
            if let Some(Call::Write(commit)) = call {
                self.state.store.late.insert((at, silences), commit);
            }
        }
    }
}
