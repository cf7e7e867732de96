//! A simulated process: a tokio runtime of its own, with a clock of its own, that can be stopped and killed.

use crate::world::{Origin, Time, World};
use dlock_core::Timestamp;
use dlock_runtime::{Clock, Entropy, Environment, SimulatedClock};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, RngSeed, Runtime};
use tokio::time::Instant;

/// One process. Dropped, it is gone like one that was killed: nothing of it runs any more.
pub(crate) struct Process {
    runtime: Runtime,
    origin: Origin,
    /// How far it has come.
    ran_to: Time,
    stopped: bool,
    /// How long it stood still, for clocks that don't count that.
    stood_still: Arc<Mutex<Duration>>,
}

impl Process {
    /// A process that begins now.
    pub(crate) fn start(world: &World, seed: u64) -> std::io::Result<Process> {
        let time = world.now();
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(format!("{seed} {time:?}").as_bytes()))
            .build()?;
        let instant = runtime.block_on(async { Instant::now() });
        let origin = Origin { instant, time };
        Ok(Process { runtime, origin, ran_to: time, stopped: false, stood_still: Arc::default() })
    }

    /// Starts a task in it, which runs with the next slice.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(task));
    }

    /// Time and randomness for what runs in it.
    pub(crate) fn environment(&self, seed: u64, rate: f64, kind: ClockKind) -> Environment {
        let _entered = self.runtime.enter();
        let clock = Arc::new(ProcessClock {
            inner: SimulatedClock::new(rate),
            rate,
            stood_still: (kind == ClockKind::StopsInPauses).then(|| self.stood_still.clone()),
            reads: Mutex::default(),
        });
        Environment { clock, entropy: Entropy::from_seed(seed) }
    }

    /// Lets it run up to a moment, if it isn't stopped.
    pub(crate) fn run_to(&mut self, time: Time) {
        if self.stopped || time <= self.ran_to {
            return;
        }
        let until = self.origin.instant + (time - self.origin.time);
        self.ran_to = time;
        self.origin.running(|| self.runtime.block_on(async { tokio::time::sleep_until(until).await }));
    }

    /// Lets it stand still: time goes on, and none of its tasks is polled.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Lets it go on, at `time`.
    pub(crate) fn go_on(&mut self, time: Time) {
        if !std::mem::take(&mut self.stopped) {
            return;
        }
        let slept = time.saturating_sub(self.ran_to);
        *self.stood_still.lock() += slept;
        self.ran_to = time;
        let origin = self.origin;
        // All that was due meanwhile is due at once, at the time it is now.
        origin.running(|| self.runtime.block_on(async { tokio::time::advance(slept).await }));
    }
}

/// Which clock a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockKind {
    /// As `CLOCK_BOOTTIME`.
    CountsPauses,
    /// As `CLOCK_MONOTONIC` on a machine that is suspended: a planted bug.
    StopsInPauses,
}

/// How often a process may read its clock at one moment: one that does so more often turns without a pause, and would
/// turn for ever, as time passes only when nothing is left to do.
const READS_AT_ONCE_MAX: u32 = 200_000;

/// A process's clock.
struct ProcessClock {
    inner: SimulatedClock,
    rate: f64,
    /// How long its process stood still, if it doesn't count that.
    stood_still: Option<Arc<Mutex<Duration>>>,
    /// The moment of the last reading, and how often it was read then.
    reads: Mutex<(Timestamp, u32)>,
}

impl ProcessClock {
    fn not_counted(&self) -> Duration {
        self.stood_still.as_ref().map_or(Duration::ZERO, |stood_still| stood_still.lock().mul_f64(self.rate))
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        let now = self.inner.now();
        let reads = {
            let (last, reads) = &mut *self.reads.lock();
            *reads = if *last == now { *reads + 1 } else { 0 };
            *last = now;
            *reads
        };
        assert!(
            reads < READS_AT_ONCE_MAX,
            "a process turns without a pause: it reads its clock again and again"
        );
        now - self.not_counted()
    }

    fn unix_ms(&self) -> u64 {
        self.inner.unix_ms()
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        self.inner.sleep_until(deadline + self.not_counted())
    }
}
