//! All who watch, and whether the store's announcements reach us at the moment.

use super::queue::Queue;
use crate::layout::Tag;
use crate::record::Announced;
use dlock_store::{Scope, WatchEvent};
use foldhash::HashMap;
use futures::Stream;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use tokio::sync::watch;

type SharedQueue = Arc<Mutex<Queue>>;

/// The queues of all watchers, by what they are about.
#[derive(Default)]
struct Watchers {
    keys: HashMap<dlock_store::Key, Vec<SharedQueue>>,
    prefixes: Vec<(String, SharedQueue)>,
}

/// All who watch.
pub(crate) struct Hub {
    watchers: Mutex<Watchers>,
    /// For each tag, how many subscriptions hear its announcements at the moment.
    heard: Mutex<Vec<usize>>,
    /// Whether every tag's are heard.
    complete: watch::Sender<bool>,
}

impl Hub {
    pub(crate) fn new(tags: usize) -> Arc<Hub> {
        Arc::new(Hub {
            watchers: Mutex::default(),
            heard: Mutex::new(vec![0; tags]),
            complete: watch::Sender::new(false),
        })
    }

    /// Starts a watch. It is established once every tag is heard: [`Hub::complete`].
    pub(crate) fn watch(self: &Arc<Self>, scope: Scope) -> Watching {
        let queue = SharedQueue::default();
        let mut watchers = self.watchers.lock();
        match &scope {
            Scope::Key(key) => watchers.keys.entry(key.clone()).or_default().push(Arc::clone(&queue)),
            Scope::Prefix(prefix) => watchers.prefixes.push((prefix.clone(), Arc::clone(&queue))),
        }
        drop(watchers);
        Watching { scope, queue, hub: Arc::downgrade(self) }
    }

    /// Waits until the announcements of every tag are heard.
    pub(crate) async fn complete(&self) {
        // The sender is in this value, so that it can't be gone.
        drop(self.complete.subscribe().wait_for(|complete| *complete).await);
    }

    /// From now on these tags are heard. What was announced before may have been missed.
    pub(super) fn hear(&self, tags: &[Tag]) {
        self.resync();
        self.count(|heard| tags.iter().for_each(|tag| heard[usize::from(*tag)] += 1));
    }

    /// From now on these tags are not heard, unless by another subscription.
    pub(super) fn unhear(&self, tags: &[Tag]) {
        self.count(|heard| tags.iter().for_each(|tag| heard[usize::from(*tag)] -= 1));
    }

    /// Whether all is heard is told under the lock: else the earlier of two changes might be told after the later.
    fn count(&self, change: impl FnOnce(&mut [usize])) {
        let mut heard = self.heard.lock();
        change(&mut heard);
        self.set_complete(heard.iter().all(|subscriptions| *subscriptions > 0));
    }

    /// Whether enough is heard, for one who counts that himself. He says it in the order in which it became so.
    pub(crate) fn set_complete(&self, complete: bool) {
        self.complete.send_replace(complete);
    }

    /// Whether anybody watches the key.
    pub(crate) fn has_watcher(&self, key: &dlock_store::Key) -> bool {
        let watchers = self.watchers.lock();
        watchers.keys.contains_key(key)
            || watchers.prefixes.iter().any(|(prefix, _)| key.as_str().starts_with(prefix.as_str()))
    }

    /// Tells the watchers what was announced.
    pub(crate) fn tell(&self, changes: Vec<Announced>) {
        let mut wakers = Vec::new();
        let watchers = self.watchers.lock();
        for Announced { key, record } in changes {
            let by_prefix =
                watchers.prefixes.iter().filter(|(prefix, _)| key.as_str().starts_with(prefix.as_str()));
            let of_key = watchers.keys.get(&key).into_iter().flatten();
            for queue in of_key.chain(by_prefix.map(|(_, queue)| queue)) {
                let mut queue = queue.lock();
                queue.push(&key, record.clone());
                wakers.extend(queue.waker.take());
            }
        }
        drop(watchers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Tells all watchers to read again.
    pub(crate) fn resync(&self) {
        self.for_all(|queue| queue.resync());
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        self.for_all(|queue| queue.closed = true);
    }

    fn for_all(&self, change: impl Fn(&mut Queue)) {
        let mut wakers = Vec::new();
        let watchers = self.watchers.lock();
        let of_prefixes = watchers.prefixes.iter().map(|(_, queue)| queue);
        for queue in watchers.keys.values().flatten().chain(of_prefixes) {
            let mut queue = queue.lock();
            change(&mut queue);
            wakers.extend(queue.waker.take());
        }
        drop(watchers);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn remove(&self, scope: &Scope, gone: &SharedQueue) {
        let mut watchers = self.watchers.lock();
        match scope {
            Scope::Key(key) => {
                if let Some(queues) = watchers.keys.get_mut(key) {
                    queues.retain(|queue| !Arc::ptr_eq(queue, gone));
                    if queues.is_empty() {
                        watchers.keys.remove(key);
                    }
                }
            }
            Scope::Prefix(_) => watchers.prefixes.retain(|(_, queue)| !Arc::ptr_eq(queue, gone)),
        }
    }
}

/// One watch; it does not keep the store open.
pub(crate) struct Watching {
    scope: Scope,
    queue: SharedQueue,
    hub: Weak<Hub>,
}

impl Watching {
    /// The watch begins now: what was told before is of no interest.
    pub(crate) fn begin(&self) {
        self.queue.lock().clear();
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
        if let Some(hub) = self.hub.upgrade() {
            hub.remove(&self.scope, &self.queue);
        }
    }
}
