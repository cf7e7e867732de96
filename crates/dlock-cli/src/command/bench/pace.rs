//! When turns are due in an open loop: at even intervals, however long those before take.

use super::counts::Window;
use crate::exit::Exit;
use dlock_core::Timestamp;
use dlock_runtime::{BootClock, Clock};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long to sleep at the least: with more turns per second, several begin at a time.
const SLEEP_MIN: Duration = Duration::from_micros(50);

/// The turns of one thread. They are given out in their order, each when it is due or later.
pub(super) struct Pace {
    first: Timestamp,
    interval_ns: f64,
    turns: u64,
    next: AtomicU64,
    due: Semaphore,
}

impl Pace {
    /// So many turns per second until the window's end.
    pub(super) fn new(first: Timestamp, window: Window, per_second: f64) -> Pace {
        let turns = (window.end.since(first).as_secs_f64() * per_second).ceil() as u64;
        let (next, due) = (AtomicU64::new(0), Semaphore::new(0));
        Pace { first, interval_ns: 1e9 / per_second, turns, next, due }
    }

    fn start_of(&self, turn: u64) -> Timestamp {
        Timestamp(self.first.0 + (turn as f64 * self.interval_ns) as u64)
    }

    /// Waits for the next turn that nobody has begun, and returns when it was due; `None` when there are no more.
    pub(super) async fn next(&self) -> Option<Timestamp> {
        self.due.acquire().await.ok()?.forget();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        (turn < self.turns).then(|| self.start_of(turn))
    }

    /// Lets the turns begin as they come due, and in the end sends so many workers home.
    pub(super) async fn run(&self, workers: usize) -> Result<(), Exit> {
        let released = self.release().await;
        match released {
            Ok(()) => self.due.add_permits(workers),
            Err(_) => self.due.close(),
        }
        released.map_err(Exit::system)
    }

    async fn release(&self) -> std::io::Result<()> {
        let mut timer = Timer::new()?;
        let mut released = 0;
        while released < self.turns {
            let now = BootClock.now();
            let elapsed = now.since(self.first).as_nanos() as f64;
            let due = ((elapsed / self.interval_ns) as u64 + 1).min(self.turns);
            self.due.add_permits((due - released) as usize);
            released = due;
            let next = self.start_of(released).max(now + SLEEP_MIN);
            timer.sleep_until(next).await?;
        }
        Ok(())
    }
}

/// Sleeps more precisely than tokio's timers, which go by milliseconds.
#[cfg(target_os = "linux")]
struct Timer(tokio::io::unix::AsyncFd<rustix::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Timer {
    fn new() -> std::io::Result<Timer> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Timer(crate::unsafe_parts::register(timerfd_create(TimerfdClockId::Boottime, flags)?)?))
    }

    async fn sleep_until(&mut self, at: Timestamp) -> std::io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let it_value =
            Timespec { tv_sec: (at.0 / 1_000_000_000) as i64, tv_nsec: (at.0 % 1_000_000_000) as i64 };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut expirations = [0; 8];
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd, &mut expirations)?));
            match read {
                Ok(read) => return read.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    fn new() -> std::io::Result<Timer> {
        Ok(Timer)
    }

    async fn sleep_until(&mut self, at: Timestamp) -> std::io::Result<()> {
        BootClock.sleep_until(at).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_are_given_out_at_even_intervals_and_end() {
        let first = BootClock.now();
        let window = Window { begin: first, end: first + Duration::from_millis(20) };
        let pace = Pace::new(first, window, 1000.0);
        let (ran, dues) = tokio::join!(pace.run(1), async {
            let mut dues = Vec::new();
            while let Some(due) = pace.next().await {
                assert!(BootClock.now() >= due);
                dues.push(due.since(first));
            }
            dues
        });
        ran.unwrap();
        let expected: Vec<Duration> = (0..20).map(Duration::from_millis).collect();
        assert_eq!(dues, expected);
    }
}
