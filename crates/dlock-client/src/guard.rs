//! A held lock.

use crate::{Convert, LossReason, ReleaseError};
use dlock_core::resource::ValueUpdate;
use dlock_core::{LockId, Mode, ResourceId, SessionId, Timestamp, Token, ValueBlock, ValueRead};
use futures::Stream;
use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A held lock. It is released when it is dropped, in the background; [`Guard::release`] says how it went.
///
/// A lock is a lease: the guard is *valid* until its [deadline](Guard::deadline), which heartbeats move on. When they
/// fail for too long, the guard is lost at the deadline, for ever, even if the service should still count the lock as
/// held: check [`Guard::is_valid`] before each protected action, hand [`Guard::cancellation_token`] to the work, and
/// let the protected resource check the [token](Guard::token), which is the only thing that helps when this process
/// is paused between the check and the action.
#[must_use = "a guard that is dropped releases its lock at once"]
#[derive(Debug)]
pub struct Guard {}

impl Guard {
    /// What is locked.
    pub fn resource(&self) -> &ResourceId {
        unimplemented!()
    }

    /// The mode held.
    pub fn mode(&self) -> Mode {
        unimplemented!()
    }

    /// The fencing token: greater than that of every earlier conflicting grant of the resource. A conversion upwards
    /// raises it.
    pub fn token(&self) -> Token {
        unimplemented!()
    }

    /// The value block, as the last grant that returns it did: a new lock in CR or above, or a conversion to the same
    /// or a higher mode.
    pub fn value(&self) -> Option<&ValueRead> {
        unimplemented!()
    }

    /// How many acquires of this client shared the lock when it was granted: 1, or more when re-entrant.
    pub fn holds(&self) -> u32 {
        unimplemented!()
    }

    /// The session that holds it.
    pub fn session_id(&self) -> SessionId {
        unimplemented!()
    }

    /// The lock's id within the session.
    pub fn lock_id(&self) -> LockId {
        unimplemented!()
    }

    /// Until when the lock is held for sure, on the clock of the client's [`Environment`](crate::Environment).
    pub fn deadline(&self) -> Timestamp {
        unimplemented!()
    }

    /// How long the lock is held for sure, if no further heartbeat succeeds; zero when it is lost.
    pub fn remaining(&self) -> Duration {
        unimplemented!()
    }

    /// Whether the lock is held for sure at this moment. To be checked before each protected action. Once false, it
    /// stays false.
    pub fn is_valid(&self) -> bool {
        unimplemented!()
    }

    /// Why the lock is lost, if it is.
    pub fn loss(&self) -> Option<LossReason> {
        unimplemented!()
    }

    /// Completes when the lock is lost, at the deadline at the latest ([`LossReason::Jeopardy`]). Never completes for a
    /// lock that is released. Cancel-safe; there may be any number of these futures, and they don't borrow the guard.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        std::future::pending()
    }

    /// A token that is cancelled when the lock is lost, at the deadline at the latest. Not when it is released.
    pub fn cancellation_token(&self) -> CancellationToken {
        unimplemented!()
    }

    /// The modes that others want and this lock keeps from them, the most restrictive one each time: let go, or convert
    /// downwards, if you can. Once per episode, and again only for a stronger mode. Doesn't borrow the guard.
    pub fn blocking(&self) -> impl Stream<Item = Mode> + Send + Unpin + use<> {
        futures::stream::pending()
    }

    /// Asks for another mode. Await what this returns, after saying more about it if need be:
    ///
    /// ```no_run
    /// # async fn example(mut guard: dlock_client::Guard) -> Result<(), dlock_client::Error> {
    /// use dlock_client::Mode;
    /// use std::time::Duration;
    /// guard.convert(Mode::Exclusive).wait(Duration::from_secs(3)).await?;
    /// guard.convert(Mode::ProtectedRead).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// Whatever the error, the guard keeps the mode it has. Cancel-safe: dropping the future withdraws the conversion,
    /// and one that was done meanwhile shows in [`Guard::mode`].
    pub fn convert(&mut self, mode: Mode) -> Convert<'_> {
        Convert::new(self, mode)
    }

    /// Lets the lock go, and waits for the acknowledgement (at most for the client's request timeout).
    ///
    /// # Errors
    /// See [`ReleaseError`]; the guard is gone in any case, and the lock as soon as the service can be told.
    pub async fn release(self) -> Result<(), ReleaseError> {
        self.release_with(ValueUpdate::Keep).await
    }

    /// Writes the value block and lets the lock go, in one step. For PW and EX holders.
    ///
    /// # Errors
    /// As [`Guard::release`]; [`ReleaseError::ValueNotWritten`] for a holder in another mode.
    pub async fn release_with_value(self, value: ValueBlock) -> Result<(), ReleaseError> {
        self.release_with(ValueUpdate::Write(value)).await
    }

    /// Lets the lock go and does as told with the value block, in one step.
    ///
    /// # Errors
    /// As [`Guard::release_with_value`].
    pub async fn release_with(self, value: ValueUpdate) -> Result<(), ReleaseError> {
        drop(value);
        unimplemented!()
    }
}
