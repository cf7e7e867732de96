//! What can happen in a state: each step is one thing that one machine does, or that happens to it.

use crate::config::{Config, Rule};
use crate::message::{Ask, Message};
use crate::state::{At, Call, Client, SessionWrite, State};
use dlock_core::lease::ClientLease;
use dlock_core::{Mode, Timestamp};
use std::time::Duration;

/// One step. Clients, servers and sessions are named by their indices.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Time goes on, for all.
    Tick,
    /// A client sends the next request of its script, or one that has no answer yet again.
    Send(usize),
    /// A client gives up a request for a lock, and asks for its release.
    Withdraw(usize),
    /// A client sends a heartbeat.
    Heartbeat(usize),
    /// A client begins to attach its session to a server.
    Attach {
        /// The client.
        client: usize,
        /// The server.
        server: usize,
    },
    /// A client takes in the next message on a link.
    Receive {
        /// The client.
        client: usize,
        /// The link.
        link: u64,
    },
    /// A message reaches its server.
    Deliver(Message),
    /// A message reaches its server, and will once more.
    Duplicate(Message),
    /// The store serves a server's call for a resource.
    StoreServes(At),
    /// A server gets the answer to its call.
    StoreAnswers(At),
    /// A server sends a refused try once more.
    TryAgain(At),
    /// A server hears nothing of its call in time.
    StoreSilent(At),
    /// A commit that nobody waits for is applied.
    LateCommit {
        /// Where it comes from.
        at: At,
        /// Which of those that it gave up.
        number: u8,
    },
    /// A server's first pending write of a session's record is done.
    SessionWritten {
        /// The server.
        server: usize,
        /// Which of them, in their order.
        index: usize,
    },
    /// A home finds that a client was silent for too long, and sends the session's end.
    Expire {
        /// The home.
        server: usize,
        /// The session's client.
        client: usize,
    },
    /// A server finds an orphan due, and sends the session's end.
    EndOrphan {
        /// The server.
        server: usize,
        /// The session's client.
        client: usize,
    },
    /// A server sends a write of its counter.
    Beat(usize),
    /// The write is done, and known to be.
    BeatDone(usize),
    /// A server reads the others' counters.
    Look(usize),
    /// It has the answer.
    LookDone(usize),
    /// A server that has found masters dead lists the sessions, or after that those that are moving.
    List(usize),
    /// A server hears that a resource's record has changed.
    News(At),
    /// That news is lost.
    LoseNews(At),
    /// A server hears how a session's record is.
    SessionNews {
        /// The server.
        server: usize,
        /// The session's client.
        client: usize,
    },
    /// A server looks at a resource, as somebody waits for it.
    Recheck(At),
    /// A server forgets a resource, as nobody uses it.
    Collect(At),
    /// A client stops for ever.
    Die(usize),
    /// A server stops for ever.
    Crash(usize),
    /// A server deletes its member's record, and stops for ever.
    Leave(usize),
}

impl Client {
    /// Until when it counts on its session.
    fn deadline(&self, config: &Config) -> Timestamp {
        let margin = if config.keeps(Rule::DeadlineMargin) {
            Duration::ZERO
        } else {
            // What [`ClientLease::deadline`] has taken off.
            self.lease.ttl() / 10 + Duration::from_millis(50)
        };
        ClientLease::deadline(&self.lease) + margin
    }

    /// The mode in which it counts on its lock on a resource.
    pub(crate) fn counts_on(&self, config: &Config, ticks: u8, resource: usize) -> Option<Mode> {
        if self.over || self.dead || config.client_time(ticks) >= self.deadline(config) {
            return None;
        }
        let lock = self.own.get(&resource)?;
        let (held, _) = lock.held?;
        match lock.goal {
            Some(Ask::Release) => None,
            // Whoever asks for less does no more in the meantime.
            Some(Ask::Convert { mode }) if Ask::mode(mode).at_or_below(held) => Some(Ask::mode(mode)),
            _ => Some(held),
        }
    }
}

impl State {
    /// All steps that are possible.
    pub(crate) fn steps(&self, config: &Config, steps: &mut Vec<Step>) {
        let done = (self.clients.iter().enumerate()).all(|(index, client)| client.is_done(config, index));
        if done && config.prompt {
            return;
        }
        for client in 0..self.clients.len() {
            self.client_steps(config, client, steps);
        }
        for message in self.network.keys() {
            steps.push(Step::Deliver(message.clone()));
        }
        for server in 0..self.servers.len() {
            if !self.servers[server].gone {
                self.server_steps(config, server, steps);
                self.timer_steps(config, server, steps);
            }
        }
        let waits = !steps.is_empty();
        self.mishaps(config, steps);
        if !done && self.ticks < config.ticks && !(config.prompt && waits) {
            steps.push(Step::Tick);
        }
    }

    fn client_steps(&self, config: &Config, index: usize, steps: &mut Vec<Step>) {
        let client = &self.clients[index];
        if !client.dead {
            steps.extend(client.inbox.keys().map(|link| Step::Receive { client: index, link: *link }));
        }
        if client.is_done(config, index) {
            return;
        }
        let now = config.client_time(self.ticks);
        // While a greeting is unanswered nothing is sent on the current link.
        if client.attempt.is_none() {
            let next = match client.asks() {
                Some((_, lock)) => lock.request.is_none() && lock.paused_until <= self.ticks,
                None => client.lease.is_valid(now),
            };
            if next {
                steps.push(Step::Send(index));
            }
            if config.ticks > 0 && client.lease.heartbeat_due() <= now {
                steps.push(Step::Heartbeat(index));
            }
        }
        let retries = client.attempt.as_ref().is_none_or(|attempt| attempt.sent < now);
        if !config.prompt {
            let may = self.left.attaches > 0 && config.clients[index].roams;
            let servers = if may { config.servers } else { 0 };
            steps.extend((0..servers).map(|server| Step::Attach { client: index, server }));
        } else if retries && client.lease.reattach_due() <= now {
            // One after the other: who tries the same dead server for ever is not served, and need not be.
            let last = client.attempt.as_ref().map_or(client.server, |attempt| attempt.server);
            steps.push(Step::Attach { client: index, server: (last + 1) % config.servers });
        }
    }

    fn server_steps(&self, config: &Config, index: usize, steps: &mut Vec<Step>) {
        let server = &self.servers[index];
        for resource in 0..server.slots.len() {
            self.slot_steps(config, At { server: index, resource }, steps);
        }
        for (at, write) in server.writes.iter().enumerate() {
            // Who may not act asks the store for nothing.
            let waits = matches!(write, SessionWrite::ClaimAgain { .. }) && !self.may_act(config, index);
            if !waits {
                steps.push(Step::SessionWritten { server: index, index: at });
            }
        }
        for client in 0..self.clients.len() {
            if self.session_is_news(index, client) {
                steps.push(Step::SessionNews { server: index, client });
            }
        }
    }

    fn slot_steps(&self, config: &Config, at: At, steps: &mut Vec<Step>) {
        let slot = &self.servers[at.server].slots[at.resource];
        match &slot.call {
            None => {}
            Some(Call::Read | Call::Verify(_) | Call::Write(_)) => steps.push(Step::StoreServes(at)),
            Some(Call::ReadDone(_) | Call::WriteDone(_)) => steps.push(Step::StoreAnswers(at)),
        }
        if !slot.tries.is_empty() {
            steps.push(Step::TryAgain(at));
        }
        if slot.has_news {
            steps.push(Step::News(at));
        }
        if slot.coordinator.needs_rechecks() && !slot.rechecked && config.keeps(Rule::Recheck) {
            steps.push(Step::Recheck(at));
        }
    }

    fn timer_steps(&self, config: &Config, index: usize, steps: &mut Vec<Step>) {
        let (server, now) = (&self.servers[index], config.server_time(self.ticks));
        if server.beat.is_some() {
            steps.push(Step::BeatDone(index));
        } else if config.members && !server.done.beat && !config.steady.contains(&index) {
            steps.push(Step::Beat(index));
        }
        if server.look.is_some() {
            steps.push(Step::LookDone(index));
        } else if server.recovery.is_some() {
            steps.push(Step::List(index));
        } else if config.members && !server.done.look && !config.steady.contains(&index) {
            steps.push(Step::Look(index));
        }
        if !self.may_act(config, index) {
            return;
        }
        for (client, home) in &server.homes {
            if !home.expiring && home.lease.is_expired(now) {
                steps.push(Step::Expire { server: index, client: *client });
            }
        }
        for client in server.directory.keys() {
            if self.orphan_is_due(config, index, *client) {
                steps.push(Step::EndOrphan { server: index, client: *client });
            }
        }
    }

    /// What goes wrong, or need not happen.
    fn mishaps(&self, config: &Config, steps: &mut Vec<Step>) {
        let left = &self.left;
        for (index, client) in self.clients.iter().enumerate() {
            let waits = client.asks().is_some_and(|(_, lock)| {
                lock.held.is_none() && matches!(lock.goal, Some(Ask::Acquire { .. }))
            });
            if waits && left.withdrawals > 0 && client.attempt.is_none() && !client.is_done(config, index) {
                steps.push(Step::Withdraw(index));
            }
            if left.deaths > 0 && !client.is_done(config, index) {
                steps.push(Step::Die(index));
            }
        }
        if left.duplicates > 0 {
            // A greeting is the first message on a connection of its own.
            let repeats = |message: &&Message| !matches!(message, Message::Attach { .. });
            steps.extend(self.network.keys().filter(repeats).map(|message| Step::Duplicate(message.clone())));
        }
        for (at, number) in self.store.late.keys() {
            steps.push(Step::LateCommit { at: *at, number: *number });
        }
        for (index, server) in self.servers.iter().enumerate().filter(|(_, server)| !server.gone) {
            for (resource, slot) in server.slots.iter().enumerate() {
                let at = At { server: index, resource };
                if left.silences > 0 && slot.call.is_some() {
                    steps.push(Step::StoreSilent(at));
                }
                if left.lost_news > 0 && slot.has_news {
                    steps.push(Step::LoseNews(at));
                }
                let idle = || slot.coordinator.settled().is_some_and(|settled| settled.is_collectable());
                if left.collections > 0 && slot.coordinator.is_quiet() && idle() {
                    steps.push(Step::Collect(at));
                }
            }
            if left.crashes > 0 {
                steps.push(Step::Crash(index));
            }
            if left.departures > 0 {
                steps.push(Step::Leave(index));
            }
        }
    }
}
