//! Clocks.

use dlock_core::Timestamp;
use futures::future::BoxFuture;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A clock: a monotonic one for decisions, and the wall's for people.
pub trait Clock: Send + Sync + 'static {
    /// Now, on a monotonic clock that counts through suspend.
    fn now(&self) -> Timestamp;

    /// Now, in milliseconds of Unix time. Shown to people, never used to decide anything.
    fn unix_ms(&self) -> u64;

    /// Completes when [`Clock::now`] has reached `deadline`, or somewhat later.
    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()>;

    /// Completes after `duration` on this clock, or somewhat later.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now() + duration)
    }
}

/// The machine's clock: `CLOCK_BOOTTIME`, which goes on while the machine is suspended, so that a laptop's lid or a
/// virtual machine's pause can't make a lease look younger than it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Timestamp {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let id = rustix::time::ClockId::Boottime;
        // macOS' monotonic clock counts through sleep; elsewhere there is nothing better.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let id = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(id);
        Timestamp(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    #[allow(clippy::disallowed_methods)] // the one place that reads the wall clock
    fn unix_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        // tokio sleeps on CLOCK_MONOTONIC: after a suspend it wakes late, and those who wake look at `now` again.
        Box::pin(tokio::time::sleep(deadline.since(self.now())))
    }
}

/// A clock that follows tokio's, faster or slower by a constant rate: under paused time it is the simulation's.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedClock {
    origin: Instant,
    rate: f64,
}

impl SimulatedClock {
    /// A clock that starts a minute after its boot; `rate` 1.1 runs ten per cent fast.
    ///
    /// # Panics
    /// When the rate is not a positive number.
    pub fn new(rate: f64) -> SimulatedClock {
        assert!(rate.is_finite() && rate > 0.0, "a clock's rate is a positive number, not {rate}");
        SimulatedClock { origin: Instant::now(), rate }
    }

    const START: Timestamp = Timestamp(60_000_000_000);
    /// 2026-01-01T00:00:00Z.
    const START_UNIX_MS: u64 = 1_767_225_600_000;
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Self::START + self.origin.elapsed().mul_f64(self.rate)
    }

    fn unix_ms(&self) -> u64 {
        Self::START_UNIX_MS + self.origin.elapsed().as_millis() as u64
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        // Rounded up to tokio's millisecond, or a sleeper would wake just before its deadline.
        let left = deadline.since(self.now()).div_f64(self.rate) + Duration::from_millis(1);
        Box::pin(tokio::time::sleep(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_goes_forward() {
        let before = BootClock.now();
        assert!(BootClock.now() >= before && before > Timestamp(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_sleeps_shorter_and_shows_the_whole_time() {
        let fast = SimulatedClock::new(2.0);
        let (start, real) = (fast.now(), Instant::now());
        fast.sleep(Duration::from_secs(10)).await;
        assert!(fast.now().since(start) >= Duration::from_secs(10));
        assert!(real.elapsed() < Duration::from_secs(6));
    }
}
