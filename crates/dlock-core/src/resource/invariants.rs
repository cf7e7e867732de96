//! What is true of every resource. Checked after each command in debug builds, and of each record that is read.

use super::Resource;
use crate::record::EncodedHolders;
use crate::{LockKey, Mode, ModeSet};
use std::collections::BTreeSet;

/// Ends the check, saying what is broken, unless it holds.
macro_rules! ensure {
    ($holds:expr, $($broken:tt)+) => {
        if !$holds {
            return Err(format!($($broken)+));
        }
    };
}

impl Resource {
    /// Checks every invariant of the state. Called after each command in debug builds.
    ///
    /// # Panics
    /// When one is broken, which is a defect of this crate.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check().and_then(|()| self.check_encoding()) {
            panic!("{broken}: {self:?}");
        }
    }

    /// Checks every invariant; `Err` says which one is broken.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_keys()?;
        self.check_holders()?;
        self.check_conversions()?;
        self.check_waiters()?;
        ensure!(!self.front_is_stuck(), "somebody waits who could be granted");
        if let Some(master) = self.master.as_deref() {
            ensure!(self.value.is_empty(), "a resource with a value is mastered");
            ensure!(self.last_token <= master.limit(), "the master has given tokens above its limit");
        }
        Ok(())
    }

    /// Every key stands for one lock, and is found.
    fn check_keys(&self) -> Result<(), String> {
        let mut keys = BTreeSet::new();
        let mut aliases_len = 0;
        for (primary, granted) in self.holders.iter() {
            ensure!(keys.insert(primary), "the lock {primary} stands twice");
            for alias in granted.aliases() {
                let key = LockKey { session: primary.session, lock: alias.lock };
                ensure!(keys.insert(key), "the lock {key} stands twice");
                let found = self.holders.find(key).map(|(found, _)| found);
                ensure!(found == Some(primary), "the acquire {key} is not found at its lock {primary}");
                aliases_len += 1;
            }
        }
        ensure!(aliases_len == self.holders.aliases_len(), "an acquire shares a lock that does not know it");
        let Some(queue) = self.queue.as_deref() else { return Ok(()) };
        for waiter in queue.waiters() {
            let key = waiter.key;
            ensure!(keys.insert(key), "the lock {key} stands twice");
            ensure!(queue.waiter(key).is_some(), "{key} waits and is not found");
        }
        Ok(())
    }

    fn check_holders(&self) -> Result<(), String> {
        let mut counts = [0; Mode::ALL.len()];
        for (key, granted) in self.holders.iter() {
            let mode = granted.mode();
            counts[mode as usize] += 1;
            ensure!(self.holders.fits(mode, Some(mode)), "{key} is held in an incompatible mode");
            ensure!(granted.token <= self.last_token, "the token of {key} is greater than the last one");
        }
        ensure!(counts == self.holders.counts(), "the counts of held modes are wrong");
        Ok(())
    }

    fn check_encoding(&self) -> Result<(), String> {
        let Some(kept) = self.holders.encoded() else { return Ok(()) };
        let mut encoded = EncodedHolders::default();
        self.holders.iter().for_each(|(key, granted)| encoded.push(key, granted));
        ensure!(encoded.pieces().eq(kept.pieces()), "the holders are not kept as they are stored");
        Ok(())
    }

    /// A conversion belongs to a lock, wants what that lock does not have, and can be served in its turn.
    fn check_conversions(&self) -> Result<(), String> {
        let converting = self.holders.iter().filter(|(_, granted)| granted.converting.is_some()).count();
        let Some(queue) = self.queue.as_deref() else {
            ensure!(converting == 0, "a lock converts without a queue");
            return Ok(());
        };
        ensure!(!queue.is_empty(), "an empty queue is kept");
        ensure!(converting == queue.conversions().count(), "a lock converts that does not wait");
        let mut wanted_before = ModeSet::EMPTY;
        for conversion in queue.conversions() {
            let key = conversion.asked_by;
            let Some((_, granted)) = self.holders.find(key) else {
                return Err(format!("{key} converts and is not held"));
            };
            let own = granted.converting.and_then(|ticket| queue.conversion(ticket));
            ensure!(
                own.is_some_and(|own| own.asked_by == key),
                "{key} converts and its lock does not know it"
            );
            ensure!(!conversion.to.at_or_below(granted.mode()), "{key} waits to go down");
            ensure!(
                !granted.mode().conflicts().intersects(wanted_before),
                "{key} waits for a conversion that waits for it"
            );
            wanted_before.insert(conversion.to);
        }
        Ok(())
    }

    fn check_waiters(&self) -> Result<(), String> {
        let Some(queue) = self.queue.as_deref() else { return Ok(()) };
        let mut wanted = ModeSet::EMPTY;
        for waiter in queue.waiters() {
            ensure!(waiter.mode != Mode::Null, "{} waits for NL", waiter.key);
            wanted.insert(waiter.mode);
        }
        queue.conversions().for_each(|conversion| wanted.insert(conversion.to));
        ensure!(queue.wanted(None) == wanted, "the counts of wanted modes are wrong");
        Ok(())
    }

    /// Whether the first in the queue waits though it could be granted, and there is a token for it.
    fn front_is_stuck(&self) -> bool {
        let Some(queue) = self.queue.as_deref() else { return false };
        let fits = match (queue.first_conversion(), queue.first_waiter()) {
            (Some((_, conversion)), _) => {
                let held = self.holders.find(conversion.asked_by).map(|(_, granted)| granted.mode());
                self.holders.fits(conversion.to, held)
            }
            (None, Some(waiter)) => self.holders.fits(waiter.mode, None),
            (None, None) => false,
        };
        fits && self.last_token.next().is_some()
    }
}
