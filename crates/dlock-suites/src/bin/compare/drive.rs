//! Loops of acquire and release, and what they took.

use async_trait::async_trait;
use dlock_runtime::{BootClock, Clock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Something that locks.
#[async_trait]
pub(crate) trait Locker: Send + Sync {
    /// What is held.
    async fn acquire(&self, client: usize, name: &str) -> Held;
}

/// A lock: how to let it go.
pub(crate) type Held = futures::future::BoxFuture<'static, ()>;

/// Which names are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Own,
    One,
}

/// How long each pair took, in one round or in several.
#[derive(Default)]
pub(crate) struct Measured {
    /// In their order.
    took: Vec<Duration>,
    /// Of each round, pairs per second.
    rates: Vec<f64>,
}

impl Measured {
    fn new(mut took: Vec<Duration>, duration: Duration) -> Measured {
        took.sort_unstable();
        let rates = vec![took.len() as f64 / duration.as_secs_f64()];
        Measured { took, rates }
    }

    /// Another round.
    pub(crate) fn add(&mut self, round: Measured) {
        self.took.extend(round.took);
        self.took.sort_unstable();
        self.rates.extend(round.rates);
    }

    /// The mean of the rounds, all equally long.
    pub(crate) fn rate(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len() as f64
    }

    /// The median of the rounds' ratios to another's, with which it took turns.
    pub(crate) fn ratio_to(&self, other: &Measured) -> f64 {
        let mut ratios: Vec<f64> =
            self.rates.iter().zip(&other.rates).map(|(mine, theirs)| mine / theirs).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(0.0)
    }

    /// In milliseconds.
    pub(crate) fn percentile(&self, part: f64) -> f64 {
        let index = (self.took.len() as f64 * part) as usize;
        self.took.get(index.min(self.took.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64)
            * 1000.0
    }
}

/// So many loops at once; the first half second does not count.
pub(crate) async fn drive(
    locker: &Arc<dyn Locker>,
    names: Names,
    in_flight: usize,
    duration: Duration,
) -> Measured {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> = (0..in_flight)
        .map(|number| {
            let (locker, stop, count) = (locker.clone(), stop.clone(), count.clone());
            tokio::spawn(async move {
                let name = if names == Names::One { "one".to_owned() } else { format!("own-{number}") };
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = BootClock.now();
                    locker.acquire(number, &name).await.await;
                    if count.load(Ordering::Relaxed) {
                        took.push(BootClock.now().since(begun));
                    }
                }
                took
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    count.store(true, Ordering::Relaxed);
    let begun = BootClock.now();
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    let duration = BootClock.now().since(begun);
    let mut took = Vec::new();
    for worker in workers {
        took.extend(worker.await.expect("a worker"));
    }
    Measured::new(took, duration)
}

/// Two clients take turns: from the moment at which one begins to release to that at which the other has the lock.
pub(crate) async fn hand_over(locker: &Arc<dyn Locker>, turns: usize) -> Measured {
    let mut took = Vec::new();
    let mut held = locker.acquire(0, "turns").await;
    for turn in 1..=turns {
        let next = {
            let locker = locker.clone();
            tokio::spawn(async move {
                let held = locker.acquire(turn % 2, "turns").await;
                (BootClock.now(), held)
            })
        };
        tokio::time::sleep(Duration::from_millis(8)).await; // it waits by now
        let before = BootClock.now();
        held.await;
        let (granted, next) = next.await.expect("a grant");
        took.push(granted.since(before));
        held = next;
    }
    held.await;
    Measured::new(took, Duration::from_secs(1))
}

/// Times something again and again, with a pause in between: it is to meet a store that has nothing else to do.
pub(crate) async fn time<F: Future<Output = Duration>>(
    turns: usize,
    mut something: impl FnMut() -> F,
) -> Measured {
    let mut took = Vec::new();
    for _ in 0..turns {
        tokio::time::sleep(Duration::from_millis(8)).await;
        took.push(something().await);
    }
    Measured::new(took, Duration::from_secs(1))
}
