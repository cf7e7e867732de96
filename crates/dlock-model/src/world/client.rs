//! Clients: what they send, and what they make of what they are told. As `crates/dlock-client/src/session` does it.

use super::World;
use crate::config::{Line, Operation, Rule};
use crate::message::{Answer, Ask, Claimed, Message};
use crate::state::{Attempt, Ending, Link, OwnLock};
use dlock_core::{LockId, Mode, Token};

impl World<'_> {
    /// Sends the request that is due: the one that has no answer yet, or the next of the script.
    pub(super) fn send(&mut self, index: usize) {
        if self.state.clients[index].asks().is_none() && !self.begin(index) {
            return;
        }
        let client = self.client(index);
        let (server, link) = (client.server, client.link);
        client.sequence += 1;
        let sequence = client.sequence;
        let Some((resource, _)) = client.asks() else { return };
        let Some(lock) = client.own.get_mut(&resource) else { return };
        lock.request = Some(sequence);
        let (id, Some(ask)) = (lock.id, lock.goal) else { return };
        if ask == Ask::Release {
            client.given_up.insert(id);
        }
        self.post(Message::Request { client: index, server, link, sequence, lock: id, resource, ask });
    }

    /// Takes up the next operation of the script that can be done. False if none is left.
    fn begin(&mut self, index: usize) -> bool {
        let script = &self.config.clients[index].script;
        let client = self.client(index);
        while let Some(Line { resource, operation }) = script.get(client.position) {
            match (*operation, client.own.get_mut(resource)) {
                (Operation::Lock(mode) | Operation::Try(mode), None) => {
                    client.locks += 1;
                    let at_once = matches!(operation, Operation::Try(_));
                    let lock = OwnLock {
                        id: LockId(client.locks),
                        held: None,
                        goal: Some(Ask::Acquire { mode: mode as u8, at_once }),
                        request: None,
                        paused_until: 0,
                    };
                    client.own.insert(*resource, lock);
                    return true;
                }
                (Operation::Convert(mode), Some(lock)) => {
                    lock.goal = Some(Ask::Convert { mode: mode as u8 });
                    return true;
                }
                (Operation::Unlock, Some(lock)) => {
                    lock.goal = Some(Ask::Release);
                    return true;
                }
                // Without the lock that it needs; or a second one, which no script has.
                _ => client.position += 1,
            }
        }
        false
    }

    pub(super) fn withdraw(&mut self, index: usize) {
        self.state.left.withdrawals -= 1;
        let client = self.client(index);
        let Some((resource, _)) = client.asks() else { return };
        let Some(lock) = client.own.get_mut(&resource) else { return };
        (lock.goal, lock.request) = (Some(Ask::Release), None);
        self.send(index);
    }

    pub(super) fn send_heartbeat(&mut self, index: usize) {
        let now = self.client_now();
        let client = self.client(index);
        let nonce = client.lease.heartbeat_sent(now);
        let (server, link, epoch) = (client.server, client.link, client.lease.epoch());
        self.post(Message::Heartbeat { client: index, server, link, epoch, nonce });
    }

    pub(super) fn send_attach(&mut self, index: usize, server: usize) {
        if !self.config.prompt {
            self.state.left.attaches -= 1;
        }
        let sent = self.client_now();
        let client = self.client(index);
        client.links += 1;
        let link = client.links;
        if let Some(given_up) = client.attempt.replace(Attempt { link, server, sent }) {
            client.inbox.remove(&given_up.link);
        }
        let last_sequence = client.sequence;
        let claims = if self.config.masters { self.claims(index) } else { Vec::new() };
        self.post(Message::Attach { client: index, server, link, last_sequence, claims });
    }

    /// What it holds, unless it has asked for its end, in the mode on which it counts.
    fn claims(&self, index: usize) -> Vec<Claimed> {
        let own = self.state.clients[index].own.iter();
        let claim = |(resource, own): (&usize, &OwnLock)| {
            let (held, token) = own.held?;
            let mode = match own.goal {
                Some(Ask::Release) => return None,
                Some(Ask::Convert { mode }) if self.config.keeps(Rule::ClaimsAreLow) => Ask::mode(mode),
                _ => held,
            };
            let mode = if mode.at_or_below(held) { mode } else { held };
            Some(Claimed { lock: own.id, resource: *resource, mode: mode as u8, token })
        };
        own.filter_map(claim).collect()
    }

    pub(super) fn receive(&mut self, index: usize, link: Link) {
        let (masters, last_word) = (self.config.masters, self.config.keeps(Rule::ClaimsAreTheLastWord));
        let client = self.client(index);
        let Some(answers) = client.inbox.get_mut(&link) else { return };
        let Some(answer) = answers.pop_front() else { return };
        if answers.is_empty() {
            client.inbox.remove(&link);
        }
        match answer {
            Answer::Attached { .. } | Answer::Ended if client.over => {}
            Answer::Attached { epoch } => self.adopt(index, link, epoch),
            Answer::Ended => {
                client.over = true;
                client.own.clear();
                client.attempt = None;
                client.inbox.clear();
            }
            Answer::Heartbeat { epoch, nonce } => self.acknowledged(index, epoch, nonce),
            Answer::Granted { request, mode, token } => {
                let moves = client.attempt.is_some();
                let Some(lock) = client.asked(request) else { return };
                let known = |(held, known): (Mode, Token)| known == token && mode.at_or_below(held);
                if moves && masters && last_word && !lock.held.is_some_and(known) {
                    // The claims did not tell of it: it is asked for once more, wherever the session is then.
                    lock.request = None;
                    return;
                }
                if lock.goal != Some(Ask::Release) {
                    lock.held = Some((mode, token));
                    (lock.goal, lock.request) = (None, None);
                    client.position += 1;
                }
            }
            Answer::Released { request } => self.lock_is_gone(index, request, Ending::Released),
            Answer::Refused { request } => self.refused(index, request),
            Answer::Unavailable { request } => self.unavailable(index, request),
            Answer::Revoked { lock } => {
                // One that is on its way out has its own answer.
                let revoked = |own: &OwnLock| own.id == lock && own.goal != Some(Ask::Release);
                if let Some(lock) = client.take(revoked) {
                    self.skip(index, &lock);
                }
            }
        }
    }

    /// The new link's server is the session's home: what has no answer is sent again there.
    fn adopt(&mut self, index: usize, link: Link, epoch: dlock_core::Epoch) {
        let now = self.client_now();
        let from_sending = self.config.keeps(Rule::DeadlineFromSending);
        let client = self.client(index);
        let Some(attempt) = client.attempt.take_if(|attempt| attempt.link == link) else { return };
        client.lease.reattached(epoch, if from_sending { attempt.sent } else { now });
        (client.link, client.server) = (link, attempt.server);
        client.inbox.retain(|known, _| *known == link);
        client.own.values_mut().for_each(|lock| lock.request = None);
    }

    fn acknowledged(&mut self, index: usize, epoch: dlock_core::Epoch, nonce: u64) {
        let now = self.client_now();
        let from_sending = self.config.keeps(Rule::DeadlineFromSending);
        let lease = &mut self.client(index).lease;
        if from_sending {
            lease.acknowledged(epoch, nonce);
        } else if lease.acknowledged(epoch, nonce) {
            let sent_now = lease.heartbeat_sent(now);
            lease.acknowledged(epoch, sent_now);
        }
    }

    fn refused(&mut self, index: usize, request: u64) {
        let client = self.client(index);
        let Some(lock) = client.asked(request) else { return };
        match lock.goal {
            Some(Ask::Convert { .. }) => {
                (lock.goal, lock.request) = (None, None);
                client.position += 1;
            }
            Some(Ask::Release) => self.lock_is_gone(index, request, Ending::Released),
            Some(Ask::Acquire { .. }) | None => self.lock_is_gone(index, request, Ending::Refused),
        }
    }

    /// Nothing is known of the request: it is sent again, a while later.
    fn unavailable(&mut self, index: usize, request: u64) {
        let (ticks, retries) = (self.state.ticks, self.state.left.retries);
        let (prompt, believes) = (self.config.prompt, !self.config.keeps(Rule::AmbiguityIsNotFailure));
        let Some(lock) = self.client(index).asked(request) else { return };
        if believes && matches!(lock.goal, Some(Ask::Acquire { .. })) {
            return self.lock_is_gone(index, request, Ending::Refused);
        }
        if prompt {
            lock.request = None;
            lock.paused_until = ticks + 1;
        } else if retries > 0 {
            lock.request = None;
            self.state.left.retries -= 1;
        }
    }

    fn lock_is_gone(&mut self, index: usize, request: u64, ending: Ending) {
        let client = self.client(index);
        let Some(lock) = client.take(|lock| lock.request == Some(request)) else { return };
        client.ended.insert(lock.id, ending);
        self.skip(index, &lock);
    }

    /// Goes on to the script's next line that can be done without this lock.
    fn skip(&mut self, index: usize, gone: &OwnLock) {
        let script = &self.config.clients[index].script;
        let client = self.client(index);
        if gone.held.is_none() {
            client.position += 1; // which was to take it
        }
        let undoable = |line: &Line| line.needs_lock() && !client.own.contains_key(&line.resource);
        while script.get(client.position).is_some_and(undoable) {
            client.position += 1;
        }
    }
}
