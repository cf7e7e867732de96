//! What each command does.

use super::{
    Acquire, Alias, Applied, Claim, Command, Conversion, Convert, Grant, Granted, LockState, Outcome,
    Patience, Queue, Queued, Refusal, Resource, ValueUpdate, Waiter,
};
use crate::{LockKey, Mode, SessionId, Token};
use std::collections::BTreeSet;

/// What a command came to, before others are promoted: its outcome, and whether it changed anything.
type Step = (Outcome, bool);

fn refuse(refusal: Refusal) -> Step {
    (Outcome::Refused(refusal), false)
}

impl Resource {
    /// Applies a command. Grants take a token of the given generation, or of the last token's if that is greater.
    ///
    /// If [`Applied::changed`], the outcome holds only once the new state is committed.
    pub fn apply(&mut self, command: &Command, generation: u16) -> Applied {
        // All that one command grants is held together when it is done, hence compatible, and shares one token: it is
        // greater than that of every earlier grant, and smaller than that of every later one.
        let token = self.last_token.raised_to(generation).next();
        let (outcome, changed) = match command {
            Command::Acquire(acquire) => self.acquire(acquire, token),
            Command::Convert(convert) => self.convert(convert, token),
            Command::Release { key, value } => self.release(*key, value),
            Command::Cancel { key } => self.cancel(*key),
            Command::Revoke { key, token } => self.revoke(*key, *token),
            Command::Purge { sessions } => self.purge(sessions),
            Command::Query { key } | Command::Claim(Claim { key, .. }) => self.query(*key),
        };
        let promoted = if changed { self.promote(token) } else { Vec::new() };
        #[cfg(debug_assertions)]
        self.assert_invariants();
        Applied { outcome, promoted, changed }
    }

    fn acquire(&mut self, acquire: &Acquire, token: Option<Token>) -> Step {
        let Acquire { key, mode, since_unix_ms, .. } = *acquire;
        if let Some(known) = self.acquired_before(key, mode) {
            return (known, false);
        }
        if acquire.reentrant
            && let Some(step) = self.reenter(key, mode)
        {
            return step;
        }
        if mode == Mode::Null || (self.queue.is_none() && self.holders.fits(mode, None)) {
            let Some(token) = token else { return refuse(Refusal::TokensExhausted) };
            return (Outcome::Granted(self.hold(key, mode, token, since_unix_ms)), true);
        }
        if acquire.patience == Patience::Try {
            return refuse(Refusal::WouldBlock);
        }
        let waiting = self.queue.as_deref().map_or(0, Queue::waiting_len);
        if waiting >= acquire.waiters_max as usize {
            return refuse(Refusal::QueueFull { limit: acquire.waiters_max });
        }
        let queue = self.queue.get_or_insert_default();
        let ticket = queue.push_waiter(Waiter { key, mode, since_unix_ms });
        (Outcome::Queued(Queued { key, ahead: queue.ahead_of_waiter(ticket), held: None }), true)
    }

    /// The answer to an acquire whose lock id is known: what the first one came to.
    fn acquired_before(&self, key: LockKey, mode: Mode) -> Option<Outcome> {
        Some(match self.lock(key)? {
            LockState::Granted(grant) | LockState::Converting { held: grant, .. } => {
                // It may have been converted since: to those who asked for this mode it is the same lock.
                if mode.at_or_below(grant.mode) || self.asked(key) == Some(mode) {
                    Outcome::Granted(grant)
                } else {
                    Outcome::Refused(Refusal::LockIdInUse { mode: grant.mode })
                }
            }
            LockState::Waiting { mode: asked, ahead, .. } if asked == mode => {
                Outcome::Queued(Queued { key, ahead, held: None })
            }
            LockState::Waiting { mode: asked, .. } => Outcome::Refused(Refusal::LockIdInUse { mode: asked }),
        })
    }

    /// The mode that a granted lock was acquired in under this key.
    fn asked(&self, key: LockKey) -> Option<Mode> {
        let (primary, granted) = self.holders.find(key)?;
        if primary == key {
            return Some(granted.asked);
        }
        granted.aliases().iter().find(|alias| alias.lock == key.lock).map(|alias| alias.asked)
    }

    /// Shares a lock that the session holds, if it holds any: of those that cover the request, the one with the
    /// smallest id. Costs a look at every holder.
    fn reenter(&mut self, key: LockKey, mode: Mode) -> Option<Step> {
        let own = || self.holders.iter().filter(|(held, _)| held.session == key.session);
        let Some(primary) =
            own().filter(|(_, granted)| mode.at_or_below(granted.mode())).map(|(held, _)| held).min()
        else {
            let held = own().map(|(_, granted)| granted.mode()).reduce(Mode::join)?;
            return Some(refuse(Refusal::NotCovered { held }));
        };
        self.holders.share(primary, Alias { lock: key.lock, asked: mode });
        let (_, granted) = self.holders.find(primary)?;
        Some((Outcome::Granted(self.grant(key, granted, true)), true))
    }

    fn convert(&mut self, convert: &Convert, token: Option<Token>) -> Step {
        let Convert { key, mode, ref value, .. } = *convert;
        let Some((primary, granted)) = self.holders.find(key) else { return refuse(self.why_not_held(key)) };
        let held = granted.mode();
        let pending = self.conversion_of(granted).copied();
        if let Some(other) = pending.filter(|pending| pending.to != mode || pending.asked_by != key) {
            return refuse(Refusal::ConversionPending { pending: other.to });
        }
        if mode.at_or_below(held) {
            return self.convert_down(key, mode, value);
        }
        if *value != ValueUpdate::Keep {
            return refuse(Refusal::ValueNotWritable { held, to: mode });
        }
        if pending.is_some() {
            return self.query(key); // the same conversion again
        }
        let queue = self.queue.as_deref();
        if queue.is_none_or(|queue| !queue.has_conversions()) && self.holders.fits(mode, Some(held)) {
            let Some(token) = token else { return refuse(Refusal::TokensExhausted) };
            return match self.raise(key, mode, token) {
                Some(grant) => (Outcome::Granted(grant), true),
                None => refuse(Refusal::NotFound),
            };
        }
        // Whoever waits before us waits, directly or not, until our held mode is out of the way, and we would wait
        // behind it: if it conflicts with what any of them wants, neither could ever be served. Where nobody in the
        // queue stands in the way of those before it, as this ensures, all wait for holders who are free to go.
        let hopeless = |queue: &Queue| queue.conversions().any(|before| !before.to.compatible(held));
        if queue.is_some_and(hopeless) {
            return refuse(Refusal::Deadlock);
        }
        if convert.patience == Patience::Try {
            return refuse(Refusal::WouldBlock);
        }
        let queue = self.queue.get_or_insert_default();
        let ticket = queue.push_conversion(Conversion { asked_by: key, to: mode });
        let ahead = queue.ahead_of_conversion(ticket);
        self.holders.set_converting(primary, Some(ticket));
        (Outcome::Queued(Queued { key, ahead, held: Some(held) }), true)
    }

    /// A conversion to a mode at or below the held one.
    fn convert_down(&mut self, key: LockKey, mode: Mode, value: &ValueUpdate) -> Step {
        let Some((primary, granted)) = self.holders.find(key) else { return refuse(Refusal::NotFound) };
        let held = granted.mode();
        // The same command sent again finds the lock in its new mode, and the value as it had left it: then it has
        // nothing to write.
        let writes = held.writes_value();
        let written_before = mode == held
            && match value {
                ValueUpdate::Keep => true,
                ValueUpdate::Write(block) => self.value_valid && *block == self.value,
                ValueUpdate::Invalidate => !self.value_valid,
            };
        if *value != ValueUpdate::Keep && !writes && !written_before {
            return refuse(Refusal::ValueNotWritable { held, to: mode });
        }
        let wrote = writes && self.update_value(value);
        self.holders.set_mode(primary, mode);
        match self.holders.find(primary) {
            Some((_, granted)) => {
                (Outcome::Granted(self.grant(key, granted, mode == held)), wrote || mode != held)
            }
            None => refuse(Refusal::NotFound),
        }
    }

    fn release(&mut self, key: LockKey, value: &ValueUpdate) -> Step {
        let held = match self.holders.find(key) {
            Some((_, granted)) => granted.mode(),
            None if self.is_waiting(key) => Mode::Null,
            None => return refuse(Refusal::NotFound),
        };
        if *value != ValueUpdate::Keep && !held.writes_value() {
            return refuse(Refusal::ValueNotWritable { held, to: Mode::Null });
        }
        self.update_value(value);
        self.stop_waiting(key);
        self.holders.release(key);
        (Outcome::Released, true)
    }

    fn cancel(&mut self, key: LockKey) -> Step {
        let stopped = self.stop_waiting(key);
        match self.holders.find(key) {
            Some((_, granted)) => (Outcome::Granted(self.grant(key, granted, false)), stopped),
            None if stopped => (Outcome::Cancelled, true),
            None => refuse(Refusal::NotFound),
        }
    }

    fn revoke(&mut self, key: LockKey, token: Option<Token>) -> Step {
        if let Some((primary, granted)) = self.holders.find(key) {
            let current = granted.token;
            if token.is_some_and(|token| token != current) {
                return refuse(Refusal::TokenMismatch { current });
            }
            self.take_away(primary);
            return (Outcome::Released, true);
        }
        // Who waits has no token: a command that names one does not mean it.
        if token.is_none() && self.stop_waiting(key) {
            return (Outcome::Released, true);
        }
        refuse(Refusal::NotFound)
    }

    fn purge(&mut self, sessions: &[SessionId]) -> Step {
        let sessions: BTreeSet<&SessionId> = sessions.iter().collect();
        let ended = |key: &LockKey| sessions.contains(&key.session);
        let held: Vec<LockKey> = self.holders.iter().map(|(key, _)| key).filter(ended).collect();
        let waiters = self.queue.iter().flat_map(|queue| queue.waiters());
        let waiting: Vec<LockKey> = waiters.map(|waiter| waiter.key).filter(ended).collect();
        for key in &held {
            self.take_away(*key);
        }
        for key in &waiting {
            self.stop_waiting(*key);
        }
        (Outcome::Purged, !held.is_empty() || !waiting.is_empty())
    }

    pub(super) fn query(&self, key: LockKey) -> Step {
        let outcome = match self.lock(key) {
            Some(LockState::Granted(grant)) => Outcome::Granted(grant),
            Some(LockState::Converting { held, ahead, .. }) => {
                Outcome::Queued(Queued { key, ahead, held: Some(held.mode) })
            }
            Some(LockState::Waiting { ahead, .. }) => Outcome::Queued(Queued { key, ahead, held: None }),
            None => Outcome::Refused(Refusal::NotFound),
        };
        (outcome, false)
    }

    /// Grants whatever can be granted from the front of the queue.
    fn promote(&mut self, token: Option<Token>) -> Vec<Grant> {
        let mut promoted = Vec::new();
        while let Some(queue) = self.queue.as_deref_mut() {
            // Without a token left, those who wait go on waiting: the store's next generation has tokens again.
            if let Some((ticket, Conversion { asked_by, to })) = queue.first_conversion() {
                let held = self.holders.find(asked_by).map(|(_, granted)| granted.mode());
                let Some(token) = token.filter(|_| self.holders.fits(to, held)) else { break };
                queue.remove_conversion(ticket);
                promoted.extend(self.raise(asked_by, to, token));
            } else if let Some(Waiter { key, mode, since_unix_ms }) = queue.first_waiter() {
                let Some(token) = token.filter(|_| self.holders.fits(mode, None)) else { break };
                queue.remove_waiter(key);
                promoted.push(self.hold(key, mode, token, since_unix_ms));
            } else {
                self.queue = None;
            }
        }
        promoted
    }

    /// Grants a new lock.
    fn hold(&mut self, key: LockKey, mode: Mode, token: Token, since_unix_ms: u64) -> Grant {
        self.last_token = token;
        let granted = Granted::new(mode, mode, token, since_unix_ms);
        let grant = self.grant(key, &granted, true);
        self.holders.insert(key, granted);
        grant
    }

    /// Grants a conversion that is not a downgrade, to the held lock that `key` names.
    fn raise(&mut self, key: LockKey, mode: Mode, token: Token) -> Option<Grant> {
        let primary = self.primary(key)?;
        self.holders.raise(primary, mode, token);
        self.last_token = token;
        let (_, granted) = self.holders.find(primary)?;
        Some(self.grant(key, granted, true))
    }

    /// Withdraws the request, or the conversion, that waits under this key; whether there was one.
    fn stop_waiting(&mut self, key: LockKey) -> bool {
        let Some(queue) = self.queue.as_deref_mut() else { return false };
        let Some((primary, granted)) = self.holders.find(key) else {
            return queue.remove_waiter(key).is_some();
        };
        let own = |ticket: &u64| queue.conversion(*ticket).is_some_and(|own| own.asked_by == key);
        let Some(ticket) = granted.converting.filter(own) else { return false };
        self.holders.set_converting(primary, None);
        queue.remove_conversion(ticket).is_some()
    }

    /// Takes a lock away by no act of its holder: what it was writing may be half done.
    fn take_away(&mut self, primary: LockKey) {
        let Some(gone) = self.holders.remove(primary) else { return };
        self.value_valid &= !gone.mode().writes_value();
        if let (Some(ticket), Some(queue)) = (gone.converting, self.queue.as_deref_mut()) {
            queue.remove_conversion(ticket);
        }
    }

    /// Whether that changed anything.
    fn update_value(&mut self, value: &ValueUpdate) -> bool {
        match value {
            ValueUpdate::Keep => false,
            ValueUpdate::Write(block) => {
                let changed = self.value != *block || !self.value_valid;
                self.value = block.clone();
                self.value_valid = true;
                changed
            }
            ValueUpdate::Invalidate => std::mem::replace(&mut self.value_valid, false),
        }
    }

    fn is_waiting(&self, key: LockKey) -> bool {
        self.queue.as_deref().is_some_and(|queue| queue.waiter(key).is_some())
    }

    fn why_not_held(&self, key: LockKey) -> Refusal {
        if self.is_waiting(key) { Refusal::StillWaiting } else { Refusal::NotFound }
    }
}
