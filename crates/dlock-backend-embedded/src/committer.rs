//! Group commit: one thread takes all that waits and writes it in one transaction.

use crate::State;
use crate::disk::Disk;
use crate::map::Decider;
use dlock_store::{Condition, Severity, StoreError, Verdict, Write};
use futures::channel::oneshot;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// How many writes one transaction carries at most: more would make all of them wait for long.
const BATCH_MAX: usize = 4096;

type Answers = Vec<Result<Verdict, StoreError>>;

/// One call of commit.
struct Call {
    writes: Vec<Write>,
    reply: oneshot::Sender<Answers>,
}

/// The thread, and the way to it.
pub(crate) struct Committer {
    calls: Option<Sender<Call>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(crate) fn start(state: Arc<State>, disk: Disk) -> std::io::Result<Committer> {
        let (calls, incoming) = channel();
        let thread = std::thread::Builder::new()
            .name("dlock-commit".to_owned())
            .spawn(move || run(&state, &disk, &incoming))?;
        Ok(Committer { calls: Some(calls), thread: Some(thread) })
    }

    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Answers {
        let count = writes.len();
        let (reply, answer) = oneshot::channel();
        let gone = || vec![Err(StoreError::Unavailable { reason: "the store is closed".to_owned() }); count];
        let sent = self.calls.as_ref().is_some_and(|calls| calls.send(Call { writes, reply }).is_ok());
        if !sent {
            return gone();
        }
        let ambiguous =
            || StoreError::Ambiguous { reason: "the store was closed during a commit".to_owned() };
        answer.await.unwrap_or_else(|_| vec![Err(ambiguous()); count])
    }
}

impl Drop for Committer {
    /// Waits for what is under way, so that the directory is free when the last handle is gone.
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            // It has printed its panic; those who waited were told that the outcome is not known.
        }
    }
}

fn run(state: &State, disk: &Disk, incoming: &Receiver<Call>) {
    while let Ok(first) = incoming.recv() {
        let mut calls = vec![first];
        let mut writes = calls[0].writes.len();
        while writes < BATCH_MAX
            && let Ok(call) = incoming.try_recv()
        {
            writes += call.writes.len();
            calls.push(call);
        }
        commit(state, disk, calls);
    }
}

/// Decides, writes, makes visible and answers a batch, in this order.
fn commit(state: &State, disk: &Disk, calls: Vec<Call>) {
    if let Some(condition) = &*state.broken.lock() {
        let refused = StoreError::Unavailable { reason: condition.message.clone() };
        return answer_all(calls, &refused);
    }
    let mut replies = Vec::with_capacity(calls.len());
    // Only this thread changes the map, so that it may be read in between without holding it locked.
    let decided = {
        let map = state.map.lock();
        let mut decider = Decider::new(&map);
        for call in calls {
            let verdicts: Vec<Verdict> = call.writes.into_iter().map(|write| decider.decide(write)).collect();
            replies.push((call.reply, verdicts));
        }
        decider.decided
    };
    if !decided.is_empty() {
        if let Err(error) = write(state, disk, &decided) {
            let ambiguous = StoreError::Ambiguous { reason: break_down(state, &error) };
            for (reply, verdicts) in replies {
                drop(reply.send(vec![Err(ambiguous.clone()); verdicts.len()]));
            }
            return;
        }
        let mut map = state.map.lock();
        state.apply(&mut map, decided);
    }
    for (reply, verdicts) in replies {
        drop(reply.send(verdicts.into_iter().map(Ok).collect())); // whoever asked may have gone
    }
}

fn write(state: &State, disk: &Disk, decided: &[crate::map::Decided]) -> Result<(), redb::Error> {
    let absences = state.map.lock().absences.clone();
    disk.write(&absences, decided)
}

/// After a failed transaction nobody knows what is on disk: nothing is served any more until the directory is opened
/// anew, by which the database repairs itself.
fn break_down(state: &State, error: &redb::Error) -> String {
    let full = matches!(error, redb::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull);
    let (code, way_out) = if full {
        ("NOSPACE", "make room on the disk and restart this server")
    } else {
        ("IO", "look after the disk and restart this server")
    };
    let message = format!("the data directory could not be written ({error}): {way_out}");
    *state.broken.lock() = Some(Condition { severity: Severity::Failure, code, message: message.clone() });
    message
}

fn answer_all(calls: Vec<Call>, error: &StoreError) {
    for call in calls {
        drop(call.reply.send(vec![Err(error.clone()); call.writes.len()]));
    }
}
