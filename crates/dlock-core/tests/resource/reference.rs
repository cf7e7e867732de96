//! The rules of one resource, written down naively and independently: plain lists, no indexes, no cleverness.

use dlock_core::resource::{
    Acquire, Claim, Command, Convert, Grant, Outcome, Patience, Queued, Refusal, ValueUpdate,
};
use dlock_core::{LockId, LockKey, Mode, SessionId, Token, ValueBlock, ValueRead};

/// A lock that is held.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Whose it is, and the mode each was acquired in: one, or several that share it, oldest first.
    pub keys: Vec<(LockKey, Mode)>,
    pub mode: Mode,
    pub token: u64,
    pub since: u64,
}

/// A held lock that waits for another mode.
#[derive(Clone, Debug, PartialEq)]
pub struct Converting {
    pub asked_by: LockKey,
    pub to: Mode,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub key: LockKey,
    pub mode: Mode,
    pub since: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Reference {
    pub held: Vec<Held>,
    pub converting: Vec<Converting>,
    pub waiting: Vec<Waiting>,
    pub last_token: u64,
    pub value: ValueBlock,
    pub stale: bool,
}

/// The table, row by row: held in, asked for.
pub fn compatible(a: Mode, b: Mode) -> bool {
    const TABLE: [[u8; 6]; 6] = [
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
    ];
    TABLE[a as usize][b as usize] == 1
}

/// NL < CR < {CW, PR} < PW < EX.
fn at_or_below(low: Mode, high: Mode) -> bool {
    let rank = |mode: Mode| [0, 1, 2, 2, 3, 4][mode as usize];
    low == high || rank(low) < rank(high)
}

fn writes(mode: Mode) -> bool {
    matches!(mode, Mode::ProtectedWrite | Mode::Exclusive)
}

fn no(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}

impl Held {
    pub fn has(&self, key: LockKey) -> bool {
        self.keys.iter().any(|(own, _)| *own == key)
    }
}

impl Reference {
    /// What the sender is told, and who else is granted a lock.
    pub fn apply(&mut self, command: &Command, generation: u16) -> (Outcome, Vec<Grant>) {
        let token = self.last_token.max(u64::from(generation) << 48) + 1;
        let outcome = match command {
            Command::Acquire(acquire) => self.acquire(acquire, token),
            Command::Convert(convert) => self.convert(convert, token),
            Command::Release { key, value } => self.release(*key, value),
            Command::Cancel { key } => self.cancel(*key),
            Command::Revoke { key, token } => self.revoke(*key, token.map(Token::get)),
            Command::Purge { sessions } => {
                while let Some(at) =
                    self.held.iter().position(|held| sessions.contains(&held.keys[0].0.session))
                {
                    self.take_away(at);
                }
                self.waiting.retain(|waiting| !sessions.contains(&waiting.key.session));
                Outcome::Purged
            }
            Command::Query { key } | Command::Claim(Claim { key, .. }) => self.query(*key),
        };
        (outcome, self.promote(token))
    }

    pub fn holder(&self, key: LockKey) -> Option<usize> {
        self.held.iter().position(|held| held.has(key))
    }

    fn waiter(&self, key: LockKey) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.key == key)
    }

    /// The waiting conversion of this held lock, whichever of its acquires asked for it.
    pub fn conversion(&self, holder: usize) -> Option<usize> {
        self.converting.iter().position(|converting| self.held[holder].has(converting.asked_by))
    }

    fn fits(&self, mode: Mode, but: Option<usize>) -> bool {
        self.held.iter().enumerate().all(|(at, held)| Some(at) == but || compatible(held.mode, mode))
    }

    fn grant(&self, key: LockKey, holder: usize, with_value: bool) -> Grant {
        let held = &self.held[holder];
        let value = ValueRead { block: self.value.clone(), valid: !self.stale };
        Grant {
            key,
            mode: held.mode,
            token: Token::from_u64(held.token).unwrap(),
            holds: held.keys.len() as u32,
            value: (with_value && held.mode != Mode::Null).then_some(value),
        }
    }

    pub fn query(&self, key: LockKey) -> Outcome {
        if let Some(at) = self.converting.iter().position(|converting| converting.asked_by == key) {
            let held = self.held[self.holder(key).unwrap()].mode;
            return Outcome::Queued(Queued { key, ahead: at as u32, held: Some(held) });
        }
        if let Some(holder) = self.holder(key) {
            return Outcome::Granted(self.grant(key, holder, true));
        }
        match self.waiter(key) {
            Some(at) => {
                let ahead = (self.converting.len() + at) as u32;
                Outcome::Queued(Queued { key, ahead, held: None })
            }
            None => no(Refusal::NotFound),
        }
    }

    fn acquire(&mut self, acquire: &Acquire, token: u64) -> Outcome {
        let Acquire { key, mode, since_unix_ms: since, .. } = *acquire;
        if let Some(holder) = self.holder(key) {
            let held = &self.held[holder];
            if held.keys.contains(&(key, mode)) || at_or_below(mode, held.mode) {
                return Outcome::Granted(self.grant(key, holder, true));
            }
            return no(Refusal::LockIdInUse { mode: held.mode });
        }
        if let Some(waiter) = self.waiter(key) {
            let asked = self.waiting[waiter].mode;
            return if asked == mode { self.query(key) } else { no(Refusal::LockIdInUse { mode: asked }) };
        }
        if acquire.reentrant {
            let own = |held: &&Held| held.keys[0].0.session == key.session;
            let mut covering: Vec<LockKey> = Vec::new();
            let mut highest = None;
            for held in self.held.iter().filter(own) {
                if at_or_below(mode, held.mode) {
                    covering.push(held.keys[0].0);
                }
                highest = Some(highest.map_or(held.mode, |highest: Mode| highest.join(held.mode)));
            }
            if let Some(primary) = covering.into_iter().min() {
                let holder = self.holder(primary).unwrap();
                self.held[holder].keys.push((key, mode));
                return Outcome::Granted(self.grant(key, holder, true));
            }
            if let Some(held) = highest {
                return no(Refusal::NotCovered { held });
            }
        }
        let free = self.converting.is_empty() && self.waiting.is_empty() && self.fits(mode, None);
        if mode == Mode::Null || free {
            return Outcome::Granted(self.hold(key, mode, since, token));
        }
        if acquire.patience == Patience::Try {
            return no(Refusal::WouldBlock);
        }
        if self.waiting.len() >= acquire.waiters_max as usize {
            return no(Refusal::QueueFull { limit: acquire.waiters_max });
        }
        self.waiting.push(Waiting { key, mode, since });
        self.query(key)
    }

    fn convert(&mut self, convert: &Convert, token: u64) -> Outcome {
        let Convert { key, mode, ref value, patience } = *convert;
        let Some(holder) = self.holder(key) else {
            return no(if self.waiter(key).is_some() { Refusal::StillWaiting } else { Refusal::NotFound });
        };
        let held = self.held[holder].mode;
        let not_writable = no(Refusal::ValueNotWritable { held, to: mode });
        let pending = self.conversion(holder).map(|at| self.converting[at].clone());
        if let Some(Converting { asked_by, to }) = pending {
            return match (asked_by == key && to == mode, value) {
                (true, ValueUpdate::Keep) => self.query(key),
                (true, _) => not_writable,
                (false, _) => no(Refusal::ConversionPending { pending: to }),
            };
        }
        if at_or_below(mode, held) {
            let done_before = mode == held
                && match value {
                    ValueUpdate::Keep => true,
                    ValueUpdate::Write(block) => !self.stale && *block == self.value,
                    ValueUpdate::Invalidate => self.stale,
                };
            if *value != ValueUpdate::Keep && !writes(held) && !done_before {
                return not_writable;
            }
            self.update_value(value);
            self.held[holder].mode = mode;
            return Outcome::Granted(self.grant(key, holder, mode == held));
        }
        if *value != ValueUpdate::Keep {
            return not_writable;
        }
        if self.converting.is_empty() && self.fits(mode, Some(holder)) {
            return Outcome::Granted(self.raise(key, mode, token));
        }
        if self.converting.iter().any(|before| !compatible(before.to, held)) {
            return no(Refusal::Deadlock);
        }
        if patience == Patience::Try {
            return no(Refusal::WouldBlock);
        }
        self.converting.push(Converting { asked_by: key, to: mode });
        self.query(key)
    }

    fn release(&mut self, key: LockKey, value: &ValueUpdate) -> Outcome {
        let mode = match (self.holder(key), self.waiter(key)) {
            (Some(holder), _) => self.held[holder].mode,
            (None, Some(_)) => Mode::Null,
            (None, None) => return no(Refusal::NotFound),
        };
        if *value != ValueUpdate::Keep && !writes(mode) {
            return no(Refusal::ValueNotWritable { held: mode, to: Mode::Null });
        }
        self.update_value(value);
        self.waiting.retain(|waiting| waiting.key != key);
        self.converting.retain(|converting| converting.asked_by != key);
        for held in &mut self.held {
            held.keys.retain(|(own, _)| *own != key);
        }
        self.held.retain(|held| !held.keys.is_empty());
        Outcome::Released
    }

    fn cancel(&mut self, key: LockKey) -> Outcome {
        self.converting.retain(|converting| converting.asked_by != key);
        if let Some(holder) = self.holder(key) {
            return Outcome::Granted(self.grant(key, holder, false));
        }
        match self.waiter(key) {
            Some(at) => {
                self.waiting.remove(at);
                Outcome::Cancelled
            }
            None => no(Refusal::NotFound),
        }
    }

    fn revoke(&mut self, key: LockKey, token: Option<u64>) -> Outcome {
        if let Some(holder) = self.holder(key) {
            let current = self.held[holder].token;
            if token.is_some_and(|token| token != current) {
                return no(Refusal::TokenMismatch { current: Token::from_u64(current).unwrap() });
            }
            self.take_away(holder);
            return Outcome::Released;
        }
        match self.waiter(key).filter(|_| token.is_none()) {
            Some(at) => {
                self.waiting.remove(at);
                Outcome::Released
            }
            None => no(Refusal::NotFound),
        }
    }

    /// A lock goes by no act of its holder.
    fn take_away(&mut self, holder: usize) {
        let held = self.held.remove(holder);
        self.stale |= writes(held.mode);
        self.converting.retain(|converting| !held.has(converting.asked_by));
    }

    fn update_value(&mut self, value: &ValueUpdate) {
        match value {
            ValueUpdate::Keep => {}
            ValueUpdate::Write(block) => (self.value, self.stale) = (block.clone(), false),
            ValueUpdate::Invalidate => self.stale = true,
        }
    }

    fn promote(&mut self, token: u64) -> Vec<Grant> {
        let mut promoted = Vec::new();
        while let Some(Converting { asked_by, to }) = self.converting.first().cloned() {
            if !self.fits(to, self.holder(asked_by)) {
                return promoted;
            }
            self.converting.remove(0);
            promoted.push(self.raise(asked_by, to, token));
        }
        while let Some(Waiting { key, mode, since }) = self.waiting.first().cloned() {
            if !self.fits(mode, None) {
                return promoted;
            }
            self.waiting.remove(0);
            promoted.push(self.hold(key, mode, since, token));
        }
        promoted
    }

    fn hold(&mut self, key: LockKey, mode: Mode, since: u64, token: u64) -> Grant {
        self.last_token = token;
        self.held.push(Held { keys: vec![(key, mode)], mode, token, since });
        self.grant(key, self.held.len() - 1, true)
    }

    fn raise(&mut self, key: LockKey, mode: Mode, token: u64) -> Grant {
        let holder = self.holder(key).unwrap();
        self.last_token = token;
        (self.held[holder].mode, self.held[holder].token) = (mode, token);
        self.grant(key, holder, true)
    }
}

pub fn key(session: u128, lock: u64) -> LockKey {
    LockKey { session: SessionId(session), lock: LockId(lock) }
}
