//! Group commit: one thread takes all that waits and writes it to the log in one batch.
//!
//! For each batch, in this order: decide, write to disk, make visible and announce, answer. So nobody reads, is told
//! of, or is promised what a crash could take back.
//!
//! When a batch fails, nothing is served until there is room to go on or, if the log can't be trusted any more, all that is
//! served has been written to a new file: that is tried again and again, so that service goes on by itself when a full disk
//! has room again.

use crate::batch::Batch;
use crate::checkpoint::{self, Checkpoint, Progress};
use crate::log::{Log, WriteFailure, is_full};
use crate::map::{Answer, Decided};
use crate::pace::Pace;
use crate::state::State;
use crate::upkeep::Upkeep;
use dlock_store::{Change, Condition, Severity, StoreError, Write};
use futures::channel::oneshot;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

/// A batch that has this many writes takes no further call: more would make all of them wait for long.
const BATCH_WRITES: usize = 4096;

/// The same, in bytes of its writes.
const BATCH_BYTES: usize = 8 << 20;

/// The most that may wait for the disk, in bytes of the writes; beyond it, calls are refused. Who waits no longer
/// leaves a call behind, so a disk that hangs would otherwise fill the memory.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What a write counts for besides its key and its value, in bytes.
const WRITE_BYTES: usize = 128;

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
    pub(crate) fn start(state: Arc<State>, log: Log, upkeep: Upkeep) -> io::Result<Committer> {
        let (calls, incoming) = channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&waiting_bytes);
        let worker = Worker {
            state,
            log,
            upkeep,
            incoming,
            waiting_bytes: waiting,
            checkpoint: None,
            mend_at: None,
            pace: Pace::default(),
        };
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
    log: Log,
    upkeep: Upkeep,
    incoming: Receiver<Call>,
    waiting_bytes: Arc<AtomicUsize>,
    /// A snapshot that is being written.
    checkpoint: Option<Checkpoint>,
    /// When to try to mend what is broken, after a batch failed.
    mend_at: Option<Instant>,
    pace: Pace,
}

#[allow(clippy::disallowed_methods)] // it says when to try again, and decides nothing of what is stored
impl Worker {
    fn run(mut self) {
        while let Some(first) = self.next() {
            let calls = self.gather(first);
            if self.commit(calls) {
                self.keep_short();
            }
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

    /// Serves again, if there is room again, or all that is committed could be written anew. What failed before has not
    /// happened then.
    fn mend(&mut self) {
        let mended = if self.log.is_trusted() {
            self.log.resume()
        } else {
            if let Some(checkpoint) = self.checkpoint.take() {
                checkpoint.give_up(&self.log);
            }
            checkpoint::write_anew(&mut self.log, &self.state)
        };
        match mended {
            Ok(()) => {
                self.mend_at = None;
                self.state.mend();
            }
            // What is wrong is told since the batch failed.
            Err(_) => self.mend_at = Some(Instant::now() + self.upkeep.mend_interval),
        }
    }

    /// All that waits, up to the bounds of a batch, and those who are about to come again.
    fn gather(&mut self, first: Call) -> Vec<Call> {
        let (mut writes, mut bytes) = (first.writes.len(), first.bytes);
        let mut calls = vec![first];
        let mut wait = self.pace.begin();
        while writes < BATCH_WRITES && bytes < BATCH_BYTES {
            match self.incoming.try_recv() {
                Ok(call) => {
                    writes += call.writes.len();
                    bytes += call.bytes;
                    calls.push(call);
                    wait.somebody_came();
                }
                Err(_) if wait.is_over(writes) => break,
                Err(_) => std::thread::yield_now(),
            }
        }
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.pace.had(writes);
        calls
    }

    /// Decides, writes and answers; whether anything was written.
    fn commit(&mut self, calls: Vec<Call>) -> bool {
        let count = calls.iter().map(|call| call.writes.len()).sum();
        let mut calls = calls.into_iter();
        let decided = self.state.read(|map| {
            let mut batch = Batch::new(map, count);
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
        let (replies, writes) = match decided {
            Ok(decided) => decided,
            Err(broken) => {
                for call in calls {
                    answer(call.reply, vec![Err(broken.clone()); call.writes.len()]);
                }
                return false;
            }
        };
        if writes.is_empty() {
            replies.into_iter().for_each(|reply| answer(reply.to, reply.answers));
            return false;
        }
        match self.write(writes) {
            Ok(()) => {
                replies.into_iter().for_each(|reply| answer(reply.to, reply.answers));
                true
            }
            Err(error) => {
                for reply in replies {
                    answer(reply.to, vec![Err(error.clone()); reply.answers.len()]);
                }
                false
            }
        }
    }

    /// Writes to disk, then makes visible.
    fn write(&mut self, decided: Vec<Decided>) -> Result<(), StoreError> {
        let begun = Instant::now();
        match self.log.append(&decided) {
            Ok(()) => {
                self.pace.took(begun.elapsed());
                self.state.apply(decided);
                Ok(())
            }
            Err(failure) => {
                self.mend_at = Some(Instant::now() + self.upkeep.mend_interval);
                let (WriteFailure::NotWritten(error) | WriteFailure::Unknown(error)) = &failure;
                let condition = broken(error);
                let reason = condition.message.clone();
                self.state.break_down(condition);
                Err(match failure {
                    WriteFailure::Unknown(_) => StoreError::Ambiguous { reason },
                    WriteFailure::NotWritten(error) if is_full(&error) => StoreError::Full { reason },
                    WriteFailure::NotWritten(_) => StoreError::Unavailable { reason },
                })
            }
        }
    }

    /// Sees to it that the log does not grow for ever.
    fn keep_short(&mut self) {
        if let Some(checkpoint) = self.checkpoint.take() {
            match checkpoint.poll(&self.log, &self.state) {
                Progress::Going(checkpoint) => self.checkpoint = Some(checkpoint),
                Progress::Over(Ok(bytes)) => {
                    self.log.snapshot_is_made(bytes);
                    self.state.warn(None);
                }
                Progress::Over(Err(error)) => self.no_snapshot(&error),
            }
        } else if self.mend_at.is_none() && self.log.is_due() {
            match Checkpoint::begin(&mut self.log, &self.state, self.upkeep.snapshots_beside) {
                Ok(checkpoint) => self.checkpoint = Some(checkpoint),
                Err(error) => self.no_snapshot(&error),
            }
        }
    }

    fn no_snapshot(&mut self, error: &io::Error) {
        self.log.snapshot_has_failed();
        self.state.warn(Some(too_long(error)));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(checkpoint) = self.checkpoint.take() {
            checkpoint.give_up(&self.log);
        }
        if std::thread::panicking() {
            let message =
                "the thread that writes the data directory has ended by a defect: restart this server";
            let message = message.to_owned();
            self.state.break_down(Condition { severity: Severity::Failure, code: "DEFECT", message });
        }
    }
}

const NOSPACE: &str = "NOSPACE";

/// A short name for what is wrong with the disk, and what to do.
fn ailment(error: &io::Error) -> (&'static str, &'static str) {
    if is_full(error) { (NOSPACE, "make room on the disk") } else { ("IO", "look after the disk") }
}

/// What is wrong after a batch failed: nothing is served until it can be written again.
fn broken(error: &io::Error) -> Condition {
    let (code, way_out) = ailment(error);
    let message = format!(
        "the data directory could not be written ({error}): {way_out}; service goes on by itself once it can be"
    );
    Condition { severity: Severity::Failure, code, message }
}

/// What is wrong while there is no snapshot.
fn too_long(error: &io::Error) -> Condition {
    let (code, way_out) = ailment(error);
    let message = format!(
        "no snapshot could be written to the data directory ({error}), so that its log grows: {way_out}; it is tried again"
    );
    Condition { severity: Severity::Warning, code, message }
}

fn answer(to: oneshot::Sender<Vec<Answer>>, answers: Vec<Answer>) {
    if to.send(answers).is_err() {
        // Whoever asked has gone, and reads the outcome from the record.
    }
}
