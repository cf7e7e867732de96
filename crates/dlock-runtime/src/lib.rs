//! Where time and randomness come from. dlock's engine, server and SDK read no clock and roll no dice of their own:
//! they ask an [`Environment`], so that a simulation can give each process a clock of its own rate and a seed.
#![forbid(unsafe_code)]

mod clock;
mod entropy;
mod process;

pub use clock::{BootClock, Clock, SimulatedClock};
pub use entropy::Entropy;
pub use process::ProcessUsage;

use std::sync::Arc;

/// What a process takes from the world around it, beside its network and its store.
#[derive(Clone)]
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Entropy,
}

impl Environment {
    /// The machine's own clock and the operating system's randomness.
    pub fn real() -> Environment {
        Environment { clock: Arc::new(BootClock), entropy: Entropy::from_system() }
    }

    /// A clock that follows tokio's (paused or not) at a rate, and randomness from a seed.
    ///
    /// Must be called within a tokio runtime.
    pub fn simulated(seed: u64, rate: f64) -> Environment {
        Environment { clock: Arc::new(SimulatedClock::new(rate)), entropy: Entropy::from_seed(seed) }
    }
}
