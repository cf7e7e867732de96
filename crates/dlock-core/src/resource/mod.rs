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
//! being told one's place costs as much as the place is far back.

mod apply;
mod command;
mod queue;

pub use command::{
    Acquire, Applied, Command, Convert, Grant, Outcome, Patience, Queued, Refusal, ValueUpdate,
};
pub(crate) use queue::{Conversion, Queue, Ticket, Waiter};

use crate::{LockId, LockKey, Mode, ModeSet, SessionId, Token, ValueBlock, ValueRead};
use foldhash::fast::FixedState;
use indexmap::IndexMap;
use std::collections::BTreeMap;

/// A granted lock as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) mode: Mode,
    pub(crate) token: Token,
    pub(crate) since_unix_ms: u64,
    /// Its conversion's place, while one waits.
    pub(crate) converting: Option<Ticket>,
    /// Further acquires that share this lock, in the order in which they came; none for most.
    #[allow(clippy::box_collection)] // a pointer instead of three words, in every granted lock there is
    pub(crate) aliases: Option<Box<Vec<LockId>>>,
}

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
    last_token: Token,
    granted: IndexMap<LockKey, Granted, FixedState>,
    /// How many hold each mode, by its discriminant.
    held: [u32; Mode::ALL.len()],
    queue: Option<Box<Queue>>,
    /// The lock that each re-entrant acquire shares.
    #[allow(clippy::box_collection)] // few resources have any, and all would pay for it
    aliases: Option<Box<BTreeMap<LockKey, LockKey>>>,
    value: ValueBlock,
    value_valid: bool,
}

/// How a lock stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    /// It is held, and nothing waits.
    Granted(Grant),
    /// It is held, and waits for another mode.
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
    aliases: &'a [LockId],
}

impl Holder<'_> {
    /// The keys of further acquires of the session that share this lock.
    pub fn aliases(&self) -> impl Iterator<Item = LockKey> {
        let session = self.key.session;
        self.aliases.iter().map(move |lock| LockKey { session, lock: *lock })
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
            granted: IndexMap::with_hasher(FixedState::with_seed(0x6c6f_636b)),
            held: [0; Mode::ALL.len()],
            queue: None,
            aliases: None,
            value: ValueBlock::default(),
            value_valid: true,
        }
    }

    /// The greatest token granted so far.
    pub fn last_token(&self) -> Token {
        self.last_token
    }

    /// Whether nobody holds it or waits for it.
    pub fn is_idle(&self) -> bool {
        self.granted.is_empty() && self.queue.is_none()
    }

    /// Whether it may be forgotten, but for its last token: idle, and without a value. A value outlives its locks.
    pub fn is_collectable(&self) -> bool {
        self.is_idle() && self.value.is_empty()
    }

    /// The value block.
    pub fn value(&self) -> ValueRead {
        ValueRead { block: self.value.clone(), valid: self.value_valid }
    }

    /// How a lock stands; `None` if there is no such lock.
    pub fn lock(&self, key: LockKey) -> Option<LockState> {
        if let Some(primary) = self.primary(key) {
            let granted = &self.granted[&primary];
            let held = self.grant(key, granted, true);
            let conversion = granted.converting.zip(self.queue.as_deref());
            return Some(match conversion.and_then(|(t, queue)| Some((queue.conversion(t)?.to, queue, t))) {
                Some((to, queue, ticket)) => {
                    LockState::Converting { held, to, ahead: queue.ahead_of_conversion(ticket) }
                }
                None => LockState::Granted(held),
            });
        }
        let queue = self.queue.as_deref()?;
        let (ticket, waiter) = queue.waiter(key)?;
        let ahead = queue.ahead_of_waiter(ticket);
        Some(LockState::Waiting { mode: waiter.mode, ahead, since_unix_ms: waiter.since_unix_ms })
    }

    /// The granted locks, in no particular order.
    pub fn holders(&self) -> impl Iterator<Item = Holder<'_>> {
        self.granted.iter().map(|(key, granted)| Holder {
            key: *key,
            mode: granted.mode,
            token: granted.token,
            since_unix_ms: granted.since_unix_ms,
            converting_to: self.conversion_of(granted).map(|conversion| conversion.to),
            aliases: granted.aliases.as_deref().map_or(&[], |aliases| aliases.as_slice()),
        })
    }

    /// Those who wait, in the order of service.
    pub fn queue(&self) -> impl Iterator<Item = QueuedEntry> {
        let conversions = self.queue.iter().flat_map(|queue| queue.conversions()).map(|conversion| {
            let granted = &self.granted[&conversion.key];
            QueuedEntry {
                key: conversion.asked_by,
                mode: conversion.to,
                held: Some(granted.mode),
                since_unix_ms: granted.since_unix_ms,
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
        self.granted.keys().map(|key| key.session).chain(waiters.map(|waiter| waiter.key.session))
    }

    /// The modes that are wanted by those who wait.
    pub fn queued_modes(&self) -> ModeSet {
        self.queue.as_deref().map_or(ModeSet::EMPTY, |queue| queue.wanted(None))
    }

    /// The most restrictive mode (the join of them) that is wanted and not compatible with this held lock; its own
    /// conversion does not count.
    pub fn blocks(&self, key: LockKey) -> Option<Mode> {
        let granted = &self.granted[&self.primary(key)?];
        let own = self.conversion_of(granted).map(|conversion| conversion.to);
        let wanted = self.queue.as_deref()?.wanted(own);
        wanted.iter().filter(|mode| !mode.compatible(granted.mode)).reduce(Mode::join)
    }

    /// Who has to go before this waiting lock or conversion can be granted: holders of incompatible modes, and the
    /// one that stands right before it.
    pub fn blockers_of(&self, key: LockKey) -> Vec<LockKey> {
        let Some(at) = self.queue().position(|entry| entry.key == key) else { return Vec::new() };
        let mode = self.queue().nth(at).map(|entry| entry.mode);
        let own = self.primary(key);
        let conflicting = |holder: &Holder<'_>| {
            Some(holder.key) != own && mode.is_some_and(|mode| !mode.compatible(holder.mode))
        };
        let mut blockers: Vec<LockKey> =
            self.holders().filter(conflicting).map(|holder| holder.key).collect();
        let before = at.checked_sub(1).and_then(|before| self.queue().nth(before));
        blockers.extend(before.map(|entry| entry.key).filter(|key| !blockers.contains(key)));
        blockers
    }

    /// Checks every invariant of the state. Called after each command in debug builds.
    ///
    /// # Panics
    /// When one is broken, which is a defect of this crate.
    pub fn assert_invariants(&self) {
        let mut held = [0; Mode::ALL.len()];
        for granted in self.granted.values() {
            held[granted.mode as usize] += 1;
            assert!(granted.token <= self.last_token, "a token is greater than the last one");
        }
        assert_eq!(held, self.held, "the counts of held modes are wrong");
        for (key, granted) in &self.granted {
            assert!(self.fits(granted.mode, Some(granted.mode)), "{key} is held in an incompatible mode");
            assert_eq!(granted.converting.is_some(), self.conversion_of(granted).is_some());
        }
        assert!(self.queue.as_deref().is_none_or(|queue| !queue.is_empty()), "an empty queue is kept");
        assert!(!self.front_is_stuck(), "somebody waits who could be granted");
    }

    /// Whether the first in the queue waits though it could be granted, and there is a token for it.
    fn front_is_stuck(&self) -> bool {
        let Some(queue) = self.queue.as_deref() else { return false };
        let fits = match (queue.first_conversion(), queue.first_waiter()) {
            (Some((_, conversion)), _) => self.fits(conversion.to, Some(self.granted[&conversion.key].mode)),
            (None, Some(waiter)) => self.fits(waiter.mode, None),
            (None, None) => false,
        };
        fits && self.last_token.next().is_some()
    }

    /// A resource from its parts; `Err` says which rule they break.
    pub(crate) fn restore(
        last_token: Token,
        granted: Vec<(LockKey, Granted)>,
        queue: Queue,
        value: ValueBlock,
        value_valid: bool,
    ) -> Result<Resource, String> {
        let mut resource = Resource { value, value_valid, ..Resource::new(last_token) };
        for (key, granted) in granted {
            if !resource.fits(granted.mode, None) {
                return Err(format!("{key} is held in an incompatible mode"));
            }
            for lock in granted.aliases.iter().flat_map(|aliases| aliases.iter()) {
                let alias = LockKey { session: key.session, lock: *lock };
                resource.aliases.get_or_insert_default().insert(alias, key);
            }
            resource.held[granted.mode as usize] += 1;
            resource.granted.insert(key, granted);
        }
        resource.queue = (!queue.is_empty()).then(|| Box::new(queue));
        if resource.front_is_stuck() {
            return Err("somebody waits who could be granted".to_owned());
        }
        Ok(resource)
    }

    pub(crate) fn granted(&self) -> &IndexMap<LockKey, Granted, FixedState> {
        &self.granted
    }

    pub(crate) fn waiting_queue(&self) -> Option<&Queue> {
        self.queue.as_deref()
    }

    /// The granted lock that this key names, itself or as one of its re-entrant acquires.
    fn primary(&self, key: LockKey) -> Option<LockKey> {
        if self.granted.contains_key(&key) {
            return Some(key);
        }
        self.aliases.as_deref()?.get(&key).copied()
    }

    fn conversion_of(&self, granted: &Granted) -> Option<&Conversion> {
        self.queue.as_deref()?.conversion(granted.converting?)
    }

    /// Whether a lock in this mode is compatible with all granted ones, not counting one held in mode `but`.
    fn fits(&self, mode: Mode, but: Option<Mode>) -> bool {
        mode.conflicts().iter().all(|other| self.held[other as usize] <= u32::from(but == Some(other)))
    }

    fn grant(&self, key: LockKey, granted: &Granted, with_value: bool) -> Grant {
        let aliases = granted.aliases.as_deref().map_or(0, |aliases| aliases.len());
        Grant {
            key,
            mode: granted.mode,
            token: granted.token,
            holds: 1 + u32::try_from(aliases).unwrap_or(u32::MAX - 1),
            value: (with_value && granted.mode.reads_value()).then(|| self.value()),
        }
    }
}
