//! Commits of many callers in few transactions.
//!
//! A commit that comes alone is sent at once. While as many transactions are under way as help, the next commits gather
//! and go together: etcd takes several writes in one transaction much faster than one by one.

use crate::error;
use crate::layout::Layout;
use crate::transaction::{self, BYTES_MAX, WRITES_MAX};
use dlock_store::{Change, StoreError, Verdict, Write};
use etcd_client::Client;

use futures::future::join_all;
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
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
    client: Client,
    layout: Layout,
    queue: Mutex<Queue>,
}

impl Batcher {
    pub(crate) fn new(client: Client, layout: Layout) -> Batcher {
        Batcher { client, layout, queue: Mutex::default() }
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
            while queue.in_flight < IN_FLIGHT_MAX && !queue.waiting.is_empty() {
                queue.in_flight += 1;
                let batch = self.take(&mut queue);
                // In a task of its own: a caller that gives up must not take others' writes with it.
                tokio::spawn(Arc::clone(self).send_all(batch));
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
            if queue.waiting.is_empty() {
                queue.in_flight -= 1;
                return;
            }
            batch = self.take(&mut queue);
        }
    }

    /// The writes that fit into one transaction, the oldest first.
    fn take(&self, queue: &mut Queue) -> Vec<Waiting> {
        let mut batch: Vec<Waiting> = Vec::new();
        let (mut changed, mut bytes) = (HashSet::new(), 0);
        let mut left = VecDeque::new();
        while let Some(waiting) = queue.waiting.pop_front() {
            // A nobody-waits write still has to be sent: it may be the retry that decides.
            let keys = transaction::changes(&self.layout, &waiting.write);
            let size = size(&waiting.write);
            let fits = batch.is_empty() || bytes + size <= BYTES_MAX;
            if !fits || keys.iter().any(|key| changed.contains(key)) {
                left.push_back(waiting);
            } else {
                changed.extend(keys);
                bytes += size;
                batch.push(waiting);
            }
            if batch.len() == WRITES_MAX {
                break;
            }
        }
        left.append(&mut queue.waiting);
        queue.waiting = left;
        batch
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
        match self.client.kv_client().txn(transaction::batch(&self.layout, writes)).await {
            Ok(answer) => {
                let revision = answer.header().map_or(0, |header| header.revision());
                let branches = answer.op_responses();
                writes
                    .iter()
                    .zip(&branches)
                    .map(|(write, branch)| transaction::verdict(write, branch, revision))
                    .collect()
            }
            Err(error) => vec![Err(error::of_write(&error)); writes.len()],
        }
    }
}

fn size(write: &Write) -> usize {
    match &write.change {
        Change::Put(value) => write.key.as_str().len() + value.len(),
        Change::Delete { .. } => write.key.as_str().len(),
    }
}
