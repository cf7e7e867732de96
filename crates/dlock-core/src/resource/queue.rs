//! Those who wait for a resource: conversions first, then new requests, each in the order in which they came.

use crate::{LockKey, Mode, ModeSet};
use std::collections::BTreeMap;

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) key: LockKey,
    pub(crate) mode: Mode,
    pub(crate) since_unix_ms: u64,
}

/// A granted lock that waits for another mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conversion {
    /// Which of the lock's acquires asked: the lock's own key, unless it is shared. It goes with this acquire.
    pub(crate) asked_by: LockKey,
    pub(crate) to: Mode,
}

/// A place in the queue: lower ones are served first.
pub(crate) type Ticket = u64;

/// The queue of one resource. It exists only while somebody waits: most resources have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    next: Ticket,
    converting: BTreeMap<Ticket, Conversion>,
    waiting: BTreeMap<Ticket, Waiter>,
    places: BTreeMap<LockKey, Ticket>,
    /// How many want each mode, by its discriminant.
    wanted: [u32; Mode::ALL.len()],
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.converting.is_empty() && self.waiting.is_empty()
    }

    pub(crate) fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn has_conversions(&self) -> bool {
        !self.converting.is_empty()
    }

    pub(crate) fn push_waiter(&mut self, waiter: Waiter) -> Ticket {
        let ticket = self.take_ticket();
        self.wanted[waiter.mode as usize] += 1;
        self.places.insert(waiter.key, ticket);
        self.waiting.insert(ticket, waiter);
        ticket
    }

    pub(crate) fn push_conversion(&mut self, conversion: Conversion) -> Ticket {
        let ticket = self.take_ticket();
        self.wanted[conversion.to as usize] += 1;
        self.converting.insert(ticket, conversion);
        ticket
    }

    fn take_ticket(&mut self) -> Ticket {
        self.next += 1;
        self.next
    }

    pub(crate) fn waiter(&self, key: LockKey) -> Option<(Ticket, &Waiter)> {
        let ticket = *self.places.get(&key)?;
        Some((ticket, self.waiting.get(&ticket)?))
    }

    pub(crate) fn conversion(&self, ticket: Ticket) -> Option<&Conversion> {
        self.converting.get(&ticket)
    }

    pub(crate) fn remove_waiter(&mut self, key: LockKey) -> Option<Waiter> {
        let ticket = self.places.remove(&key)?;
        let waiter = self.waiting.remove(&ticket)?;
        self.wanted[waiter.mode as usize] -= 1;
        Some(waiter)
    }

    pub(crate) fn remove_conversion(&mut self, ticket: Ticket) -> Option<Conversion> {
        let conversion = self.converting.remove(&ticket)?;
        self.wanted[conversion.to as usize] -= 1;
        Some(conversion)
    }

    pub(crate) fn first_conversion(&self) -> Option<(Ticket, Conversion)> {
        self.converting.first_key_value().map(|(ticket, conversion)| (*ticket, *conversion))
    }

    pub(crate) fn first_waiter(&self) -> Option<Waiter> {
        self.waiting.first_key_value().map(|(_, waiter)| *waiter)
    }

    /// How many are served before this conversion.
    pub(crate) fn ahead_of_conversion(&self, ticket: Ticket) -> u32 {
        count(before(&self.converting, ticket))
    }

    /// How many are served before this waiter.
    pub(crate) fn ahead_of_waiter(&self, ticket: Ticket) -> u32 {
        count(self.converting.len() + before(&self.waiting, ticket))
    }

    pub(crate) fn conversions(&self) -> impl Iterator<Item = &Conversion> {
        self.converting.values()
    }

    pub(crate) fn waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.waiting.values()
    }

    /// The modes that are wanted, by anybody, or by all but one who wants `but`.
    pub(crate) fn wanted(&self, but: Option<Mode>) -> ModeSet {
        let mut set = ModeSet::EMPTY;
        for mode in Mode::ALL {
            let own = u32::from(but == Some(mode));
            if self.wanted[mode as usize] > own {
                set.insert(mode);
            }
        }
        set
    }
}

/// How many have lower tickets than this one, which is there: known at once of the one who came last, as who is told
/// his place mostly is.
fn before<T>(places: &BTreeMap<Ticket, T>, ticket: Ticket) -> usize {
    match places.last_key_value() {
        Some((last, _)) if *last == ticket => places.len() - 1,
        _ => places.range(..ticket).count(),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
