//! For how long, and at what pace, something is tried again that was certainly not done.

use crate::fault::Fault;
use crate::topology::Topology;
use rand::RngExt as _;
use std::time::Duration;
use tokio::time::Instant;

/// The first pause; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The time that is left to try again.
pub(crate) struct Patience {
    deadline: Instant,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(timeout: Duration) -> Patience {
        Patience { deadline: Instant::now() + timeout, pause: PAUSE_MIN }
    }

    /// Returns when it is time to try again; with the fault itself if that makes no sense, or the time is up.
    pub(crate) async fn after(&mut self, fault: Fault, topology: &Topology) -> Result<(), Fault> {
        if !fault.passes() || Instant::now() + self.pause > self.deadline {
            return Err(fault);
        }
        let pause = self.pause.mul_f64(rand::rng().random_range(0.5..1.0));
        tokio::time::sleep(pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        match fault {
            Fault::NoScript => Ok(()),
            // What can't be found out now is found out at the next attempt; what is known meanwhile may do.
            _ => {
                if let Err(fault) = topology.refresh().await {
                    tracing::debug!(?fault, "who has the records is not known anew");
                }
                Ok(())
            }
        }
    }
}
