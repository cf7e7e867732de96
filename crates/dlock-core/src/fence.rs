//! The protected resource's side of fencing: remember the highest token, and refuse every lower one.

use crate::Token;

/// The highest token that a protected resource has seen. Keep it with the resource, as durably as the resource itself.
///
/// Show it the token of every access under a lock, reads too: a new holder that has only read must already keep a late
/// writer out, or it would overwrite what that one wrote meanwhile.
///
/// ```
/// use dlock_core::Token;
/// use dlock_core::fence::Fence;
///
/// let [old, new] = [7, 8].map(|counter| Token::new(0, counter).unwrap());
/// let mut fence = Fence::default();
/// fence.admit(old).unwrap(); // reads, and is paused before it writes
/// fence.admit(new).unwrap(); // the next holder reads
/// assert_eq!(fence.admit(old).unwrap_err().highest, new); // the late write
/// fence.admit(new).unwrap(); // one holder has as many accesses as it likes
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fence {
    highest: Token,
}

impl Fence {
    /// A fence as it was kept.
    pub const fn at(highest: Token) -> Fence {
        Fence { highest }
    }

    /// The highest token so far: what has to be kept.
    pub const fn highest(&self) -> Token {
        self.highest
    }

    /// Lets a token pass that is the highest, or higher, and remembers it.
    ///
    /// # Errors
    /// [`StaleToken`] for a lower one: whoever showed it does not hold the lock any more, and must not touch the
    /// resource.
    pub fn admit(&mut self, token: Token) -> Result<(), StaleToken> {
        if token < self.highest {
            return Err(StaleToken { token, highest: self.highest });
        }
        self.highest = token;
        Ok(())
    }
}

/// A token lower than one that the resource has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token {token} is stale: the resource has seen {highest}, so the lock has passed on")]
pub struct StaleToken {
    /// What was shown.
    pub token: Token,
    /// What the resource has seen.
    pub highest: Token,
}
