//! Group commit: one thread takes all that waits and writes it in one transaction.
//!
//! For each batch, in this order: decide, write to disk, make visible and announce, answer. So nobody reads, is told
//! of, or is promised what a crash could take back.
//!
//! When a transaction fails, nothing is served until all that is served has been written to a new file: that is tried
//! again and again, so that service goes on by itself when a full disk has room again.

use crate::batch::{Batch, Decisions};
use crate::disk::{Disk, WriteFailure};
use crate::map::Answer;
use crate::state::State;
use dlock_store::{Change, Condition, Severity, StoreError, Write};
use futures::channel::oneshot;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A transaction that has this many writes takes no further call: more would make all of them wait for long.
const BATCH_WRITES: usize = 4096;

/// The same, in bytes of its writes.
const BATCH_BYTES: usize = 8 << 20;

/// The most that may wait for the disk, in bytes of the writes; beyond it, calls are refused. Who waits no longer
/// leaves a call behind, so a disk that hangs would otherwise fill the memory.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What a write counts for besides its key and its value, in bytes.
const WRITE_BYTES: usize = 128;

/// How long after a failed transaction, and after each failed attempt to mend that, the next attempt comes.
const MEND_INTERVAL: Duration = Duration::from_secs(1);

/// One call of commit.
struct Call {
    writes: Vec<Write>,
    bytes: usize,
    reply: oneshot::Sender<Vec<Answer>>,
}

/// A call that was decided.
struct Reply {
    to: oneshot::Sender<Vec<Answer>>,
    answers: Vec<Answer>,
}

/// The thread, and the way to it.
pub(crate) struct Committer {
    calls: Option<Sender<Call>>,
    thread: Option<JoinHandle<()>>,
    /// What the calls that wait count for, in bytes.
    waiting_bytes: Arc<AtomicUsize>,
}

impl Committer {
    pub(crate) fn start(state: Arc<State>, disk: Disk) -> std::io::Result<Committer> {
        let (calls, incoming) = channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&waiting_bytes);
        let worker = Worker { state, disk, incoming, waiting_bytes: waiting, mend_at: None };
        let thread =
            std::thread::Builder::new().name("dlock-commit".to_owned()).spawn(move || worker.run())?;
        Ok(Committer { calls: Some(calls), thread: Some(thread), waiting_bytes })
    }

    /// Answers when the writes are on disk. Dropped before the thread has taken it, the call is not made; later, it
    /// is made all the same.
    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Vec<Answer> {
        let count = writes.len();
        let bytes = writes.iter().map(bytes_of).sum();
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) > WAITING_BYTES_MAX {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let reason =
                "too many writes wait for the disk: it is slower than what is asked of it".to_owned();
            return vec![Err(StoreError::Unavailable { reason }); count];
        }
        let (reply, answer) = oneshot::channel();
        let sent = self.calls.as_ref().is_some_and(|calls| calls.send(Call { writes, bytes, reply }).is_ok());
        if !sent {
            let reason = "the store is closed".to_owned();
            return vec![Err(StoreError::Unavailable { reason }); count];
        }
        answer.await.unwrap_or_else(|oneshot::Canceled| {
            let reason = "the store was closed during a commit".to_owned();
            vec![Err(StoreError::Ambiguous { reason }); count]
        })
    }
}

impl Drop for Committer {
    /// Waits for what is under way, so that the directory is free when the last handle is gone.
    fn drop(&mut self) {
        self.calls = None;
        let Some(thread) = self.thread.take() else { return };
        // Whoever is woken by the thread may drop the last handle on it.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            // It has printed why it panicked, and those who waited have an answer.
        }
    }
}

fn bytes_of(write: &Write) -> usize {
    let value = match &write.change {
        Change::Put(value) => value.len(),
        Change::Delete { .. } => 0,
    };
    let guards: usize = write.guards.iter().map(|guard| guard.key.as_str().len()).sum();
    WRITE_BYTES + write.key.as_str().len() + value + guards
}

/// What the thread has. Only the thread changes the records, so they stand still while it decides and writes.
struct Worker {
    state: Arc<State>,
    disk: Disk,
    incoming: Receiver<Call>,
    waiting_bytes: Arc<AtomicUsize>,
    /// When to write all anew, after a transaction failed.
    mend_at: Option<Instant>,
}

#[allow(clippy::disallowed_methods)] // it says when to try again, and decides nothing of what is stored
impl Worker {
    fn run(mut self) {
        while let Some(first) = self.next() {
            let calls = self.gather(first);
            self.commit(calls);
        }
    }

    /// The next call. Until it comes, what broke is mended.
    fn next(&mut self) -> Option<Call> {
        while let Some(mend_at) = self.mend_at {
            let left = mend_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.mend();
                continue;
            }
            match self.incoming.recv_timeout(left) {
                Ok(call) => return Some(call),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        self.incoming.recv().ok()
    }

    /// Serves again, if all that is committed could be written anew. What failed before has not happened then.
    fn mend(&mut self) {
        let (pages, absences) = (self.state.pages(), self.state.absences());
        match self.disk.rewrite(pages, absences) {
            Ok(()) => {
                self.mend_at = None;
                self.state.mend();
            }
            // What is wrong is told since the transaction failed.
            Err(_) => self.mend_at = Some(Instant::now() + MEND_INTERVAL),
        }
    }

    /// All that waits, up to the bounds of a batch.
    fn gather(&self, first: Call) -> Vec<Call> {
        let (mut writes, mut bytes) = (first.writes.len(), first.bytes);
        let mut calls = vec![first];
        while writes < BATCH_WRITES
            && bytes < BATCH_BYTES
            && let Ok(call) = self.incoming.try_recv()
        {
            writes += call.writes.len();
            bytes += call.bytes;
            calls.push(call);
        }
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        calls
    }

    fn commit(&mut self, calls: Vec<Call>) {
        let mut calls = calls.into_iter();
        let decided = self.state.read(|map| {
            let mut batch = Batch::new(map);
            let replies: Vec<Reply> = calls
                .by_ref()
                .filter(|call| !call.reply.is_canceled())
                .map(|call| {
                    let answers = call.writes.into_iter().map(|write| batch.decide(write)).collect();
                    Reply { to: call.reply, answers }
                })
                .collect();
            (replies, batch.finish())
        });
        let (replies, decisions) = match decided {
            Ok(decided) => decided,
            Err(broken) => {
                for call in calls {
                    answer(call.reply, vec![Err(broken.clone()); call.writes.len()]);
                }
                return;
            }
        };
        match self.write(decisions) {
            Ok(()) => replies.into_iter().for_each(|reply| answer(reply.to, reply.answers)),
            Err(error) => {
                for reply in replies {
                    answer(reply.to, vec![Err(error.clone()); reply.answers.len()]);
                }
            }
        }
    }

    /// Writes to disk, then makes visible.
    fn write(&mut self, decisions: Decisions) -> Result<(), StoreError> {
        if decisions.writes.is_empty() {
            return Ok(());
        }
        match self.disk.write(&decisions) {
            Ok(()) => {
                self.state.apply(decisions.writes);
                Ok(())
            }
            Err(failure) => {
                let mends = self.disk.can_be_rewritten();
                self.mend_at = mends.then(|| Instant::now() + MEND_INTERVAL);
                let condition = condition(&failure, mends);
                let (full, reason) = (condition.code == NOSPACE, condition.message.clone());
                self.state.break_down(condition);
                Err(match failure {
                    WriteFailure::Unknown(_) => StoreError::Ambiguous { reason },
                    WriteFailure::NotWritten(_) if full => StoreError::Full { reason },
                    WriteFailure::NotWritten(_) => StoreError::Unavailable { reason },
                })
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let message =
                "the thread that writes the data directory has ended by a defect: restart this server";
            let message = message.to_owned();
            self.state.break_down(Condition { severity: Severity::Failure, code: "DEFECT", message });
        }
    }
}

const NOSPACE: &str = "NOSPACE";

/// What is wrong after a failed transaction: nothing is served until all has been written anew, by this process or, from
/// what is on the disk, by the next.
fn condition(failure: &WriteFailure, mends: bool) -> Condition {
    let (WriteFailure::NotWritten(error) | WriteFailure::Unknown(error)) = failure;
    let full = matches!(error, redb::Error::Io(error)
        if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded));
    let (code, way_out) =
        if full { (NOSPACE, "make room on the disk") } else { ("IO", "look after the disk") };
    let then =
        if mends { "service goes on by itself once all can be written anew" } else { "restart this server" };
    let message = format!("the data directory could not be written ({error}): {way_out}; {then}");
    Condition { severity: Severity::Failure, code, message }
}

fn answer(to: oneshot::Sender<Vec<Answer>>, answers: Vec<Answer>) {
    if to.send(answers).is_err() {
        // Whoever asked has gone, and reads the outcome from the record.
    }
}
