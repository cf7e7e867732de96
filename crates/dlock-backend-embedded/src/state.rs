//! What the handles of a store share: the records, those who watch them, and what is wrong.

use crate::map::{Answer, Decided, Map, View};
use crate::watch::{Watchers, Watching};
use dlock_store::{AtOnce, Condition, Key, Record, Scope, StoreError, Verdict, Version, Write};
use parking_lot::RwLock;
use std::sync::Arc;
use std::task::Waker;

/// How many writes of a batch become visible before readers get their turn.
const APPLIED_AT_ONCE: usize = 64;

#[derive(Default)]
pub(crate) struct State {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    map: Map,
    watchers: Watchers,
    /// Why nothing is served any more.
    broken: Option<Condition>,
    /// What is wrong while everything is served.
    warning: Option<Condition>,
}

impl Inner {
    fn check(&self) -> Result<(), StoreError> {
        match &self.broken {
            Some(condition) => Err(StoreError::Unavailable { reason: condition.message.clone() }),
            None => Ok(()),
        }
    }

    /// Judges a write, and makes it if nothing is against it.
    fn commit(&mut self, write: Write, wakers: &mut Vec<Waker>) -> Answer {
        if let Some(refusal) = self.map.refusal(&write) {
            return refusal;
        }
        let version = Version(self.map.last().0 + 1);
        self.apply(&Decided { key: write.key, version, change: write.change }, wakers);
        Ok(Verdict::Committed { version })
    }

    fn apply(&mut self, decided: &Decided, wakers: &mut Vec<Waker>) {
        self.map.apply(decided);
        if self.watchers.care_for(&decided.key) {
            self.watchers.announce(&decided.key, self.map.record(&decided.key), wakers);
        }
    }
}

impl AtOnce for State {
    fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.read(|map| map.record(key))
    }

    fn commit(&self, write: Write) -> Answer {
        let mut wakers = Vec::new();
        let answer = self.inner.write().commit(write, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        answer
    }
}

impl State {
    pub(crate) fn new(map: Map) -> State {
        State { inner: RwLock::new(Inner { map, ..Inner::default() }) }
    }

    /// Looks at what is committed; an error if the store is broken.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Map) -> T) -> Result<T, StoreError> {
        let inner = self.inner.read();
        inner.check()?;
        Ok(look(&inner.map))
    }

    /// Judges and makes writes, all at one instant: for a store that has nothing but its memory.
    pub(crate) fn commit(&self, writes: Vec<Write>) -> Vec<Answer> {
        let mut wakers = Vec::new();
        let mut inner = self.inner.write();
        let answers = writes.into_iter().map(|write| inner.commit(write, &mut wakers)).collect();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        answers
    }

    /// Makes decided writes visible, in their order, and announces them.
    pub(crate) fn apply(&self, decided: Vec<Decided>) {
        let mut decided = decided.into_iter();
        while decided.len() > 0 {
            let mut wakers = Vec::new();
            let mut inner = self.inner.write();
            for write in decided.by_ref().take(APPLIED_AT_ONCE) {
                inner.apply(&write, &mut wakers);
            }
            drop(inner);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn watch(self: &Arc<State>, scope: Scope) -> Result<Watching, StoreError> {
        let mut inner = self.inner.write();
        inner.check()?;
        Ok(Watching::start(scope, &mut inner.watchers, Arc::downgrade(self)))
    }

    pub(crate) fn unwatch(&self, remove: impl FnOnce(&mut Watchers)) {
        remove(&mut self.inner.write().watchers);
    }

    /// Serves nothing any more, until it is mended.
    pub(crate) fn break_down(&self, condition: Condition) {
        self.inner.write().broken = Some(condition);
    }

    /// Serves again what it served before.
    pub(crate) fn mend(&self) {
        self.inner.write().broken = None;
    }

    /// Looks at what is committed, broken or not: for what writes it to the disk.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Map) -> T) -> T {
        look(&self.inner.read().map)
    }

    /// Says what is wrong, or that it is no more, while everything is served.
    pub(crate) fn warn(&self, warning: Option<Condition>) {
        self.inner.write().warning = warning;
    }

    /// What is wrong, the worst.
    pub(crate) fn condition(&self) -> Option<Condition> {
        let inner = self.inner.read();
        inner.broken.as_ref().or(inner.warning.as_ref()).cloned()
    }
}
