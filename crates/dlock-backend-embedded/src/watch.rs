//! Those who watch: each has a queue of bounded size, and is told to read again when it overflows.

use crate::state::State;
use dlock_store::{Content, Key, Record, Scope, WatchEvent};
use foldhash::HashMap;
use futures::Stream;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

/// How many keys wait to be told to a watcher before they become one "read again".
const KEYS_MAX: usize = 1024;

/// The longest value that waits in a queue, in bytes; of a longer one only the key is told, or those who don't read
/// their watch could hold gigabytes.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// What a watcher has not seen yet. Several changes of a key wait as one, the last.
#[derive(Default)]
struct Queue {
    keys: VecDeque<Key>,
    /// One for each of the keys.
    latest: HashMap<Key, Option<Record>>,
    overflowed: bool,
    closed: bool,
    waker: Option<Waker>,
}

impl Queue {
    fn push(&mut self, key: &Key, record: Option<Record>) {
        if self.overflowed {
            return;
        }
        if let Some(latest) = self.latest.get_mut(key) {
            *latest = record;
        } else if self.keys.len() < KEYS_MAX {
            self.keys.push_back(key.clone());
            self.latest.insert(key.clone(), record);
        } else {
            self.keys.clear();
            self.latest.clear();
            self.overflowed = true;
        }
    }

    fn pop(&mut self) -> Option<WatchEvent> {
        if std::mem::take(&mut self.overflowed) {
            return Some(WatchEvent::Resync);
        }
        let key = self.keys.pop_front()?;
        let record = self.latest.remove(&key).flatten();
        Some(WatchEvent::Changed { key, record })
    }
}

type SharedQueue = Arc<Mutex<Queue>>;

/// The queues of all watchers of a store, by what they are about.
#[derive(Default)]
pub(crate) struct Watchers {
    keys: HashMap<Key, Vec<SharedQueue>>,
    prefixes: Vec<(String, SharedQueue)>,
}

impl Watchers {
    fn add(&mut self, scope: &Scope) -> SharedQueue {
        let queue = SharedQueue::default();
        match scope {
            Scope::Key(key) => self.keys.entry(key.clone()).or_default().push(Arc::clone(&queue)),
            Scope::Prefix(prefix) => self.prefixes.push((prefix.clone(), Arc::clone(&queue))),
        }
        queue
    }

    fn remove(&mut self, scope: &Scope, gone: &SharedQueue) {
        match scope {
            Scope::Key(key) => {
                if let Some(queues) = self.keys.get_mut(key) {
                    queues.retain(|queue| !Arc::ptr_eq(queue, gone));
                    if queues.is_empty() {
                        self.keys.remove(key);
                    }
                }
            }
            Scope::Prefix(_) => self.prefixes.retain(|(_, queue)| !Arc::ptr_eq(queue, gone)),
        }
    }

    /// Whether anybody is to be told of the key.
    pub(crate) fn care_for(&self, key: &Key) -> bool {
        self.of(key).next().is_some()
    }

    /// Tells the watchers of a key what it is now. Who waits is to be woken through `wakers`, once no lock is held.
    pub(crate) fn announce(&self, key: &Key, record: Record, wakers: &mut Vec<Waker>) {
        let long = matches!(&record.content, Content::Present(value) if value.len() > VALUE_BYTES_MAX);
        let record = (!long).then_some(record);
        for queue in self.of(key) {
            let mut queue = queue.lock();
            queue.push(key, record.clone());
            wakers.extend(queue.waker.take());
        }
    }

    fn of(&self, key: &Key) -> impl Iterator<Item = &SharedQueue> {
        let by_prefix = self.prefixes.iter().filter(|(prefix, _)| key.as_str().starts_with(prefix.as_str()));
        self.keys.get(key).into_iter().flatten().chain(by_prefix.map(|(_, queue)| queue))
    }
}

impl Drop for Watchers {
    /// Ends all watches.
    fn drop(&mut self) {
        for queue in self.keys.values().flatten().chain(self.prefixes.iter().map(|(_, queue)| queue)) {
            let waker = {
                let mut queue = queue.lock();
                queue.closed = true;
                queue.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// One watch; it does not keep the store open.
pub(crate) struct Watching {
    scope: Scope,
    queue: SharedQueue,
    state: Weak<State>,
}

impl Watching {
    /// Starts a watch that sees every change that is announced from now on.
    pub(crate) fn start(scope: Scope, watchers: &mut Watchers, state: Weak<State>) -> Watching {
        let queue = watchers.add(&scope);
        Watching { scope, queue, state }
    }
}

impl Stream for Watching {
    type Item = WatchEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        let mut queue = self.queue.lock();
        if let Some(event) = queue.pop() {
            return Poll::Ready(Some(event));
        }
        if queue.closed {
            return Poll::Ready(None);
        }
        let before = queue.waker.replace(context.waker().clone());
        // What is dropped with a waker may take locks of its own.
        drop(queue);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(state) = self.state.upgrade() {
            state.unwatch(|watchers| watchers.remove(&self.scope, &self.queue));
        }
    }
}
