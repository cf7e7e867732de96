//! How long a session lives without a word from its client.

use std::time::Duration;

/// The time to live of those who name none.
pub const TTL_DEFAULT: Duration = Duration::from_secs(10);
/// The shortest time to live.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// The longest time to live.
pub const TTL_MAX: Duration = Duration::from_secs(600);
/// The longest lock delay.
pub const LOCK_DELAY_MAX: Duration = Duration::from_secs(60);

/// A session's time to live and its lock delay, both of whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseTerms {
    ttl: Duration,
    lock_delay: Duration,
}

/// A duration is out of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {field} is {found:?}, and must be between {min:?} and {max:?}")]
pub struct TermsError {
    /// `time to live` or `lock delay`.
    pub field: &'static str,
    /// What was given.
    pub found: Duration,
    /// The shortest allowed.
    pub min: Duration,
    /// The longest allowed.
    pub max: Duration,
}

impl LeaseTerms {
    /// Checks the bounds: [`TTL_MIN`]..=[`TTL_MAX`] and 0..=[`LOCK_DELAY_MAX`]. Parts of a millisecond are dropped.
    pub fn new(ttl: Duration, lock_delay: Duration) -> Result<LeaseTerms, TermsError> {
        let check = |field, found: Duration, min, max| {
            if found < min || found > max {
                Err(TermsError { field, found, min, max })
            } else {
                Ok(whole(found))
            }
        };
        Ok(LeaseTerms {
            ttl: check("time to live", ttl, TTL_MIN, TTL_MAX)?,
            lock_delay: check("lock delay", lock_delay, Duration::ZERO, LOCK_DELAY_MAX)?,
        })
    }

    /// How long the session lives after the last heartbeat that its home received.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// How much longer its locks are kept from others when it dies without a word, so that work which it had under
    /// way can come to its end.
    pub fn lock_delay(&self) -> Duration {
        self.lock_delay
    }
}

impl Default for LeaseTerms {
    fn default() -> LeaseTerms {
        LeaseTerms { ttl: TTL_DEFAULT, lock_delay: Duration::ZERO }
    }
}

fn whole(duration: Duration) -> Duration {
    duration - Duration::from_nanos(u64::from(duration.subsec_nanos() % 1_000_000))
}
