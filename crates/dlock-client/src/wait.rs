//! How long to wait for a lock, and what ends the waiting when no server does.

use crate::Error;
use crate::session::locks::WaitUntil;
use dlock_core::Timestamp;
use dlock_runtime::Clock;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long after its deadline a wait is still left to the service, whose answer may be under way.
const GRACE: Duration = Duration::from_secs(1);

/// How long a caller is ready to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    Try,
    /// As long as the session lives.
    Forever,
    /// This long.
    For(Duration),
}

/// The end of one wait, on this client's clock. The service ends waits, too, and is first as a rule; this one holds
/// also when no server can be reached.
pub(crate) struct Limit {
    until: WaitUntil,
    /// Nothing for an endless wait, which then needs no clock.
    end: Option<End>,
}

struct End {
    at: Timestamp,
    error: Error,
    clock: Arc<dyn Clock>,
}

impl Limit {
    /// A wait that begins now.
    pub(crate) fn new(wait: Wait, clock: &Arc<dyn Clock>, request_timeout: Duration) -> Limit {
        let (until, at, error) = match wait {
            Wait::Forever => return Limit { until: WaitUntil::Forever, end: None },
            Wait::Try => {
                let error = Error::Timeout { timeout: request_timeout };
                (WaitUntil::Try, clock.now() + request_timeout, error)
            }
            Wait::For(duration) => {
                let begin = clock.now();
                (WaitUntil::deadline(begin, duration), begin + duration + GRACE, Error::WaitTimeout)
            }
        };
        Limit { until, end: Some(End { at, error, clock: clock.clone() }) }
    }

    /// The wait, for the session.
    pub(crate) fn until(&self) -> WaitUntil {
        self.until
    }

    /// The future's output, unless the wait is over before. The future is dropped then.
    pub(crate) async fn within<T>(self, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let Some(End { at, error, clock }) = self.end else { return future.await };
        tokio::select! {
            biased;
            output = future => output,
            () = clock.sleep_until(at) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlock_runtime::SimulatedClock;
    use std::future::pending;

    async fn ends_after(wait: Wait) -> (Duration, Error) {
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::new(1.0));
        let start = clock.now();
        let limit = Limit::new(wait, &clock, Duration::from_secs(10));
        let error = limit.within(pending::<Result<(), Error>>()).await.unwrap_err();
        (clock.now().since(start), error)
    }

    #[tokio::test(start_paused = true)]
    async fn every_wait_ends_even_if_no_server_answers() {
        let (took, error) = ends_after(Wait::For(Duration::from_secs(3))).await;
        assert!(matches!(error, Error::WaitTimeout), "{error}");
        assert!((4000..4010).contains(&took.as_millis()), "{took:?}");
        let (took, error) = ends_after(Wait::Try).await;
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!((10_000..10_010).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_wait_has_no_end() {
        let waiting = ends_after(Wait::Forever);
        assert!(tokio::time::timeout(Duration::from_secs(1 << 30), waiting).await.is_err());
    }
}
