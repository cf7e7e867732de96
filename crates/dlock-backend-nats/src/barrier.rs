//! Barriers: after one has come back through the consumer, the copy has all that was acknowledged before.

use crate::client::Connected;
use crate::copy::SharedCopy;
use crate::envelope;
use crate::error::of_publication;
use crate::insist::insist;
use async_nats::jetstream::context::PublishError;
use dlock_store::StoreError;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How long what was acknowledged may take to come back.
pub(crate) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);

type Waiter = oneshot::Sender<Result<(), StoreError>>;

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiter>,
    running: bool,
}

/// One handle's barriers. While one is under way, the next readers gather for the next one.
pub(crate) struct Barrier {
    shared: Arc<Shared>,
}

struct Shared {
    connected: Connected,
    copy: Arc<SharedCopy>,
    /// Where the connection is served, too: a caller's own runtime would have to be woken twice more.
    runtime: Handle,
    queue: Mutex<Queue>,
}

impl Barrier {
    /// Must be called within the runtime that is to send.
    pub(crate) fn new(connected: Connected, copy: Arc<SharedCopy>) -> Barrier {
        let (runtime, queue) = (Handle::current(), Mutex::default());
        Barrier { shared: Arc::new(Shared { connected, copy, runtime, queue }) }
    }

    /// Returns when the copy has all that was acknowledged before this was called.
    pub(crate) async fn pass(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let start = {
            let mut queue = self.shared.queue.lock();
            queue.waiting.push(reply);
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            self.shared.runtime.spawn(Arc::clone(&self.shared).run());
        }
        let gone = || Err(StoreError::Unavailable { reason: "the store was closed".to_owned() });
        answer.await.unwrap_or_else(|_| gone())
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        loop {
            let waiting = {
                let mut queue = self.queue.lock();
                if queue.waiting.is_empty() {
                    queue.running = false;
                    return;
                }
                std::mem::take(&mut queue.waiting)
            };
            let passed = self.pass_one().await;
            for waiter in waiting {
                drop(waiter.send(passed.clone())); // a reader that has gone does not want to know
            }
        }
    }

    async fn pass_one(&self) -> Result<(), StoreError> {
        let unavailable = |error: &PublishError| match of_publication(error) {
            StoreError::Ambiguous { reason } => StoreError::Unavailable { reason },
            other => other,
        };
        let barrier = envelope::Barrier { nonce: self.connected.nonce() };
        let before = self.copy.applied();
        self.copy.expect_barrier(barrier);
        let publication = insist(|| self.connected.publish_barrier(barrier)).await;
        let sequence = publication.map_err(|error| unavailable(&error))?.sequence;
        let away = |reason: &str| Err(StoreError::Unavailable { reason: reason.to_owned() });
        if !self.copy.acknowledge(sequence, before) {
            return away("the bucket was made anew or restored, and is read again");
        }
        let reached = tokio::time::timeout(DELIVERY_TIMEOUT, self.copy.reach(sequence)).await;
        if self.copy.differs(sequence) {
            self.copy.doubt_node(sequence);
            return away("a node of NATS differs from its leader, and the bucket is read again");
        }
        match reached {
            Ok(()) => {
                self.copy.agree(sequence);
                Ok(())
            }
            Err(_) => away("what was written is not delivered in time"),
        }
    }
}
