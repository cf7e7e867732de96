//! What each command does.

use super::{
    Acquire, Applied, Command, Conversion, Convert, Grant, Granted, LockState, Outcome, Patience, Queue,
    Queued, Refusal, Resource, ValueUpdate, Waiter,
};
use crate::{LockKey, Mode, SessionId, Token};
use smallvec::SmallVec;

/// What a command came to, before others are promoted: its outcome, and whether it changed anything.
type Step = (Outcome, bool);

fn refuse(refusal: Refusal) -> Step {
    (Outcome::Refused(refusal), false)
}

impl Resource {
    /// Applies a command. Grants take tokens of the given generation, or of the last one if that is greater.
    ///
    /// If [`Applied::changed`], the outcome holds only once the new state is committed.
    pub fn apply(&mut self, command: &Command, generation: u16) -> Applied {
        let (outcome, changed) = match command {
            Command::Acquire(acquire) => self.acquire(acquire, generation),
            Command::Convert(convert) => self.convert(convert, generation),
            Command::Release { key, value } => self.release(*key, value),
            Command::Cancel { key } => self.cancel(*key),
            Command::Revoke { key, token } => self.revoke(*key, *token),
            Command::Purge { sessions } => self.purge(sessions),
            Command::Query { key } => self.query(*key),
        };
        let promoted = if changed { self.promote(generation) } else { SmallVec::new() };
        #[cfg(debug_assertions)]
        self.assert_invariants();
        Applied { outcome, promoted, changed }
    }

    fn acquire(&mut self, acquire: &Acquire, generation: u16) -> Step {
        let Acquire { key, mode, .. } = *acquire;
        if let Some(known) = self.acquired_before(key, mode) {
            return (known, false);
        }
        if acquire.reentrant
            && let Some(step) = self.reenter(key, mode)
        {
            return step;
        }
        let at_once = mode == Mode::Null || (self.queue.is_none() && self.fits(mode, None));
        if at_once {
            return match self.next_token(generation) {
                Some(token) => {
                    self.insert(key, mode, token, acquire.since_unix_ms);
                    (Outcome::Granted(self.grant(key, &self.granted[&key], true)), true)
                }
                None => refuse(Refusal::TokensExhausted),
            };
        }
        if acquire.patience == Patience::Try {
            return refuse(Refusal::WouldBlock);
        }
        let queue = self.queue.get_or_insert_default();
        if queue.waiting_len() >= acquire.waiters_max as usize {
            if queue.is_empty() {
                self.queue = None;
            }
            return refuse(Refusal::QueueFull { limit: acquire.waiters_max });
        }
        let ticket = queue.push_waiter(Waiter { key, mode, since_unix_ms: acquire.since_unix_ms });
        let ahead = queue.ahead_of_waiter(ticket);
        (Outcome::Queued(Queued { key, ahead, held: None }), true)
    }

    /// The answer to an acquire whose lock id is known: what the first one came to.
    fn acquired_before(&self, key: LockKey, mode: Mode) -> Option<Outcome> {
        Some(match self.lock(key)? {
            LockState::Granted(grant) | LockState::Converting { held: grant, .. } => {
                if mode.at_or_below(grant.mode) {
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

    /// Shares a lock that the session holds, if it holds any. Costs a look at every holder.
    fn reenter(&mut self, key: LockKey, mode: Mode) -> Option<Step> {
        let own = self.granted.iter().filter(|(held, _)| held.session == key.session);
        let (mut covering, mut highest) = (None, None);
        for (held, granted) in own {
            if mode.at_or_below(granted.mode) && covering.is_none() {
                covering = Some(*held);
            }
            highest = Some(highest.map_or(granted.mode, |mode: Mode| mode.join(granted.mode)));
        }
        let Some(primary) = covering else {
            return highest.map(|held| refuse(Refusal::NotCovered { held }));
        };
        self.granted[&primary].aliases.get_or_insert_default().push(key.lock);
        self.aliases.get_or_insert_default().insert(key, primary);
        Some((Outcome::Granted(self.grant(key, &self.granted[&primary], true)), true))
    }

    fn convert(&mut self, convert: &Convert, generation: u16) -> Step {
        let Convert { key, mode, ref value, .. } = *convert;
        let Some(primary) = self.primary(key) else { return refuse(self.why_not_granted(key)) };
        let granted = &self.granted[&primary];
        let held = granted.mode;
        if let Some(pending) = self.conversion_of(granted) {
            if pending.to != mode {
                return refuse(Refusal::ConversionPending { pending: pending.to });
            }
            return self.query(key); // the same conversion again
        }
        if mode.at_or_below(held) {
            return self.convert_down(key, primary, mode, value);
        }
        if *value != ValueUpdate::Keep {
            return refuse(Refusal::ValueNotWritable { held, to: mode });
        }
        let conversions_wait = self.queue.as_deref().is_some_and(|queue| queue.has_conversions());
        if !conversions_wait && self.fits(mode, Some(held)) {
            return match self.next_token(generation) {
                Some(token) => {
                    self.change_mode(primary, mode, Some(token));
                    (Outcome::Granted(self.grant(key, &self.granted[&primary], true)), true)
                }
                None => refuse(Refusal::TokensExhausted),
            };
        }
        // Whoever waits before us waits, directly or not, until our held mode is out of the way, and we would wait
        // behind it: if it conflicts with what any of them wants, neither could ever be served.
        let hopeless = |queue: &Queue| queue.conversions().any(|conversion| !conversion.to.compatible(held));
        if self.queue.as_deref().is_some_and(hopeless) {
            return refuse(Refusal::Deadlock);
        }
        if convert.patience == Patience::Try {
            return refuse(Refusal::WouldBlock);
        }
        let queue = self.queue.get_or_insert_default();
        let ticket = queue.push_conversion(Conversion { key: primary, asked_by: key, to: mode });
        let ahead = queue.ahead_of_conversion(ticket);
        self.granted[&primary].converting = Some(ticket);
        (Outcome::Queued(Queued { key, ahead, held: Some(held) }), true)
    }

    fn convert_down(&mut self, key: LockKey, primary: LockKey, mode: Mode, value: &ValueUpdate) -> Step {
        let held = self.granted[&primary].mode;
        // A retry finds the lock in its new mode and the value written: that is no second write.
        let written_before =
            mode == held && *value == ValueUpdate::Write(self.value.clone()) && self.value_valid;
        if *value != ValueUpdate::Keep && !held.writes_value() && !written_before {
            return refuse(Refusal::ValueNotWritable { held, to: mode });
        }
        let wrote = held.writes_value() && self.update_value(value);
        self.change_mode(primary, mode, None);
        let grant = self.grant(key, &self.granted[&primary], mode == held);
        (Outcome::Granted(grant), wrote || mode != held)
    }

    fn release(&mut self, key: LockKey, value: &ValueUpdate) -> Step {
        let Some(primary) = self.primary(key) else {
            let Some(queue) = self.queue.as_deref_mut() else { return refuse(Refusal::NotFound) };
            if *value != ValueUpdate::Keep && queue.waiter(key).is_some() {
                return refuse(Refusal::ValueNotWritable { held: Mode::Null, to: Mode::Null });
            }
            return match queue.remove_waiter(key) {
                Some(_) => (Outcome::Released, true),
                None => refuse(Refusal::NotFound),
            };
        };
        let held = self.granted[&primary].mode;
        if *value != ValueUpdate::Keep && !held.writes_value() {
            return refuse(Refusal::ValueNotWritable { held, to: Mode::Null });
        }
        self.update_value(value);
        self.let_go(key, primary);
        (Outcome::Released, true)
    }

    fn cancel(&mut self, key: LockKey) -> Step {
        if let Some(primary) = self.primary(key) {
            let granted = &mut self.granted[&primary];
            let ticket = granted.converting.take();
            if let (Some(ticket), Some(queue)) = (ticket, self.queue.as_deref_mut()) {
                queue.remove_conversion(ticket);
            }
            return (Outcome::Granted(self.grant(key, &self.granted[&primary], false)), ticket.is_some());
        }
        match self.queue.as_deref_mut().and_then(|queue| queue.remove_waiter(key)) {
            Some(_) => (Outcome::Cancelled, true),
            None => refuse(Refusal::NotFound),
        }
    }

    fn revoke(&mut self, key: LockKey, token: Option<Token>) -> Step {
        if let Some(primary) = self.primary(key) {
            let Granted { token: current, mode, .. } = self.granted[&primary];
            if token.is_some_and(|token| token != current) {
                return refuse(Refusal::TokenMismatch { current });
            }
            if mode.writes_value() {
                self.value_valid = false;
            }
            self.remove(primary);
            return (Outcome::Released, true);
        }
        match self.queue.as_deref_mut().filter(|_| token.is_none()).and_then(|queue| queue.remove_waiter(key))
        {
            Some(_) => (Outcome::Released, true),
            None => refuse(Refusal::NotFound),
        }
    }

    fn purge(&mut self, sessions: &[SessionId]) -> Step {
        let ended = |key: &LockKey| sessions.contains(&key.session);
        let held: Vec<LockKey> = self.granted.keys().filter(|key| ended(key)).copied().collect();
        for key in &held {
            if self.granted[key].mode.writes_value() {
                self.value_valid = false;
            }
            self.remove(*key);
        }
        let mut waited = Vec::new();
        if let Some(queue) = self.queue.as_deref_mut() {
            waited = queue.waiters().map(|waiter| waiter.key).filter(|key| ended(key)).collect();
            for key in &waited {
                queue.remove_waiter(*key);
            }
        }
        (Outcome::Purged, !held.is_empty() || !waited.is_empty())
    }

    fn query(&self, key: LockKey) -> Step {
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
    fn promote(&mut self, generation: u16) -> SmallVec<[Grant; 1]> {
        let mut promoted = SmallVec::new();
        while let Some(queue) = self.queue.as_deref_mut() {
            if let Some((ticket, Conversion { key, asked_by, to })) = queue.first_conversion() {
                let held = self.granted[&key].mode;
                if !self.fits(to, Some(held)) {
                    break;
                }
                let Some(token) = self.next_token(generation) else { break };
                self.queue.as_deref_mut().and_then(|queue| queue.remove_conversion(ticket));
                self.granted[&key].converting = None;
                self.change_mode(key, to, Some(token));
                promoted.push(self.grant(asked_by, &self.granted[&key], true));
            } else if let Some(Waiter { key, mode, since_unix_ms }) = queue.first_waiter() {
                if !self.fits(mode, None) {
                    break;
                }
                let Some(token) = self.next_token(generation) else { break };
                self.queue.as_deref_mut().and_then(|queue| queue.remove_waiter(key));
                self.insert(key, mode, token, since_unix_ms);
                promoted.push(self.grant(key, &self.granted[&key], true));
            } else {
                self.queue = None;
            }
        }
        promoted
    }

    fn next_token(&mut self, generation: u16) -> Option<Token> {
        self.last_token = self.last_token.raised_to(generation).next()?;
        Some(self.last_token)
    }

    fn insert(&mut self, key: LockKey, mode: Mode, token: Token, since_unix_ms: u64) {
        self.held[mode as usize] += 1;
        self.granted.insert(key, Granted { mode, token, since_unix_ms, converting: None, aliases: None });
    }

    fn change_mode(&mut self, key: LockKey, mode: Mode, token: Option<Token>) {
        let granted = &mut self.granted[&key];
        self.held[granted.mode as usize] -= 1;
        self.held[mode as usize] += 1;
        granted.mode = mode;
        granted.token = token.unwrap_or(granted.token);
    }

    /// Takes one acquire away from a lock, with the conversion that it asked for; the lock goes with the last.
    fn let_go(&mut self, key: LockKey, primary: LockKey) {
        let asked_by = self.conversion_of(&self.granted[&primary]).map(|conversion| conversion.asked_by);
        let granted = &mut self.granted[&primary];
        if asked_by == Some(key)
            && let (Some(ticket), Some(queue)) = (granted.converting.take(), self.queue.as_deref_mut())
        {
            queue.remove_conversion(ticket);
        }
        let Some(aliases) = granted.aliases.as_deref_mut() else { return self.remove(primary) };
        if key == primary {
            // The lock lives on under the oldest of its other acquires.
            return self.rename(primary);
        }
        aliases.retain(|lock| *lock != key.lock);
        if aliases.is_empty() {
            granted.aliases = None;
        }
        self.forget_alias(key);
    }

    /// Gives a lock the key of its oldest alias, which it has.
    fn rename(&mut self, primary: LockKey) {
        let Some(mut granted) = self.granted.swap_remove(&primary) else { return };
        let Some(mut aliases) = granted.aliases.take() else { return };
        let heir = LockKey { session: primary.session, lock: aliases.remove(0) };
        self.forget_alias(heir);
        for lock in aliases.iter() {
            let alias = LockKey { session: primary.session, lock: *lock };
            self.aliases.get_or_insert_default().insert(alias, heir);
        }
        granted.aliases = (!aliases.is_empty()).then_some(aliases);
        if let (Some(ticket), Some(queue)) = (granted.converting, self.queue.as_deref_mut()) {
            queue.rename_conversion(ticket, heir);
        }
        self.granted.insert(heir, granted);
    }

    fn forget_alias(&mut self, key: LockKey) {
        if let Some(aliases) = self.aliases.as_deref_mut() {
            aliases.remove(&key);
            if aliases.is_empty() {
                self.aliases = None;
            }
        }
    }

    /// Takes a lock away with all its acquires and its conversion.
    fn remove(&mut self, primary: LockKey) {
        let Some(granted) = self.granted.swap_remove(&primary) else { return };
        self.held[granted.mode as usize] -= 1;
        if let (Some(ticket), Some(queue)) = (granted.converting, self.queue.as_deref_mut()) {
            queue.remove_conversion(ticket);
        }
        for lock in granted.aliases.into_iter().flat_map(|aliases| *aliases) {
            self.forget_alias(LockKey { session: primary.session, lock });
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

    fn why_not_granted(&self, key: LockKey) -> Refusal {
        match self.queue.as_deref().and_then(|queue| queue.waiter(key)) {
            Some(_) => Refusal::StillWaiting,
            None => Refusal::NotFound,
        }
    }
}
