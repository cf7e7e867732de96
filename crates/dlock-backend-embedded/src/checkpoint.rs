//! Snapshots while service goes on.

use crate::log::Log;
use crate::snapshot::Snapshot;
use crate::state::State;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A snapshot that is being written.
pub(crate) enum Checkpoint {
    /// In a thread of its own.
    Beside { thread: JoinHandle<io::Result<u64>>, given_up: Arc<AtomicBool> },
    /// By the thread that writes the log, between its batches.
    Between(Snapshot),
}

impl Checkpoint {
    /// Begins one of all that is committed.
    pub(crate) fn begin(log: &mut Log, state: &Arc<State>, beside: bool) -> io::Result<Checkpoint> {
        let snapshot = log.begin_snapshot()?;
        if !beside {
            return Ok(Checkpoint::Between(snapshot));
        }
        let given_up = Arc::new(AtomicBool::new(false));
        let (state, disk, stopped) = (Arc::clone(state), Arc::clone(log.disk()), Arc::clone(&given_up));
        let write = move || {
            let mut snapshot = snapshot;
            while !stopped.load(Ordering::Relaxed) {
                match page(&mut snapshot, &state) {
                    Ok(true) => return snapshot.publish(&*disk),
                    Ok(false) => {}
                    Err(error) => return Err(snapshot.discard(&*disk, error)),
                }
            }
            Err(snapshot.discard(&*disk, was_given_up()))
        };
        let thread = std::thread::Builder::new().name("dlock-snapshot".to_owned()).spawn(write)?;
        Ok(Checkpoint::Beside { thread, given_up })
    }

    /// Goes on with it, if that is for this thread; its size in bytes once it is made.
    pub(crate) fn poll(self, log: &Log, state: &State) -> Progress {
        match self {
            Checkpoint::Beside { thread, .. } if thread.is_finished() => Progress::Over(join(thread)),
            Checkpoint::Beside { .. } => Progress::Going(self),
            Checkpoint::Between(mut snapshot) => match page(&mut snapshot, state) {
                Ok(true) => Progress::Over(snapshot.publish(&**log.disk())),
                Ok(false) => Progress::Going(Checkpoint::Between(snapshot)),
                Err(error) => Progress::Over(Err(snapshot.discard(&**log.disk(), error))),
            },
        }
    }

    /// Gives it up, if it isn't made by now; in any case nothing of it goes on when this returns.
    pub(crate) fn give_up(self, log: &Log) {
        let _error = match self {
            Checkpoint::Beside { thread, given_up } => {
                given_up.store(true, Ordering::Relaxed);
                join(thread).err()
            }
            Checkpoint::Between(snapshot) => Some(snapshot.discard(&**log.disk(), was_given_up())),
        };
    }
}

/// How far a snapshot is.
pub(crate) enum Progress {
    Going(Checkpoint),
    Over(io::Result<u64>),
}

fn join(thread: JoinHandle<io::Result<u64>>) -> io::Result<u64> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that wrote it has ended by a defect")))
}

fn was_given_up() -> io::Error {
    io::ErrorKind::Interrupted.into()
}

/// Writes a page; whether it was the last.
fn page(snapshot: &mut Snapshot, state: &State) -> io::Result<bool> {
    let last = state.look(|map| snapshot.gather(map));
    snapshot.write()?;
    Ok(last)
}

/// Writes all that is committed to a snapshot in place of the whole log.
pub(crate) fn write_anew(log: &mut Log, state: &State) -> io::Result<()> {
    let disk = Arc::clone(log.disk());
    let mut snapshot = log.begin_anew()?;
    loop {
        match page(&mut snapshot, state) {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => return Err(snapshot.discard(&*disk, error)),
        }
    }
    log.is_anew(snapshot.publish(&*disk)?);
    Ok(())
}
