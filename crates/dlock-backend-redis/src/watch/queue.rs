//! What one watcher has not read yet: bounded, and "read again" where it overflows.

use dlock_store::{Key, Record, WatchEvent};
use foldhash::HashMap;
use std::collections::VecDeque;
use std::task::Waker;

/// How many keys wait to be told to a watcher before they become one "read again".
const KEYS_MAX: usize = 1024;

/// Several changes of a key wait as one, the last.
#[derive(Default)]
pub(super) struct Queue {
    keys: VecDeque<Key>,
    /// One for each of the keys.
    latest: HashMap<Key, Option<Record>>,
    resync: bool,
    pub(super) closed: bool,
    pub(super) waker: Option<Waker>,
}

impl Queue {
    /// Adds a change.
    pub(super) fn push(&mut self, key: &Key, record: Option<Record>) {
        if self.resync {
            return;
        }
        if let Some(latest) = self.latest.get_mut(key) {
            *latest = record;
        } else if self.keys.len() < KEYS_MAX {
            self.keys.push_back(key.clone());
            self.latest.insert(key.clone(), record);
        } else {
            self.resync();
        }
    }

    /// Says "read again", which makes all else needless.
    pub(super) fn resync(&mut self) {
        self.clear();
        self.resync = true;
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.latest.clear();
        self.resync = false;
    }

    /// Takes the next event.
    pub(super) fn pop(&mut self) -> Option<WatchEvent> {
        if std::mem::take(&mut self.resync) {
            return Some(WatchEvent::Resync);
        }
        let key = self.keys.pop_front()?;
        let record = self.latest.remove(&key).flatten();
        Some(WatchEvent::Changed { key, record })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_too_slowly_reads_again() {
        let mut queue = Queue::default();
        for number in 0..=KEYS_MAX {
            queue.push(&Key::new(&number.to_string()).unwrap(), None);
        }
        assert_eq!((queue.pop(), queue.pop()), (Some(WatchEvent::Resync), None));
    }

    #[test]
    fn changes_of_one_key_wait_as_one() {
        let (mut queue, key) = (Queue::default(), Key::new("a").unwrap());
        queue.push(&key, None);
        queue.push(&key, None);
        assert_eq!(queue.pop(), Some(WatchEvent::Changed { key, record: None }));
        assert_eq!(queue.pop(), None);
    }
}
