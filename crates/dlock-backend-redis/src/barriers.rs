//! Barriers: one serves all who asked for one before it began.

use crate::fault::Fault;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// The barriers of one connection.
pub(crate) struct Barriers {
    asked: AtomicU64,
    /// Up to which of those who asked one has passed, and what it came to.
    passed: Mutex<(u64, Result<(), Fault>)>,
}

impl Default for Barriers {
    fn default() -> Barriers {
        Barriers { asked: AtomicU64::new(0), passed: Mutex::new((0, Ok(()))) }
    }
}

impl Barriers {
    /// Runs a barrier, or waits for one that somebody else has begun since this was called.
    pub(crate) async fn pass(&self, run: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
        let number = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut passed = self.passed.lock().await;
        if passed.0 < number {
            let all = self.asked.load(Ordering::Acquire);
            *passed = (all, run.await);
        }
        passed.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_while_one_runs_share_the_next() {
        let (barriers, runs) = (Barriers::default(), AtomicUsize::new(0));
        let pass = || {
            barriers.pass(async {
                let run = runs.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
                if run == 1 { Err(Fault::NoScript) } else { Ok(()) }
            })
        };
        let asked = join_all((0..100).map(|_| pass())).await;
        assert_eq!(runs.load(Ordering::Relaxed), 2, "one for the first, one for all who came meanwhile");
        assert_eq!(asked.iter().filter(|passed| passed.is_ok()).count(), 1, "they share what it came to");
        assert_eq!(pass().await, Ok(()), "who comes later has one of his own");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_goes_does_not_leave_the_others_waiting() {
        let barriers = Barriers::default();
        let never = barriers.pass(std::future::pending());
        let gone = tokio::time::timeout(Duration::from_millis(1), never);
        let waits = barriers.pass(async { Ok(()) });
        let (gone, passed) = futures::join!(gone, waits);
        assert!(gone.is_err());
        assert_eq!(passed, Ok(()));
    }
}
