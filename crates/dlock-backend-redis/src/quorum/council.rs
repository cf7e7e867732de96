//! All nodes together: operations on registers, carried to their end.

use super::ballot::Epoch;
use super::member::{Member, Reply};
use super::proposer::{Goal, Hint, Outcome, Proposer, Rounds, Step};
use super::register::{Answer, Op};
use super::script::Encoded;
use dlock_store::Key;
use futures::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long more answers are waited for that may help, where a majority's don't do.
const LINGER: Duration = Duration::from_millis(25);
/// The pauses before somebody who is in the way is tried again: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(128);

/// All nodes.
pub(super) struct Council {
    pub(super) members: Vec<Arc<Member>>,
    /// The latest epoch that a majority is known to have joined: none later is used in a ballot.
    epoch: AtomicU64,
    rounds: Rounds,
    pub(super) timeout: Duration,
}

impl Council {
    pub(super) fn new(members: Vec<Arc<Member>>, proposer: u64, timeout: Duration) -> Council {
        Council { members, epoch: AtomicU64::new(0), rounds: Rounds::new(proposer), timeout }
    }

    pub(super) fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// How many nodes take part at the moment.
    pub(super) fn seated(&self) -> usize {
        self.members.iter().filter(|member| member.seat().is_some()).count()
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Carries one operation to its end, within the time-out.
    pub(super) async fn run(&self, key: &Key, goal: Goal, hint: Option<Hint>) -> (Outcome, Option<Hint>) {
        self.run_until(Instant::now() + self.timeout, key, goal, hint).await
    }

    /// The same, with a deadline.
    pub(super) async fn run_until(
        &self,
        deadline: Instant,
        key: &Key,
        goal: Goal,
        hint: Option<Hint>,
    ) -> (Outcome, Option<Hint>) {
        let mut proposer = Proposer::new(&self.rounds, self.members.len(), goal);
        let (reply, mut replies) = unbounded_channel();
        let (mut question, mut pauses) = (0, 0);
        let mut op = proposer.begin(self.epoch(), hint);
        loop {
            question += 1;
            self.ask(key, op, question, &reply);
            let mut linger = None;
            let step = loop {
                let until = linger.unwrap_or(deadline);
                let step = match timeout_at(until, replies.recv()).await {
                    Ok(Some((node, of, answer))) if of == question => {
                        self.help(node, &answer);
                        proposer.answer(node, answer)
                    }
                    Ok(_) => continue,
                    Err(_) if until >= deadline => return (proposer.give_up(), None),
                    Err(_) => proposer.hurry(),
                };
                match step {
                    Step::Wait => linger = None,
                    Step::Linger => linger = linger.or(Some(deadline.min(Instant::now() + LINGER))),
                    step => break step,
                }
            };
            op = match step {
                Step::Done(outcome) => return (outcome, Some(proposer.hint())),
                Step::Ask(op) => op,
                step => {
                    if let Step::Join(epoch) = step
                        && timeout_at(deadline, self.join(epoch)).await == Ok(true)
                    {
                        proposer.again(self.epoch())
                    } else {
                        let until = Instant::now() + pause(if proposer.is_suspect() { 1 } else { pauses });
                        pauses += 1;
                        if until >= deadline {
                            return (proposer.give_up(), None);
                        }
                        sleep_until(until).await;
                        proposer.again(self.epoch())
                    }
                }
            };
        }
    }

    fn ask(&self, key: &Key, op: Op, question: u64, reply: &UnboundedSender<Reply>) {
        let encoded = Arc::new(Encoded::new(key.clone(), op));
        for member in &self.members {
            member.ask(&encoded, question, reply);
        }
    }

    /// A node that has missed an epoch is told of it.
    fn help(&self, node: usize, answer: &Answer) {
        let epoch = self.epoch();
        if let Answer::OtherEpoch(other) = answer
            && *other < epoch
            && let Some(member) = self.members.get(node).cloned()
        {
            tokio::spawn(async move { join_one(&member, epoch).await });
        }
    }

    /// Makes a majority join an epoch, or a later one that somebody is in; whether it has been done.
    pub(super) async fn join(&self, mut epoch: Epoch) -> bool {
        while epoch > self.epoch() {
            let joined = join_all(self.members.iter().map(|member| join_one(member, epoch))).await;
            let highest = joined.iter().flatten().max().copied().unwrap_or(epoch);
            if highest > epoch {
                epoch = highest;
                continue;
            }
            if joined.iter().flatten().count() < self.majority() {
                return false;
            }
            self.epoch.fetch_max(epoch.0, Ordering::AcqRel);
        }
        true
    }
}

/// The epoch that a node is in after it was told of one.
async fn join_one(member: &Member, epoch: Epoch) -> Option<Epoch> {
    let seat = member.seat()?;
    match seat.line.join(&member.layout, &seat.marker, epoch).await {
        Ok(epoch) => Some(epoch),
        Err(fault) => {
            tracing::debug!(node = %member.address, ?fault, "a node has not joined an epoch");
            member.look_again();
            None
        }
    }
}

fn pause(pauses: u32) -> Duration {
    let longest = (PAUSE_MIN * (1 << pauses.min(10))).min(PAUSE_MAX);
    longest.mul_f64(rand::random_range(0.2..1.0))
}
