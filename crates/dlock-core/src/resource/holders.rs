//! Those who hold a resource: few words for the one holder that most resources have, an index for the many of others.

use super::Ticket;
use crate::record::EncodedHolders;
use crate::{LockId, LockKey, Mode, Token};
use foldhash::fast::FixedState;
use indexmap::IndexMap;
use std::collections::BTreeMap;

/// Seeds the index: any constant will do, and the same one everywhere makes every run the same.
const SEED: u64 = 0x6c6f_636b;

/// A granted lock as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    mode: Mode,
    /// The mode it was acquired in, so that the same acquire, sent again, is known though the lock was converted since.
    pub(crate) asked: Mode,
    pub(crate) token: Token,
    pub(crate) since_unix_ms: u64,
    /// Its conversion's place, while one waits.
    pub(crate) converting: Option<Ticket>,
    /// Further acquires that share this lock, in the order in which they came; none for most.
    aliases: Vec<Alias>,
}

/// A re-entrant acquire that shares another one's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) lock: LockId,
    /// As [`Granted::asked`].
    pub(crate) asked: Mode,
}

impl Granted {
    pub(crate) fn new(mode: Mode, asked: Mode, token: Token, since_unix_ms: u64) -> Granted {
        Granted { mode, asked, token, since_unix_ms, converting: None, aliases: Vec::new() }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn aliases(&self) -> &[Alias] {
        &self.aliases
    }
}

/// Granted locks by their own key. A lock that is alone is kept in place: a million of them cost no allocation.
#[derive(Clone, Debug, Default)]
enum Locks {
    #[default]
    None,
    One(LockKey, Granted),
    /// Until the last one goes, so that the second holder's coming and going is cheap.
    Many(Box<Many>),
}

/// An index of granted locks, and the same locks as they are stored, in the same order.
#[derive(Clone, Debug)]
struct Many {
    locks: IndexMap<LockKey, Granted, FixedState>,
    encoded: EncodedHolders,
}

impl Many {
    fn new() -> Box<Many> {
        let locks = IndexMap::with_hasher(FixedState::with_seed(SEED));
        Box::new(Many { locks, encoded: EncodedHolders::default() })
    }

    fn insert(&mut self, key: LockKey, granted: Granted) {
        self.encoded.push(key, &granted);
        self.locks.insert(key, granted);
    }

    fn update(&mut self, key: LockKey, change: impl FnOnce(&mut Granted)) -> bool {
        let Some((index, _, granted)) = self.locks.get_full_mut(&key) else { return false };
        change(granted);
        self.encoded.update(index, key, granted);
        true
    }

    fn remove(&mut self, key: LockKey) -> Option<Granted> {
        let (index, _, granted) = self.locks.swap_remove_full(&key)?;
        self.encoded.swap_remove(index);
        Some(granted)
    }
}

impl Locks {
    fn get(&self, key: LockKey) -> Option<&Granted> {
        match self {
            Locks::One(own, granted) if *own == key => Some(granted),
            Locks::None | Locks::One(..) => None,
            Locks::Many(many) => many.locks.get(&key),
        }
    }

    /// For what is not stored; [`Locks::update`] is for what is.
    fn get_mut(&mut self, key: LockKey) -> Option<&mut Granted> {
        match self {
            Locks::One(own, granted) if *own == key => Some(granted),
            Locks::None | Locks::One(..) => None,
            Locks::Many(many) => many.locks.get_mut(&key),
        }
    }

    /// Changes what is stored of a lock; whether there is one.
    fn update(&mut self, key: LockKey, change: impl FnOnce(&mut Granted)) -> bool {
        match self {
            Locks::One(own, granted) if *own == key => {
                change(granted);
                true
            }
            Locks::None | Locks::One(..) => false,
            Locks::Many(many) => many.update(key, change),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (LockKey, &Granted)> {
        let (one, many) = match self {
            Locks::None => (None, None),
            Locks::One(key, granted) => (Some((*key, granted)), None),
            Locks::Many(many) => (None, Some(many.locks.iter().map(|(key, granted)| (*key, granted)))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn insert(&mut self, key: LockKey, granted: Granted) {
        match std::mem::take(self) {
            Locks::None => *self = Locks::One(key, granted),
            Locks::One(first, held) => {
                let mut many = Many::new();
                many.insert(first, held);
                many.insert(key, granted);
                *self = Locks::Many(many);
            }
            Locks::Many(mut many) => {
                many.insert(key, granted);
                *self = Locks::Many(many);
            }
        }
    }

    fn remove(&mut self, key: LockKey) -> Option<Granted> {
        match std::mem::take(self) {
            Locks::One(own, granted) if own == key => Some(granted),
            Locks::Many(mut many) => {
                let granted = many.remove(key);
                if !many.locks.is_empty() {
                    *self = Locks::Many(many);
                }
                granted
            }
            others => {
                *self = others;
                None
            }
        }
    }
}

/// The granted locks of one resource, with what is needed to decide about the next one without looking at them all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    locks: Locks,
    /// The key of the lock that each alias shares.
    primaries: BTreeMap<LockKey, LockKey>,
    /// How many hold each mode, by its discriminant.
    held: [u32; Mode::ALL.len()],
}

impl Holders {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.locks, Locks::None)
    }

    /// The granted locks by their own keys, in the order in which they came, but for those that have moved into the
    /// places of others that went.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LockKey, &Granted)> {
        self.locks.iter()
    }

    /// The lock that this key names, as its own key or as an alias, with its own key.
    pub(crate) fn find(&self, key: LockKey) -> Option<(LockKey, &Granted)> {
        if let Some(granted) = self.locks.get(key) {
            return Some((key, granted));
        }
        let primary = *self.primaries.get(&key)?;
        Some((primary, self.locks.get(primary)?))
    }

    /// The lock that is alone.
    pub(crate) fn only(&self) -> Option<(LockKey, &Granted)> {
        match &self.locks {
            Locks::One(key, granted) => Some((*key, granted)),
            Locks::None | Locks::Many(_) => None,
        }
    }

    /// All locks as they are stored, unless there is [only one](Holders::only).
    pub(crate) fn encoded(&self) -> Option<&EncodedHolders> {
        match &self.locks {
            Locks::None | Locks::One(..) => None,
            Locks::Many(many) => Some(&many.encoded),
        }
    }

    /// How many keys are aliases.
    pub(crate) fn aliases_len(&self) -> usize {
        self.primaries.len()
    }

    /// How many hold each mode, by its discriminant.
    pub(crate) fn counts(&self) -> [u32; Mode::ALL.len()] {
        self.held
    }

    /// Whether a lock in this mode is compatible with all granted ones, not counting one held in mode `but`. Costs
    /// the same however many there are.
    pub(crate) fn fits(&self, mode: Mode, but: Option<Mode>) -> bool {
        mode.conflicts().iter().all(|other| self.held[other as usize] <= u32::from(but == Some(other)))
    }

    /// Adds a lock under a key that is not in use.
    pub(crate) fn insert(&mut self, key: LockKey, granted: Granted) {
        debug_assert!(self.find(key).is_none(), "{key} is in use");
        self.held[granted.mode as usize] += 1;
        self.locks.insert(key, granted);
    }

    pub(crate) fn set_mode(&mut self, primary: LockKey, mode: Mode) {
        self.change_mode(primary, mode, |_| {});
    }

    /// Gives a lock another mode with a token of its own; it waits for none any more.
    pub(crate) fn raise(&mut self, primary: LockKey, mode: Mode, token: Token) {
        self.change_mode(primary, mode, |granted| {
            granted.converting = None;
            granted.token = token;
        });
    }

    fn change_mode(&mut self, primary: LockKey, mode: Mode, change: impl FnOnce(&mut Granted)) {
        let held = &mut self.held;
        self.locks.update(primary, |granted| {
            held[granted.mode as usize] -= 1;
            held[mode as usize] += 1;
            granted.mode = mode;
            change(granted);
        });
    }

    pub(crate) fn set_converting(&mut self, primary: LockKey, ticket: Option<Ticket>) {
        if let Some(granted) = self.locks.get_mut(primary) {
            granted.converting = ticket;
        }
    }

    /// Lets another acquire share a lock.
    pub(crate) fn share(&mut self, primary: LockKey, alias: Alias) {
        if self.locks.update(primary, |granted| granted.aliases.push(alias)) {
            self.primaries.insert(LockKey { session: primary.session, lock: alias.lock }, primary);
        }
    }

    /// Takes one acquire away from the lock that its key names. The lock stays while it has others, under the key of
    /// the oldest of them if the one that goes was its own; it goes with its last.
    pub(crate) fn release(&mut self, key: LockKey) {
        if let Some(primary) = self.primaries.remove(&key) {
            self.locks.update(primary, |granted| granted.aliases.retain(|alias| alias.lock != key.lock));
            return;
        }
        let Some(mut granted) = self.locks.remove(key) else { return };
        if granted.aliases.is_empty() {
            self.held[granted.mode as usize] -= 1;
            return;
        }
        let heir = granted.aliases.remove(0);
        granted.asked = heir.asked;
        let primary = LockKey { session: key.session, lock: heir.lock };
        self.primaries.remove(&primary);
        for alias in &granted.aliases {
            self.primaries.insert(LockKey { session: key.session, lock: alias.lock }, primary);
        }
        self.locks.insert(primary, granted);
    }

    /// Takes a lock away with all its acquires.
    pub(crate) fn remove(&mut self, primary: LockKey) -> Option<Granted> {
        let granted = self.locks.remove(primary)?;
        self.held[granted.mode as usize] -= 1;
        for alias in &granted.aliases {
            self.primaries.remove(&LockKey { session: primary.session, lock: alias.lock });
        }
        Some(granted)
    }
}
