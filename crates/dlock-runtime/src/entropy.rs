//! Randomness.

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::sync::Arc;
use std::time::Duration;

/// A source of random numbers, shared by its clones: the operating system's seed, or one given.
#[derive(Clone)]
pub struct Entropy(Arc<Mutex<StdRng>>);

impl Entropy {
    /// Seeded by the operating system: fit for secrets (ChaCha12).
    pub fn from_system() -> Entropy {
        Entropy(Arc::new(Mutex::new(rand::make_rng())))
    }

    /// The same numbers for the same seed: for simulations only.
    pub fn from_seed(seed: u64) -> Entropy {
        Entropy(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A random 64-bit number.
    pub fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }

    /// A random 128-bit number.
    pub fn next_u128(&self) -> u128 {
        self.0.lock().random()
    }

    /// A duration between `from` and `to`, evenly.
    pub fn between(&self, from: Duration, to: Duration) -> Duration {
        from + to.saturating_sub(from).mul_f64(self.0.lock().random::<f64>())
    }

    /// The duration, longer or shorter by up to a quarter: so that many don't act at once.
    pub fn jitter(&self, around: Duration) -> Duration {
        self.between(around.mul_f64(0.75), around.mul_f64(1.25))
    }
}
