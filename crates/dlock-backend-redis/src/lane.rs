//! Writes of one tag, gathered while others are under way: a lone write is sent at once, and what comes while as many
//! scripts as are good are under way goes together with the next.

use crate::flight::{Answers, Sending};
use crate::layout::Tag;
use dlock_store::{Change, StoreError, Write};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How many writes one script carries at best.
pub(crate) const BATCH: usize = 128;
/// The most that one script carries, in bytes of its values.
const BATCH_BYTES: usize = 4 << 20;
/// How many scripts of a tag are under way at a time: more would only be smaller.
const FLIGHTS_MAX: usize = 4;
/// How many writes of a tag wait at most; further ones are refused.
const WAITING_MAX: usize = 65_536;

/// Writes that are answered together.
struct Part {
    writes: Vec<Write>,
    reply: oneshot::Sender<Answers>,
}

/// Who waits for how many of a batch's answers.
type Waiting = (usize, oneshot::Sender<Answers>);

#[derive(Default)]
struct Queue {
    parts: VecDeque<Part>,
    waiting: usize,
    flights: usize,
}

/// The writes of one tag on their way.
pub(crate) struct Lane {
    tag: Tag,
    sending: Arc<Sending>,
    /// Where the connection is served, too: a caller's own runtime would have to be woken twice more.
    runtime: Handle,
    queue: Mutex<Queue>,
}

impl Lane {
    /// Must be called within the runtime that is to send.
    pub(crate) fn new(tag: Tag, sending: Arc<Sending>) -> Arc<Lane> {
        Arc::new(Lane { tag, sending, runtime: Handle::current(), queue: Mutex::default() })
    }

    /// Sends writes, at most [`BATCH`]; the answers come even if other writes are lost.
    pub(crate) fn submit(self: &Arc<Self>, writes: Vec<Write>) -> oneshot::Receiver<Answers> {
        debug_assert!(writes.len() <= BATCH);
        let (reply, answer) = oneshot::channel();
        let mut queue = self.queue.lock();
        if queue.waiting + writes.len() > WAITING_MAX {
            let reason = "too many writes wait for Redis: it is slower than what is asked of it".to_owned();
            drop(reply.send(vec![Err(StoreError::Unavailable { reason }); writes.len()]));
            return answer;
        }
        queue.waiting += writes.len();
        queue.parts.push_back(Part { writes, reply });
        if queue.flights < FLIGHTS_MAX {
            queue.flights += 1;
            drop(queue);
            self.runtime.spawn(Arc::clone(self).fly());
        }
        answer
    }

    /// Sends batch after batch until nothing waits.
    async fn fly(self: Arc<Self>) {
        while let Some((writes, replies)) = self.next() {
            let mut answers = self.sending.send(self.tag, &writes).await.into_iter();
            for (count, reply) in replies {
                // Who has gone does not want to know.
                drop(reply.send(answers.by_ref().take(count).collect()));
            }
        }
    }

    /// The next batch; none ends this flight.
    fn next(&self) -> Option<(Vec<Write>, Vec<Waiting>)> {
        let mut queue = self.queue.lock();
        let (mut writes, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(part) = queue.parts.front() {
            let more: usize = part.writes.iter().map(value_bytes).sum();
            let full = writes.len() + part.writes.len() > BATCH || bytes + more > BATCH_BYTES;
            if full && !writes.is_empty() {
                break;
            }
            bytes += more;
            let Some(part) = queue.parts.pop_front() else { break };
            // Nobody waits for it, and it was not sent: then it need not be.
            if part.reply.is_closed() {
                queue.waiting -= part.writes.len();
                continue;
            }
            replies.push((part.writes.len(), part.reply));
            writes.extend(part.writes);
        }
        queue.waiting -= writes.len();
        if writes.is_empty() {
            queue.flights -= 1;
            return None;
        }
        Some((writes, replies))
    }
}

fn value_bytes(write: &Write) -> usize {
    match &write.change {
        Change::Put(value) => value.len(),
        Change::Delete { .. } => 0,
    }
}
