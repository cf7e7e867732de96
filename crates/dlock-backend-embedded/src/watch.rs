//! Those who watch: each has a queue of bounded length, and is told to read again when it overflows.

use dlock_store::{Key, Record, Scope, Watch, WatchEvent};
use futures::StreamExt;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

/// How many events wait for a watcher before they become one "read again".
const EVENTS_MAX: usize = 1024;

#[derive(Default)]
struct Queue {
    events: VecDeque<WatchEvent>,
    overflowed: bool,
    closed: bool,
    waker: Option<Waker>,
}

struct Watcher {
    scope: Scope,
    queue: Weak<Mutex<Queue>>,
}

/// All watchers of a store.
#[derive(Default)]
pub(crate) struct Watchers {
    list: Mutex<Vec<Watcher>>,
}

impl Watchers {
    /// A watch that sees every change announced from now on.
    pub(crate) fn watch(&self, scope: Scope) -> Watch {
        let queue = Arc::new(Mutex::new(Queue::default()));
        self.list.lock().push(Watcher { scope, queue: Arc::downgrade(&queue) });
        futures::stream::poll_fn(move |context| {
            let mut queue = queue.lock();
            if std::mem::take(&mut queue.overflowed) {
                return Poll::Ready(Some(WatchEvent::Resync));
            }
            if let Some(event) = queue.events.pop_front() {
                return Poll::Ready(Some(event));
            }
            if queue.closed {
                return Poll::Ready(None);
            }
            queue.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .boxed()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.lock().is_empty()
    }

    /// Tells the watchers of a key that it was changed to this.
    pub(crate) fn announce(&self, key: &Key, record: &Record) {
        self.list.lock().retain(|watcher| {
            let Some(queue) = watcher.queue.upgrade() else { return false };
            if watcher.scope.contains(key) {
                let mut queue = queue.lock();
                if queue.events.len() >= EVENTS_MAX {
                    queue.events.clear();
                    queue.overflowed = true;
                } else if !queue.overflowed {
                    queue
                        .events
                        .push_back(WatchEvent::Changed { key: key.clone(), record: Some(record.clone()) });
                }
                if let Some(waker) = queue.waker.take() {
                    waker.wake();
                }
            }
            true
        });
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        for queue in self.list.get_mut().iter().filter_map(|watcher| watcher.queue.upgrade()) {
            let mut queue = queue.lock();
            queue.closed = true;
            if let Some(waker) = queue.waker.take() {
                waker.wake();
            }
        }
    }
}
