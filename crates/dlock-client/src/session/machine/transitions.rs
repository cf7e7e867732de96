//! What the inputs of a [`Machine`] do to it.

use super::*;
use std::collections::HashSet;

/// The least time that an attempt to attach gets, however short the session's time to live.
const ATTACH_TIMEOUT_MIN: Duration = Duration::from_millis(250);

/// Links.
impl Machine {
    /// Whether another link is wanted: there is none, or its server is going away, or has been silent for too long.
    pub(super) fn wants_link(&self, now: Timestamp) -> bool {
        let silent = self.lease.as_ref().is_some_and(|lease| lease.reattach_due() <= now);
        self.current.is_none() || self.draining || silent
    }

    /// How long an attempt may take: a session that lives must leave time for another one.
    pub(super) fn attempt_timeout(&self) -> Duration {
        match &self.lease {
            None => self.settings.connect_timeout,
            Some(lease) => self.settings.connect_timeout.min((lease.ttl() / 4).max(ATTACH_TIMEOUT_MIN)),
        }
    }

    pub(super) fn begin_attempt(&mut self, now: Timestamp) {
        let Some(mut endpoint) = self.route.take() else { return };
        // One that is to be left is no place to go to, while there is another.
        if self.current.as_ref().is_some_and(|current| current.endpoint == endpoint)
            && let Some(other) = self.route.take()
        {
            endpoint = other;
        }
        self.links += 1;
        let link = LinkId(self.links);
        let deadline = now + self.attempt_timeout();
        self.attempt =
            Some(Attempt { link, endpoint: endpoint.clone(), deadline, state: AttemptState::Connecting });
        self.effects.push_back(Effect::Connect { link, endpoint });
    }

    /// The first message of a link, once.
    pub(super) fn poll_greeting(&mut self, now: Timestamp) -> Option<Outgoing> {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.state == AttemptState::Connected)?;
        attempt.state = AttemptState::Greeted(now);
        Some(match &self.identity {
            None => Outgoing::Open { ttl: self.settings.ttl, lock_delay: self.settings.lock_delay },
            Some(identity) => Outgoing::Attach {
                session: identity.session,
                secret: identity.secret.clone(),
                attempt: attempt.link.0,
                last_request: self.locks.last_request(),
                claims: self.locks.claims(self.limits.frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES)),
            },
        })
    }

    /// The attempt's server is the session's home: its link is the current one from now on. Returns where it is.
    pub(super) fn adopt(&mut self, link: LinkId, terms: Terms, now: Timestamp) -> Option<Endpoint> {
        self.check_deadline(now);
        let attempt = self.attempt.take()?;
        let AttemptState::Greeted(sent) = attempt.state else {
            self.drop_unasked(attempt, now);
            return None;
        };
        if let Some(old) = self.current.take() {
            self.effects.push_back(Effect::Disconnect { link: old.link });
        }
        self.current =
            Some(Current { link, endpoint: attempt.endpoint.clone(), received: 1, acknowledged: 0 });
        self.draining = false;
        self.heartbeat_due = false;
        self.close_sent = false;
        self.limits = terms.limits;
        self.locks.resend_all();
        self.route.succeeded();
        self.learn(terms.peers);
        self.lock_delay = terms.lock_delay;
        match &mut self.lease {
            None => self.lease = Some(ClientLease::new(terms.ttl, terms.epoch, sent)),
            Some(lease) => lease.reattached(terms.epoch, sent),
        }
        self.lease_extended(now);
        Some(attempt.endpoint)
    }

    pub(super) fn learn(&mut self, peers: Vec<Endpoint>) {
        if self.settings.discover {
            self.route.learn(peers);
        }
    }

    fn drop_unasked(&mut self, attempt: Attempt, now: Timestamp) {
        self.effects.push_back(Effect::Disconnect { link: attempt.link });
        self.route.failed(now, None, &self.entropy);
    }

    /// The attempt has brought nothing. `in_doubt` says that its server may have done what the greeting asked for.
    pub(super) fn attempt_failed(&mut self, error: Error, in_doubt: bool, now: Timestamp) {
        let moving = self.is_moving();
        let Some(attempt) = self.attempt.take() else { return };
        self.effects.push_back(Effect::Disconnect { link: attempt.link });
        self.route.failed(now, error.retry_after(), &self.entropy);
        // An attachment that took effect unnoticed ends the session for want of heartbeats, while the former home has not
        // heard of it and goes on acknowledging: only another attachment is certain to be the newest.
        if moving && in_doubt && self.identity.is_some() {
            self.lose_current(now);
        }
        if self.identity.is_none() && self.route.all_failed() {
            let endpoints = self.route.endpoints().to_vec();
            self.finish(End::OpenFailed(match error {
                Error::Unreachable { source, .. } => Error::Unreachable { endpoints, source },
                error => error,
            }));
        }
    }

    pub(super) fn lose_current(&mut self, now: Timestamp) {
        let Some(current) = self.current.take() else { return };
        self.effects.push_back(Effect::Disconnect { link: current.link });
        self.draining = false;
        self.route.broken(now, &self.entropy);
        // A move that is under way ends the old link as a matter of course.
        if !self.is_moving() {
            self.event(|session| SessionEvent::Disconnected { session });
        }
    }

    /// Whether a greeting is unanswered: the session may be at home elsewhere by now.
    pub(super) fn is_moving(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| matches!(attempt.state, AttemptState::Greeted(_)))
    }

    /// A link whose server does not keep to the protocol, or has nothing more to say.
    pub(super) fn drop_link(&mut self, link: LinkId, error: Error, now: Timestamp) {
        if self.attempt.as_ref().is_some_and(|attempt| attempt.link == link) {
            self.attempt_failed(error, true, now);
        } else {
            self.lose_current(now);
        }
    }
}

/// The lease.
impl Machine {
    pub(super) fn handle_heartbeat_ack(&mut self, epoch: Epoch, nonce: u64, now: Timestamp) {
        // First the old deadline: an acknowledgement that comes after it does not undo it.
        self.check_deadline(now);
        if self.lease.as_mut().is_some_and(|lease| lease.acknowledged(epoch, nonce)) {
            let recovered = self.jeopardy;
            self.lease_extended(now);
            if recovered
                && !self.jeopardy
                && let Some(endpoint) = self.current.as_ref().map(|current| current.endpoint.clone())
            {
                self.event(|session| SessionEvent::Reattached { session, endpoint });
            }
        }
    }

    /// Declares jeopardy when the deadline has passed.
    pub(super) fn check_deadline(&mut self, now: Timestamp) {
        if !self.jeopardy && self.lease.as_ref().is_some_and(|lease| lease.deadline() <= now) {
            self.jeopardy = true;
            self.effects.push_back(Effect::Jeopardy);
            self.event(|session| SessionEvent::Jeopardy { session });
        }
    }

    fn lease_extended(&mut self, now: Timestamp) {
        if let Some(lease) = &self.lease {
            self.effects.push_back(Effect::Deadline(lease.deadline()));
            if lease.deadline() > now {
                self.jeopardy = false;
            }
        }
        // The acknowledgement of something sent long ago: the new deadline may be over, too.
        self.check_deadline(now);
    }

    /// When a session in jeopardy is given up: it must have expired long ago, wherever it is at home.
    pub(super) fn give_up_at(&self) -> Option<Timestamp> {
        let lease = self.lease.as_ref().filter(|_| self.jeopardy)?;
        Some(lease.deadline() + lease.ttl() + self.lock_delay + GIVE_UP_AFTER)
    }
}

/// Locks and the end.
impl Machine {
    pub(super) fn answer(&mut self, request: RequestId, answer: Answer, now: Timestamp) {
        if let Some((lock, outcome)) = self.locks.answer(request, answer, now, &self.entropy) {
            self.effects.push_back(match outcome {
                Outcome::Absent => Effect::Lost { lock, reason: LossReason::Absent },
                outcome => Effect::Outcome { lock, outcome },
            });
        }
    }

    /// How the claimed locks stand at the new home. What it does not say of a held lock is asked for.
    pub(super) fn settle_claims(&mut self, claims: Vec<(LockId, ClaimState)>) {
        let mut known = HashSet::with_capacity(claims.len());
        for (lock, state) in claims {
            match state {
                ClaimState::Held(grant) => {
                    if let Some(outcome) = self.locks.confirm(lock, &grant) {
                        self.effects.push_back(Effect::Outcome { lock, outcome });
                    }
                }
                ClaimState::Absent => self.lose_claimed(lock),
                ClaimState::Queued => {}
                ClaimState::Unknown => continue,
            }
            known.insert(lock);
        }
        self.locks.verify_all_but(&known);
    }

    /// A claimed lock is not recorded. An acquire without an answer may never have arrived: it is sent again anyway, and
    /// so is a release that was asked for since.
    fn lose_claimed(&mut self, lock: LockId) {
        if self.locks.is_held(lock) && !self.locks.may_be_released(lock) {
            self.lose_lock(lock, LossReason::Absent);
        }
    }

    pub(super) fn lose_lock(&mut self, lock: LockId, reason: LossReason) {
        let released = self.locks.may_be_released(lock);
        if !self.locks.forget(lock) {
            return;
        }
        self.effects.push_back(if released {
            Effect::Outcome { lock, outcome: Outcome::Released }
        } else {
            Effect::Lost { lock, reason }
        });
    }

    /// The service says that the session is over, or nobody can be asked.
    pub(super) fn end(&mut self, reason: LossReason) {
        let closed = self.closing.is_some() && reason != LossReason::Unreachable;
        if self.identity.is_none() {
            self.finish(End::OpenFailed(Error::SessionLost { reason }));
        } else if closed {
            self.finish(End::Closed { confirmed: true });
        } else {
            self.event(|session| SessionEvent::Lost { session, reason });
            self.finish(End::Lost(reason));
        }
    }

    pub(super) fn finish(&mut self, end: End) {
        self.finished = true;
        self.effects.push_back(Effect::Finished(end));
    }

    /// Whether no server can know of the session.
    pub(super) fn is_unopened(&self) -> bool {
        self.identity.is_none() && !self.is_moving()
    }

    pub(super) fn event(&mut self, event: impl FnOnce(SessionId) -> SessionEvent) {
        if let Some(identity) = &self.identity {
            self.effects.push_back(Effect::Event(event(identity.session)));
        }
    }
}
