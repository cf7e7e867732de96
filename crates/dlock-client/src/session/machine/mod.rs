//! The session's state machine: opened, kept alive by heartbeats, moved from server to server, closed.
//!
//! Inputs are commands, what comes on links, and the time; outputs are frames ([`Machine::poll_frame`]), effects
//! ([`Machine::poll_effect`]) and the next moment at which time itself is an input ([`Machine::poll_timeout`]). No I/O,
//! no clock, no task: `driver` has those.
//!
//! A *link* is one stream to one server. At most two exist: the *current* one, and an *attempt* to replace it, which
//! becomes the current one when the server has answered its greeting. While a greeting is unanswered no request is
//! sent on the current link: the session may be at home elsewhere by then.

mod transitions;

#[cfg(test)]
mod tests;

use super::locks::{AcquireAsk, Answer, ConvertAsk, Locks, Outcome};
use super::message::{ClaimState, Frame, Incoming, Limits, LinkError, Outgoing, RequestId, Secret, Terms};
use super::route::Route;
use crate::{Endpoint, Error, LossReason, SessionEvent};
use dlock_core::lease::ClientLease;
use dlock_core::resource::ValueUpdate;
use dlock_core::{Epoch, LockId, Mode, SessionId, Timestamp};
use dlock_runtime::Entropy;
use std::collections::VecDeque;
use std::time::Duration;

/// How many bytes a frame carries besides what it says.
const FRAME_OVERHEAD_BYTES: usize = 256;
/// The server is told of the frames taken in when they are this part of what it sends ahead.
const CREDIT_PART: u64 = 4;
/// How long after the session must have expired a client goes on looking for a server that knows better.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// One stream to one server, among all of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// What a session is told at its start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) endpoints: Vec<Endpoint>,
    /// The index of the endpoint to begin with.
    pub(crate) first_endpoint: usize,
    /// Whether to go to servers that others tell of, too.
    pub(crate) discover: bool,
    pub(crate) ttl: Duration,
    pub(crate) lock_delay: Duration,
    pub(crate) connect_timeout: Duration,
    /// How long an orderly end may take.
    pub(crate) close_timeout: Duration,
}

/// What the machine wants done, or known.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Connect to a server; [`Machine::handle_connected`] or [`Machine::handle_disconnected`] follows.
    Connect { link: LinkId, endpoint: Endpoint },
    /// Drop a link, connected or not. Nothing that comes from it counts any more.
    Disconnect { link: LinkId },
    /// What came of an operation.
    Outcome { lock: LockId, outcome: Outcome },
    /// A held lock keeps this mode from others.
    Blocking { lock: LockId, wanted: Mode },
    /// A lock was lost; operations on it have no other outcome.
    Lost { lock: LockId, reason: LossReason },
    /// The lease is good until then. Comes after [`Effect::Jeopardy`] where the lease had run out in between.
    Deadline(Timestamp),
    /// The lease has run out: every lock that is held now counts as lost from now on.
    Jeopardy,
    /// The session's state has changed.
    Event(SessionEvent),
    /// The session is over: nothing follows. What is left has no other outcome.
    Finished(End),
}

/// How a session ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It was never opened.
    OpenFailed(Error),
    /// It was lost.
    Lost(LossReason),
    /// It was closed; the service has confirmed it, or not.
    Closed { confirmed: bool },
}

#[derive(Debug)]
struct Identity {
    session: SessionId,
    secret: Secret,
}

#[derive(Debug)]
struct Attempt {
    link: LinkId,
    endpoint: Endpoint,
    /// Given up then.
    deadline: Timestamp,
    state: AttemptState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttemptState {
    Connecting,
    /// The greeting is to be sent.
    Connected,
    /// The greeting was sent then, and has no answer yet.
    Greeted(Timestamp),
}

#[derive(Debug)]
struct Current {
    link: LinkId,
    endpoint: Endpoint,
    /// Frames taken in, and how many of them the server was told of.
    received: u64,
    acknowledged: u64,
}

/// One session, from its opening to its end.
pub(crate) struct Machine {
    settings: Settings,
    entropy: Entropy,
    route: Route,
    locks: Locks,
    identity: Option<Identity>,
    lease: Option<ClientLease>,
    lock_delay: Duration,
    limits: Limits,
    links: u64,
    current: Option<Current>,
    attempt: Option<Attempt>,
    /// The current link's server is going away.
    draining: bool,
    heartbeat_due: bool,
    jeopardy: bool,
    /// When an orderly end is given up.
    closing: Option<Timestamp>,
    close_sent: bool,
    finished: bool,
    effects: VecDeque<Effect>,
}

/// Commands.
impl Machine {
    /// A session that is yet to be opened: [`Machine::handle_timeout`] begins.
    pub(crate) fn new(settings: Settings, entropy: Entropy) -> Machine {
        let route = Route::new(settings.endpoints.clone(), settings.first_endpoint, settings.ttl);
        Machine {
            settings,
            entropy,
            route,
            locks: Locks::default(),
            identity: None,
            lease: None,
            lock_delay: Duration::ZERO,
            limits: Limits { requests_in_flight_max: 0, frame_bytes_max: 0, unread_frames_max: 0 },
            links: 0,
            current: None,
            attempt: None,
            draining: false,
            heartbeat_due: false,
            jeopardy: false,
            closing: None,
            close_sent: false,
            finished: false,
            effects: VecDeque::new(),
        }
    }

    /// Asks for a new lock, whose id was never used in this session. An [`Effect::Outcome`] follows.
    pub(crate) fn acquire(&mut self, lock: LockId, ask: AcquireAsk) {
        self.locks.acquire(lock, ask);
    }

    /// Gives up an acquire, also one that was granted already. What follows, if it was held, is that it was released; nobody waits for that.
    pub(crate) fn withdraw(&mut self, lock: LockId) {
        self.locks.withdraw(lock);
    }

    /// Asks for another mode of a held lock. An [`Effect::Outcome`] or [`Effect::Lost`] follows; false, and nothing
    /// follows, if there is no such lock.
    pub(crate) fn convert(&mut self, lock: LockId, ask: ConvertAsk) -> bool {
        self.locks.convert(lock, ask)
    }

    /// Gives up a conversion, also one that was done already. False if nothing of it is under way; else an
    /// [`Effect::Outcome`] or [`Effect::Lost`] follows.
    pub(crate) fn cancel_conversion(&mut self, lock: LockId) -> bool {
        self.locks.cancel_conversion(lock)
    }

    /// Lets a held lock go. An [`Effect::Outcome`] or [`Effect::Lost`] follows; false, and nothing follows, if there
    /// is no such lock.
    pub(crate) fn release(&mut self, lock: LockId, value: ValueUpdate) -> bool {
        self.locks.release(lock, value)
    }

    /// Whether the session is on its way to its end: nothing new may be asked for.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Lets everything go and ends the session. [`Effect::Finished`] follows.
    pub(crate) fn close(&mut self, now: Timestamp) {
        if self.closing.is_some() {
            return;
        }
        // Released one by one, since the locks of a session that ends count as those of one that died: the value
        // blocks of its writers would be marked not valid.
        self.locks.leave_all();
        self.closing = Some(now + self.settings.close_timeout);
    }
}

/// Inputs.
impl Machine {
    /// An attempt's link is connected: it may be greeted.
    pub(crate) fn handle_connected(&mut self, link: LinkId) {
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.link == link) {
            attempt.state = AttemptState::Connected;
        }
    }

    /// One frame came on a link.
    pub(crate) fn handle_frame(&mut self, link: LinkId, messages: Vec<Incoming>, now: Timestamp) {
        if let Some(current) = self.current.as_mut().filter(|current| current.link == link) {
            current.received += 1;
        }
        for message in messages {
            // One message may end the session or change the current link: look anew each time.
            let attempt = self.attempt.as_ref().is_some_and(|attempt| attempt.link == link);
            let current = self.current.as_ref().is_some_and(|current| current.link == link);
            if self.finished || !(attempt || current) {
                return;
            }
            self.handle_message(link, message, attempt, now);
        }
    }

    fn handle_message(&mut self, link: LinkId, message: Incoming, attempt: bool, now: Timestamp) {
        match message {
            Incoming::Opened { session, secret, terms } if attempt && self.identity.is_none() => {
                self.identity = Some(Identity { session, secret });
                if let Some(endpoint) = self.adopt(link, terms, now) {
                    self.event(|session| SessionEvent::Connected { session, endpoint });
                }
            }
            Incoming::Attached { terms, claims } if attempt && self.identity.is_some() => {
                if let Some(endpoint) = self.adopt(link, terms, now) {
                    self.settle_claims(claims);
                    self.event(|session| SessionEvent::Reattached { session, endpoint });
                }
            }
            Incoming::Ended { reason } => self.end(reason),
            Incoming::Opened { .. } | Incoming::Attached { .. } => {
                self.drop_link(
                    link,
                    Error::protocol("the server greets a session that it was not asked for"),
                    now,
                );
            }
            Incoming::Detached => {
                self.drop_link(link, Error::unavailable("the session was attached elsewhere"), now);
            }
            Incoming::Refused(error) => self.handle_disconnected(link, error, now),
            Incoming::Draining { peers } => {
                self.draining = true;
                self.learn(peers);
            }
            Incoming::HeartbeatAck { epoch, nonce } => self.handle_heartbeat_ack(epoch, nonce, now),
            Incoming::Queued { request, ahead } => self.answer(request, Answer::Queued { ahead }, now),
            Incoming::Granted { request, .. } if self.jeopardy && self.locks.is_acquire(request) => {
                // Nobody may act on it before the lease is good again. Asked for again, it is answered again.
                self.locks.postpone(request, now, &self.entropy);
            }
            Incoming::Granted { request, grant }
                if self.is_moving() && self.locks.is_news(request, &grant) =>
            {
                // The claims did not tell of it, and the former home may have granted it from a memory that is gone by
                // now: it does not count before it was asked for once more, wherever the session is then.
                self.locks.ask_again(request);
            }
            Incoming::Granted { request, grant } => self.answer(request, Answer::Granted(grant), now),
            Incoming::Released { request } => self.answer(request, Answer::Released, now),
            Incoming::Cancelled { request } => self.answer(request, Answer::Cancelled, now),
            Incoming::Failed { request, error } => self.answer(request, Answer::Failed(error), now),
            Incoming::Blocking { lock, wanted, resource } => match resource {
                Some(resource) if !self.locks.contains(lock) => self.locks.disown(lock, resource),
                _ => self.effects.push_back(Effect::Blocking { lock, wanted }),
            },
            Incoming::Lost { lock, reason } => self.lose_lock(lock, reason),
        }
    }

    /// A link could not be made, or is gone.
    pub(crate) fn handle_disconnected(&mut self, link: LinkId, error: LinkError, now: Timestamp) {
        let attempt = self.attempt.as_ref().is_some_and(|attempt| attempt.link == link);
        let current = self.current.as_ref().is_some_and(|current| current.link == link);
        if self.finished || !(attempt || current) {
            return;
        }
        match error {
            LinkError::SessionOver(reason) => self.end(reason),
            LinkError::Refused(error) if self.identity.is_none() => self.finish(End::OpenFailed(error)),
            LinkError::Broken(error) if attempt => self.attempt_failed(error, true, now),
            LinkError::Refused(error) | LinkError::TurnedAway(error) if attempt => {
                self.attempt_failed(error, false, now);
            }
            LinkError::Refused(_) | LinkError::TurnedAway(_) | LinkError::Broken(_) => self.lose_current(now),
        }
    }

    /// Time has passed: to be called when the moment of [`Machine::poll_timeout`] has come; harmless at any other.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        if self.finished {
            return;
        }
        if self.closing.is_some_and(|at| at <= now) || (self.closing.is_some() && self.is_unopened()) {
            return self.finish(End::Closed { confirmed: self.is_unopened() });
        }
        self.check_deadline(now);
        if self.give_up_at().is_some_and(|at| at <= now) {
            return self.end(LossReason::Unreachable);
        }
        if self.lease.as_ref().is_some_and(|lease| lease.heartbeat_due() <= now) {
            self.heartbeat_due = true;
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.deadline <= now) {
            let timeout = self.attempt_timeout();
            self.attempt_failed(Error::Timeout { timeout }, true, now);
        }
        self.locks.handle_timeout(now);
        if !self.finished && self.attempt.is_none() && self.wants_link(now) && self.route.not_before() <= now
        {
            self.begin_attempt(now);
        }
    }
}

/// Outputs.
impl Machine {
    /// The next frame for a link that has room for one.
    pub(crate) fn poll_frame(&mut self, link: LinkId, now: Timestamp) -> Option<Frame> {
        if self.finished {
            return None;
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.link == link) {
            return self.poll_greeting(now).map(|greeting| Frame { received: 0, messages: vec![greeting] });
        }
        let current = self.current.as_ref().filter(|current| current.link == link)?;
        let credit = (self.limits.unread_frames_max / CREDIT_PART).max(1);
        let owes_credit = current.received - current.acknowledged >= credit;
        let mut messages = Vec::new();
        // The session may be at home elsewhere by now: what this server acknowledged would be worth nothing.
        if self.heartbeat_due
            && !self.is_moving()
            && let Some(lease) = &mut self.lease
        {
            self.heartbeat_due = false;
            messages.push(Outgoing::Heartbeat { epoch: lease.epoch(), nonce: lease.heartbeat_sent(now) });
        }
        if !self.is_moving() {
            let room = self.limits.frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES);
            self.locks.take_requests(now, self.limits.requests_in_flight_max, room, &mut messages);
            if self.closing.is_some() && !self.close_sent && self.locks.is_empty() {
                self.close_sent = true;
                messages.push(Outgoing::Close(self.locks.next_request()));
            }
        }
        if messages.is_empty() && !owes_credit {
            return None;
        }
        let current = self.current.as_mut()?;
        current.acknowledged = current.received;
        Some(Frame { received: current.received, messages })
    }

    /// The next effect.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Machine::handle_timeout`] is to be called next.
    pub(crate) fn poll_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        if self.finished {
            return None;
        }
        let lease = self.lease.as_ref();
        let connect_at = match (&self.attempt, self.wants_link(now)) {
            (Some(attempt), _) => Some(attempt.deadline),
            (None, true) => Some(self.route.not_before()),
            (None, false) => lease.map(ClientLease::reattach_due),
        };
        let unopened = self.closing.filter(|_| self.is_unopened()).map(|_| now);
        [
            unopened,
            self.closing,
            lease.filter(|_| !self.jeopardy).map(|lease| lease.deadline()),
            self.give_up_at(),
            lease.filter(|_| !self.heartbeat_due && self.current.is_some()).map(ClientLease::heartbeat_due),
            connect_at,
            self.locks.next_retry(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
