//! One resource: a pure state machine.
//!
//! [`Resource::apply`] takes a [`Command`] and says what follows from it. The rules are those of the classic lock
//! managers (OpenVMS `$ENQ`, Linux `fs/dlm`), with one queue that nobody overtakes:
//!
//! 1. A new request is granted at once if nobody waits and its mode is compatible with every granted lock; NL always.
//! 2. A conversion to a mode at or below the held one is granted at once. Any other is granted at once if no
//!    conversion waits and it is compatible with all *other* granted locks; else it waits, holding what it holds,
//!    behind the conversions that wait and ahead of all new requests.
//! 3. After every change, conversions are granted from the front while they can be; when none is left, waiting
//!    requests are.
//! 4. A conversion that would have to wait for one that waits for it is refused: nobody overtakes, so neither could
//!    ever be served.
//!
//! A command costs the same however many hold the resource, and at most the logarithm of those who wait; only
//! being told one's place again later costs as much as the place is far back.

mod apply;
mod command;
mod holders;
mod invariants;
mod master;
mod queue;

pub use command::{
    Acquire, Applied, Claim, Command, Convert, Grant, Outcome, Patience, Queued, Refusal, ValueUpdate,
};
pub(crate) use holders::{Alias, Granted, Holders};
pub use master::Master;
pub(crate) use queue::{Conversion, Queue, Ticket, Waiter};

use crate::{LockKey, Mode, ModeSet, SessionId, Token, ValueBlock, ValueRead};
use std::hash::{Hash, Hasher};

/// The lock state of one resource. See the module's documentation for its rules.
///
/// ```
/// use dlock_core::resource::{Acquire, Command, Outcome, Patience, Resource};
/// use dlock_core::{LockId, LockKey, Mode, SessionId, Token};
///
/// let mut resource = Resource::new(Token::ZERO);
/// let acquire = Command::Acquire(Acquire {
///     key: LockKey { session: SessionId(1), lock: LockId(1) },
///     mode: Mode::Exclusive,
///     patience: Patience::Wait,
///     reentrant: false,
///     since_unix_ms: 0,
///     waiters_max: 1000,
/// });
/// let applied = resource.apply(&acquire, 0);
/// assert!(matches!(applied.outcome, Outcome::Granted(grant) if grant.token > Token::ZERO));
/// assert!(!resource.apply(&acquire, 0).changed); // the same request again has the same result
/// ```
#[derive(Clone, Debug)]
pub struct Resource {
    pub(crate) last_token: Token,
    pub(crate) holders: Holders,
    /// Present only while somebody waits: most resources have none.
    pub(crate) queue: Option<Box<Queue>>,
    pub(crate) value: ValueBlock,
    pub(crate) value_valid: bool,
    /// Present only while a server masters it.
    pub(crate) master: Option<Box<Master>>,
}

impl PartialEq for Resource {
    /// Equal resources are stored as the same bytes, and answer every command alike.
    fn eq(&self, other: &Resource) -> bool {
        fn locks(resource: &Resource) -> impl Iterator<Item = impl PartialEq> {
            resource.holders.iter().map(|(key, granted)| {
                (key, granted.mode(), granted.asked, granted.token, granted.since_unix_ms, granted.aliases())
            })
        }
        self.last_token == other.last_token
            && self.value() == other.value()
            && locks(self).eq(locks(other))
            && self.queue().eq(other.queue())
            && self.master == other.master
    }
}

impl Eq for Resource {}

impl Hash for Resource {
    /// Equal resources are stored as the same bytes.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.encode().hash(state);
    }
}

/// How a lock stands, as seen by one of its acquires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    /// It is held, and waits for nothing that was asked under this key.
    Granted(Grant),
    /// It is held, and waits for another mode, which was asked for under this key.
    Converting {
        /// What it holds.
        held: Grant,
        /// What it waits for.
        to: Mode,
        /// How many conversions are served before it.
        ahead: u32,
    },
    /// It waits.
    Waiting {
        /// The mode it waits for.
        mode: Mode,
        /// How many are served before it.
        ahead: u32,
        /// When it was asked for, in milliseconds of Unix time.
        since_unix_ms: u64,
    },
}

/// A granted lock, for a look.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// Whose it is.
    pub key: LockKey,
    /// The mode held.
    pub mode: Mode,
    /// Its fencing token.
    pub token: Token,
    /// When it was asked for, in milliseconds of Unix time.
    pub since_unix_ms: u64,
    /// The mode it waits for, if it does.
    pub converting_to: Option<Mode>,
    aliases: &'a [Alias],
}

impl Holder<'_> {
    /// The keys of further acquires of the session that share this lock.
    pub fn aliases(&self) -> impl Iterator<Item = LockKey> {
        let session = self.key.session;
        self.aliases.iter().map(move |alias| LockKey { session, lock: alias.lock })
    }
}

/// A place in the queue, for a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedEntry {
    /// Whose it is.
    pub key: LockKey,
    /// The mode wanted.
    pub mode: Mode,
    /// The mode held meanwhile, for a conversion.
    pub held: Option<Mode>,
    /// When the lock was asked for, in milliseconds of Unix time.
    pub since_unix_ms: u64,
}

impl Resource {
    /// A resource that nobody holds, whose tokens will be greater than `floor`.
    pub fn new(floor: Token) -> Resource {
        Resource {
            last_token: floor,
            holders: Holders::default(),
            queue: None,
            value: ValueBlock::default(),
            value_valid: true,
            master: None,
        }
    }

    /// The greatest token granted so far.
    pub fn last_token(&self) -> Token {
        self.last_token
    }

    /// Whether nobody holds it or waits for it.
    pub fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.queue.is_none()
    }

    /// Whether it may be forgotten, but for its last token: idle, and without a value. A value outlives its locks.
    pub fn is_collectable(&self) -> bool {
        self.is_idle() && self.value.is_empty()
    }

    /// The value block.
    pub fn value(&self) -> ValueRead {
        ValueRead { block: self.value.clone(), valid: self.value_valid }
    }

    /// How a lock stands, by its own key or that of a re-entrant acquire that shares it; `None` if there is no such
    /// lock.
    pub fn lock(&self, key: LockKey) -> Option<LockState> {
        let queue = self.queue.as_deref();
        if let Some((_, granted)) = self.holders.find(key) {
            let held = self.grant(key, granted, true);
            let own = self.conversion_of(granted).filter(|conversion| conversion.asked_by == key);
            let Some(((to, ticket), queue)) = own.map(|own| own.to).zip(granted.converting).zip(queue) else {
                return Some(LockState::Granted(held));
            };
            return Some(LockState::Converting { held, to, ahead: queue.ahead_of_conversion(ticket) });
        }
        let (ticket, waiter) = queue?.waiter(key)?;
        let ahead = queue?.ahead_of_waiter(ticket);
        Some(LockState::Waiting { mode: waiter.mode, ahead, since_unix_ms: waiter.since_unix_ms })
    }

    /// The granted locks, in no particular order.
    pub fn holders(&self) -> impl Iterator<Item = Holder<'_>> {
        self.holders.iter().map(|(key, granted)| Holder {
            key,
            mode: granted.mode(),
            token: granted.token,
            since_unix_ms: granted.since_unix_ms,
            converting_to: self.conversion_of(granted).map(|conversion| conversion.to),
            aliases: granted.aliases(),
        })
    }

    /// Those who wait, in the order of service: conversions first.
    pub fn queue(&self) -> impl Iterator<Item = QueuedEntry> {
        let conversions = self.queue.iter().flat_map(|queue| queue.conversions()).map(|conversion| {
            let granted = self.holders.find(conversion.asked_by).map(|(_, granted)| granted);
            QueuedEntry {
                key: conversion.asked_by,
                mode: conversion.to,
                held: granted.map(Granted::mode),
                since_unix_ms: granted.map_or(0, |granted| granted.since_unix_ms),
            }
        });
        let waiters = self.queue.iter().flat_map(|queue| queue.waiters()).map(|waiter| QueuedEntry {
            key: waiter.key,
            mode: waiter.mode,
            held: None,
            since_unix_ms: waiter.since_unix_ms,
        });
        conversions.chain(waiters)
    }

    /// The sessions that hold or wait, each as often as it does.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        let waiters = self.queue.iter().flat_map(|queue| queue.waiters());
        self.holders.iter().map(|(key, _)| key.session).chain(waiters.map(|waiter| waiter.key.session))
    }

    /// The modes that are wanted by those who wait.
    pub fn queued_modes(&self) -> ModeSet {
        self.queue.as_deref().map_or(ModeSet::EMPTY, |queue| queue.wanted(None))
    }

    /// The most restrictive mode (the join of them) that is wanted and not compatible with this held lock; its own
    /// conversion does not count.
    pub fn blocks(&self, key: LockKey) -> Option<Mode> {
        let (_, granted) = self.holders.find(key)?;
        let own = self.conversion_of(granted).map(|conversion| conversion.to);
        let wanted = self.queue.as_deref()?.wanted(own);
        wanted.iter().filter(|mode| !mode.compatible(granted.mode())).reduce(Mode::join)
    }

    /// Who has to go before this waiting lock or conversion can be granted: holders of incompatible modes, and the
    /// one that stands right before it (which waits for its own blockers in turn). For people, who look at few.
    pub fn blockers_of(&self, key: LockKey) -> Vec<LockKey> {
        let mut before = None;
        for entry in self.queue() {
            if entry.key == key {
                let own = self.primary(key);
                let holders = self.holders.iter().filter(|(holder, granted)| {
                    Some(*holder) != own && !entry.mode.compatible(granted.mode())
                });
                let mut blockers: Vec<LockKey> = holders.map(|(holder, _)| holder).collect();
                let before = before.map(|before| self.primary(before).unwrap_or(before));
                blockers.extend(before.filter(|before| !blockers.contains(before)));
                return blockers;
            }
            before = Some(entry.key);
        }
        Vec::new()
    }

    /// The granted lock that this key names, by its own key.
    fn primary(&self, key: LockKey) -> Option<LockKey> {
        self.holders.find(key).map(|(primary, _)| primary)
    }

    fn conversion_of(&self, granted: &Granted) -> Option<&Conversion> {
        self.queue.as_deref()?.conversion(granted.converting?)
    }

    fn grant(&self, key: LockKey, granted: &Granted, with_value: bool) -> Grant {
        Grant {
            key,
            mode: granted.mode(),
            token: granted.token,
            holds: u32::try_from(granted.aliases().len())
                .map_or(u32::MAX, |aliases| aliases.saturating_add(1)),
            value: (with_value && granted.mode().reads_value()).then(|| self.value()),
        }
    }
}
