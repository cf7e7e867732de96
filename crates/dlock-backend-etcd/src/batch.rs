//! Commits of many callers in few transactions.
//!
//! A commit that comes alone is sent at once. While as many transactions are under way as help, the next commits gather
//! and go together: etcd takes several writes in one transaction much faster than one by one.

use crate::endpoints::Endpoints;
use crate::layout::Layout;
use crate::transaction::{self, BYTES_MAX, OPERATIONS_MAX, WRITES_MAX};
use dlock_store::{Change, StoreError, Verdict, Write};
use etcd_client::Client;
use futures::future::join_all;
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// More transactions under way at a time add little, and much to the slowest.
const IN_FLIGHT_MAX: usize = 4;

struct Waiting {
    write: Write,
    reply: oneshot::Sender<Result<Verdict, StoreError>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    in_flight: usize,
}

pub(crate) struct Batcher {
    endpoints: Arc<Endpoints>,
    layout: Layout,
    /// Where the connection is served, too: a caller's own runtime would have to be woken twice more.
    runtime: Handle,
    queue: Mutex<Queue>,
}

impl Batcher {
    /// Must be called within the runtime that is to send.
    pub(crate) fn new(endpoints: Arc<Endpoints>, layout: Layout) -> Batcher {
        Batcher { endpoints, layout, runtime: Handle::current(), queue: Mutex::default() }
    }

    pub(crate) async fn commit(self: &Arc<Self>, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        let mut answers = Vec::with_capacity(writes.len());
        {
            let mut queue = self.queue.lock();
            for write in writes {
                let (reply, answer) = oneshot::channel();
                queue.waiting.push_back(Waiting { write, reply });
                answers.push(answer);
            }
            while queue.in_flight < IN_FLIGHT_MAX {
                let batch = self.take(&mut queue);
                if batch.is_empty() {
                    break;
                }
                queue.in_flight += 1;
                // In a task of its own: a caller that gives up must not take others' writes with it.
                self.runtime.spawn(Arc::clone(self).send_all(batch));
            }
        }
        let gone = || Err(StoreError::Ambiguous { reason: "the store was closed".to_owned() });
        join_all(answers).await.into_iter().map(|answer| answer.unwrap_or_else(|_| gone())).collect()
    }

    /// Sends this batch, and then what has gathered meanwhile, until nothing has.
    async fn send_all(self: Arc<Self>, mut batch: Vec<Waiting>) {
        loop {
            self.send(batch).await;
            let mut queue = self.queue.lock();
            batch = self.take(&mut queue);
            if batch.is_empty() {
                queue.in_flight -= 1;
                return;
            }
        }
    }

    /// The writes that fit into one transaction, the oldest first.
    fn take(&self, queue: &mut Queue) -> Vec<Waiting> {
        let mut batch = Batch::default();
        let mut left = VecDeque::new();
        while let Some(waiting) = queue.waiting.pop_front() {
            if waiting.reply.is_closed() {
                continue; // nobody waits for it any more, and it was never sent
            }
            if let Err(waiting) = batch.add(waiting, &self.layout) {
                left.push_back(waiting);
            }
            if batch.is_full() {
                break;
            }
        }
        left.append(&mut queue.waiting);
        queue.waiting = left;
        batch.writes
    }

    async fn send(&self, batch: Vec<Waiting>) {
        let (writes, replies): (Vec<Write>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.write, waiting.reply)).unzip();
        let answers = self.transact(&writes).await;
        for (reply, answer) in replies.into_iter().zip(answers) {
            drop(reply.send(answer)); // a caller that has gone does not want to know
        }
    }

    async fn transact(&self, writes: &[Write]) -> Vec<Result<Verdict, StoreError>> {
        let transaction = transaction::of(&self.layout, writes);
        let send = |client: Client| {
            let transaction = transaction.clone();
            async move { crate::kv(&client).txn(transaction).await }
        };
        match self.endpoints.write(send).await {
            Ok(answer) => transaction::verdicts(writes, &answer),
            Err(error) => vec![Err(error); writes.len()],
        }
    }
}

/// The writes of one transaction, as it fills.
#[derive(Default)]
struct Batch {
    writes: Vec<Waiting>,
    changes: HashSet<Vec<u8>>,
    guards: HashSet<Vec<u8>>,
    /// Of the branch that has the most.
    operations: usize,
    bytes: usize,
    refused: usize,
}

/// After so many that did not fit the rest is left for the next transaction, unseen.
const REFUSED_MAX: usize = 32;

impl Batch {
    /// Takes the write if it fits to the others.
    fn add(&mut self, waiting: Waiting, layout: &Layout) -> Result<(), Waiting> {
        let write = &waiting.write;
        let touched = transaction::touched(layout, write);
        let operations = self.operations.max(transaction::operations(write));
        let bytes = self.bytes + size(write);
        let fits = self.writes.len() + 1 + operations <= OPERATIONS_MAX && bytes <= BYTES_MAX;
        let apart =
            touched.changes.iter().all(|key| !self.changes.contains(key) && !self.guards.contains(key))
                && touched.guards.iter().all(|key| !self.changes.contains(key));
        // What fits into no transaction is sent alone, for etcd to say so.
        let alone = self.writes.is_empty();
        if !(alone || fits && apart) {
            self.refused += 1;
            return Err(waiting);
        }
        self.operations = operations;
        self.bytes = bytes;
        self.changes.extend(touched.changes);
        self.guards.extend(touched.guards);
        self.writes.push(waiting);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.writes.len() == WRITES_MAX || self.refused == REFUSED_MAX
    }
}

/// About how much of a request the write takes.
fn size(write: &Write) -> usize {
    const FRAMING: usize = 64;
    let value = match &write.change {
        Change::Put(value) => value.len(),
        Change::Delete { .. } => size_of::<u64>(),
    };
    // The key is in the condition, in the change and in the look; a guard's in its condition and its look.
    let guards = write.guards.iter().map(|guard| 2 * (guard.key.as_str().len() + FRAMING));
    3 * (write.key.as_str().len() + FRAMING) + value + guards.sum::<usize>()
}

#[cfg(test)]
mod tests;
