//! The rules of one resource, written down naively and independently: plain lists, no indexes, no cleverness.

use dlock_core::resource::{Command, Patience, ValueUpdate};
use dlock_core::{LockId, LockKey, Mode, SessionId, ValueBlock};

#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub keys: Vec<LockKey>,
    pub mode: Mode,
    pub token: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Converting {
    pub asked_by: LockKey,
    pub to: Mode,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub key: LockKey,
    pub mode: Mode,
}

/// What the reference says of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Granted { mode: Mode, token: u64, holds: usize },
    Queued { ahead: usize },
    Released,
    Cancelled,
    Purged,
    Refused(&'static str),
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
pub fn at_or_below(low: Mode, high: Mode) -> bool {
    let rank = |mode: Mode| [0, 1, 2, 2, 3, 4][mode as usize];
    low == high || rank(low) < rank(high)
}

impl Reference {
    fn holder(&self, key: LockKey) -> Option<usize> {
        self.held.iter().position(|held| held.keys.contains(&key))
    }

    fn waiter(&self, key: LockKey) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.key == key)
    }

    fn conversion(&self, holder: usize) -> Option<usize> {
        self.converting.iter().position(|converting| self.held[holder].keys.contains(&converting.asked_by))
    }

    fn fits(&self, mode: Mode, but: Option<usize>) -> bool {
        self.held.iter().enumerate().all(|(at, held)| Some(at) == but || compatible(held.mode, mode))
    }

    fn granted(&self, holder: usize) -> Answer {
        let Held { keys, mode, token } = &self.held[holder];
        Answer::Granted { mode: *mode, token: *token, holds: keys.len() }
    }

    fn token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    pub fn apply(&mut self, command: &Command) -> Answer {
        let answer = self.decide(command);
        self.promote();
        answer
    }

    fn decide(&mut self, command: &Command) -> Answer {
        match command {
            Command::Acquire(acquire) => {
                let (key, mode) = (acquire.key, acquire.mode);
                if let Some(holder) = self.holder(key) {
                    let covers = at_or_below(mode, self.held[holder].mode);
                    return if covers { self.granted(holder) } else { Answer::Refused("id in use") };
                }
                if let Some(waiter) = self.waiter(key) {
                    let same = self.waiting[waiter].mode == mode;
                    let ahead = self.converting.len() + waiter;
                    return if same { Answer::Queued { ahead } } else { Answer::Refused("id in use") };
                }
                let own: Vec<usize> =
                    (0..self.held.len()).filter(|at| self.held[*at].keys[0].session == key.session).collect();
                if acquire.reentrant && !own.is_empty() {
                    // Which of several covering locks is shared is not said: any will do for the caller.
                    let Some(holder) = own.into_iter().find(|at| at_or_below(mode, self.held[*at].mode))
                    else {
                        return Answer::Refused("not covered");
                    };
                    self.held[holder].keys.push(key);
                    return self.granted(holder);
                }
                let free = self.converting.is_empty() && self.waiting.is_empty() && self.fits(mode, None);
                if mode == Mode::Null || free {
                    let token = self.token();
                    self.held.push(Held { keys: vec![key], mode, token });
                    return self.granted(self.held.len() - 1);
                }
                if acquire.patience == Patience::Try {
                    return Answer::Refused("would block");
                }
                if self.waiting.len() >= acquire.waiters_max as usize {
                    return Answer::Refused("queue full");
                }
                self.waiting.push(Waiting { key, mode });
                Answer::Queued { ahead: self.converting.len() + self.waiting.len() - 1 }
            }
            Command::Convert(convert) => {
                let Some(holder) = self.holder(convert.key) else {
                    let waits = self.waiter(convert.key).is_some();
                    return Answer::Refused(if waits { "still waiting" } else { "not found" });
                };
                let held = self.held[holder].mode;
                if let Some(at) = self.conversion(holder) {
                    let same = self.converting[at].to == convert.mode;
                    return if same {
                        Answer::Queued { ahead: at }
                    } else {
                        Answer::Refused("conversion pending")
                    };
                }
                if at_or_below(convert.mode, held) {
                    let writes = matches!(held, Mode::ProtectedWrite | Mode::Exclusive);
                    let again = convert.mode == held
                        && !self.stale
                        && convert.value == ValueUpdate::Write(self.value.clone());
                    if convert.value != ValueUpdate::Keep && !writes && !again {
                        return Answer::Refused("value not writable");
                    }
                    if writes {
                        self.update_value(&convert.value);
                    }
                    self.held[holder].mode = convert.mode;
                    return self.granted(holder);
                }
                if convert.value != ValueUpdate::Keep {
                    return Answer::Refused("value not writable");
                }
                if self.converting.is_empty() && self.fits(convert.mode, Some(holder)) {
                    let token = self.token();
                    self.held[holder].mode = convert.mode;
                    self.held[holder].token = token;
                    return self.granted(holder);
                }
                if self.converting.iter().any(|before| !compatible(before.to, held)) {
                    return Answer::Refused("deadlock");
                }
                if convert.patience == Patience::Try {
                    return Answer::Refused("would block");
                }
                self.converting.push(Converting { asked_by: convert.key, to: convert.mode });
                Answer::Queued { ahead: self.converting.len() - 1 }
            }
            Command::Release { key, value } => {
                let mode = match (self.holder(*key), self.waiter(*key)) {
                    (Some(holder), _) => self.held[holder].mode,
                    (None, Some(_)) => Mode::Null,
                    (None, None) => return Answer::Refused("not found"),
                };
                if *value != ValueUpdate::Keep && !matches!(mode, Mode::ProtectedWrite | Mode::Exclusive) {
                    return Answer::Refused("value not writable");
                }
                self.update_value(value);
                self.waiting.retain(|waiting| waiting.key != *key);
                self.converting.retain(|converting| converting.asked_by != *key);
                for held in &mut self.held {
                    held.keys.retain(|own| own != key);
                }
                self.held.retain(|held| !held.keys.is_empty());
                Answer::Released
            }
            Command::Cancel { key } => {
                if let Some(holder) = self.holder(*key) {
                    if let Some(at) = self.conversion(holder) {
                        self.converting.remove(at);
                    }
                    return self.granted(holder);
                }
                match self.waiter(*key) {
                    Some(at) => {
                        self.waiting.remove(at);
                        Answer::Cancelled
                    }
                    None => Answer::Refused("not found"),
                }
            }
            Command::Revoke { key, token } => {
                if let Some(holder) = self.holder(*key) {
                    if token.is_some_and(|token| token.get() != self.held[holder].token) {
                        return Answer::Refused("token mismatch");
                    }
                    self.remove(holder);
                    return Answer::Released;
                }
                match self.waiter(*key).filter(|_| token.is_none()) {
                    Some(at) => {
                        self.waiting.remove(at);
                        Answer::Released
                    }
                    None => Answer::Refused("not found"),
                }
            }
            Command::Purge { sessions } => {
                let dead = |session: SessionId| sessions.contains(&session);
                while let Some(holder) = self.held.iter().position(|held| dead(held.keys[0].session)) {
                    self.remove(holder);
                }
                self.waiting.retain(|waiting| !dead(waiting.key.session));
                Answer::Purged
            }
            Command::Query { key } => match (self.holder(*key), self.waiter(*key)) {
                (Some(holder), _) => match self.conversion(holder) {
                    Some(ahead) => Answer::Queued { ahead },
                    None => self.granted(holder),
                },
                (None, Some(at)) => Answer::Queued { ahead: self.converting.len() + at },
                (None, None) => Answer::Refused("not found"),
            },
        }
    }

    /// A lock goes by no act of its holder.
    fn remove(&mut self, holder: usize) {
        let held = self.held.remove(holder);
        self.stale |= matches!(held.mode, Mode::ProtectedWrite | Mode::Exclusive);
        self.converting.retain(|converting| !held.keys.contains(&converting.asked_by));
    }

    fn update_value(&mut self, value: &ValueUpdate) {
        match value {
            ValueUpdate::Keep => {}
            ValueUpdate::Write(block) => (self.value, self.stale) = (block.clone(), false),
            ValueUpdate::Invalidate => self.stale = true,
        }
    }

    fn promote(&mut self) {
        while let Some(Converting { asked_by, to }) = self.converting.first().cloned() {
            let holder = self.holder(asked_by).expect("a conversion has its lock");
            if !self.fits(to, Some(holder)) {
                return;
            }
            self.converting.remove(0);
            let token = self.token();
            (self.held[holder].mode, self.held[holder].token) = (to, token);
        }
        while let Some(Waiting { key, mode }) = self.waiting.first().cloned() {
            if !self.fits(mode, None) {
                return;
            }
            self.waiting.remove(0);
            let token = self.token();
            self.held.push(Held { keys: vec![key], mode, token });
        }
    }
}

pub fn key(session: u128, lock: u64) -> LockKey {
    LockKey { session: SessionId(session), lock: LockId(lock) }
}
