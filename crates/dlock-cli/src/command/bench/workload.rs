//! What a worker does, turn by turn.

use super::counts::{Counts, Window};
use super::locker::{Failure, Locker};
use super::names::Draw;
use super::pace::Pace;
use dlock_core::{Mode, Timestamp};
use dlock_runtime::{BootClock, Clock};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a worker waits after an error.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// How long whoever holds the resource of `try` does so before it lets go for a moment.
const TRY_HELD: Duration = Duration::from_millis(10);

/// A worker's turns.
pub(super) enum Work<L: Locker> {
    /// Always the same lock.
    Pair { name: String, mode: Mode },
    /// Always the same lock, as all the others; when it was last let go is what they share.
    Hot { name: String, released: Arc<AtomicU64> },
    /// Another lock each time.
    Mixed(Box<Draw>),
    /// One lock that goes up and down.
    Convert { name: String, held: Option<L::Held> },
    /// A lock that another has.
    Try { name: String },
}

/// How a turn went.
enum Turn {
    /// Half-way, and at the end.
    Done([Timestamp; 2]),
    Refused(Timestamp),
}

/// One of those that lock in a loop.
pub(super) struct Worker<L: Locker> {
    pub(super) locker: L,
    pub(super) work: Work<L>,
    pub(super) window: Window,
    /// When turns are due; without, each begins when the one before it has ended.
    pub(super) pace: Option<Arc<Pace>>,
    /// Shared by the workers of a thread.
    pub(super) counts: Arc<Mutex<Counts>>,
}

impl<L: Locker> Worker<L> {
    pub(super) async fn run(mut self) {
        match self.pace.take() {
            None => self.closed_loop().await,
            Some(pace) => self.open_loop(&pace).await,
        }
        if let Work::Convert { held: Some(held), .. } = self.work
            && let Err(error) = self.locker.release(held).await
        {
            self.counts.lock().error(&error);
        }
    }

    /// Turn after turn. Those count that end while it is measured.
    async fn closed_loop(&mut self) {
        let mut start = BootClock.now();
        while start < self.window.end {
            start = match self.turn().await {
                Ok(turn) => {
                    let (Turn::Done([_, end]) | Turn::Refused(end)) = turn;
                    if self.window.contains(end) {
                        self.count(start, turn);
                    }
                    end
                }
                Err(error) => self.failed(&error).await,
            }
        }
    }

    /// Those turns count that are due while it is measured, whenever they end. Who is as far behind as the measurement is
    /// long gives up.
    async fn open_loop(&mut self, pace: &Pace) {
        let give_up = self.window.end + self.window.end.since(self.window.begin);
        while let Some(due) = pace.next().await {
            if BootClock.now() > give_up {
                self.counts.lock().omitted += u64::from(self.window.contains(due));
                continue;
            }
            match self.turn().await {
                Ok(turn) if self.window.contains(due) => self.count(due, turn),
                Ok(_) => {}
                Err(error) => drop(self.failed(&error).await),
            }
        }
    }

    fn count(&self, start: Timestamp, turn: Turn) {
        let mut counts = self.counts.lock();
        match turn {
            Turn::Done([middle, end]) => counts.done([start, middle, end]),
            Turn::Refused(end) => counts.refused(start, end),
        }
    }

    async fn failed(&self, error: &Failure) -> Timestamp {
        self.counts.lock().error(error);
        tokio::time::sleep(ERROR_PAUSE).await;
        BootClock.now()
    }

    async fn turn(&mut self) -> Result<Turn, Failure> {
        match &mut self.work {
            Work::Pair { name, mode } => pair(&self.locker, name, *mode, false, |_| {}).await,
            Work::Try { name } => pair(&self.locker, name, Mode::Exclusive, true, |_| {}).await,
            Work::Mixed(draw) => {
                let (name, mode) = draw.next();
                pair(&self.locker, name, mode, false, |_| {}).await
            }
            Work::Hot { name, released } => {
                let handed_over = |acquired: Timestamp| {
                    // It is let go in the same moment.
                    let before = released.swap(acquired.0, Ordering::Relaxed);
                    if before != 0 && self.window.contains(acquired) {
                        self.counts.lock().hand_over.record(Timestamp(before), acquired);
                    }
                };
                pair(&self.locker, name, Mode::Exclusive, false, handed_over).await
            }
            Work::Convert { name, held } => up_and_down(&self.locker, name, held).await,
        }
    }
}

async fn pair<L: Locker>(
    locker: &L,
    name: &str,
    mode: Mode,
    try_only: bool,
    acquired: impl FnOnce(Timestamp) + Send,
) -> Result<Turn, Failure> {
    let held = locker.acquire(name, mode, try_only).await?;
    let middle = BootClock.now();
    let Some(held) = held else { return Ok(Turn::Refused(middle)) };
    acquired(middle);
    locker.release(held).await?;
    Ok(Turn::Done([middle, BootClock.now()]))
}

async fn up_and_down<L: Locker>(locker: &L, name: &str, held: &mut Option<L::Held>) -> Result<Turn, Failure> {
    if held.is_none() {
        *held = locker.acquire(name, Mode::ProtectedRead, false).await?;
    }
    let Some(lock) = held else { return Ok(Turn::Refused(BootClock.now())) };
    locker.convert(lock, Mode::Exclusive).await?;
    let middle = BootClock.now();
    locker.convert(lock, Mode::ProtectedRead).await?;
    Ok(Turn::Done([middle, BootClock.now()]))
}

/// Holds what others try to get, and lets it go for moments, until the window's end.
pub(super) async fn obstruct<L: Locker>(locker: L, name: String, window: Window) -> Result<(), Failure> {
    while BootClock.now() < window.end {
        let held = locker.acquire(&name, Mode::Exclusive, false).await?;
        tokio::time::sleep(TRY_HELD).await;
        if let Some(held) = held {
            locker.release(held).await?;
        }
    }
    Ok(())
}
