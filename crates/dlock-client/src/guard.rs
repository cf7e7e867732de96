//! A held lock.

use crate::driver::cell::LockCell;
use crate::driver::command::{Command, Granted, SessionHandle};
use crate::sync::oneshot;
use crate::{Convert, LossReason, ReleaseError};
use dlock_core::resource::ValueUpdate;
use dlock_core::{LockId, Mode, ResourceId, SessionId, Timestamp, Token, ValueBlock, ValueRead};
use futures::{Stream, StreamExt};
use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

/// A held lock. It is released when it is dropped, in the background; [`Guard::release`] says how it went.
///
/// A lock is a lease: the guard is *valid* until its [deadline](Guard::deadline), which heartbeats move on. When they
/// fail for too long, the guard is lost at the deadline, for ever, even if the service should still count the lock as
/// held: check [`Guard::is_valid`] before each protected action, hand [`Guard::cancellation_token`] to the work, and
/// let the protected resource check the [token](Guard::token), which is the only thing that helps when this process
/// is paused between the check and the action.
#[must_use = "a guard that is dropped releases its lock at once"]
pub struct Guard {
    pub(crate) session: SessionHandle,
    pub(crate) lock: LockId,
    pub(crate) value: Option<ValueRead>,
    pub(crate) holds: u32,
    pub(crate) request_timeout: Duration,
    pub(crate) cell: Arc<LockCell>,
    session_id: SessionId,
    resource: ResourceId,
    released: bool,
}

impl Guard {
    pub(crate) fn new(
        session: SessionHandle,
        lock: LockId,
        resource: ResourceId,
        granted: Granted,
        request_timeout: Duration,
    ) -> Guard {
        let Granted { grant, cell } = granted;
        // There is no grant without a session.
        let session_id = session.cell.session().unwrap_or(SessionId(0));
        let (value, holds) = (grant.value, grant.holds);
        Guard { session, lock, value, holds, request_timeout, cell, session_id, resource, released: false }
    }

    /// What is locked.
    pub fn resource(&self) -> &ResourceId {
        &self.resource
    }

    /// The mode held for sure. While it is not known what came of a conversion (one that was given up, or one of another
    /// guard that shares the lock), that is what its mode and the one before have in common.
    pub fn mode(&self) -> Mode {
        self.cell.held().0
    }

    /// The fencing token: greater than that of every earlier conflicting grant of the resource. A conversion upwards
    /// raises it.
    pub fn token(&self) -> Token {
        self.cell.held().1
    }

    /// The value block, as the last grant that returns it did: a new lock in CR or above, or a conversion to the same
    /// or a higher mode.
    pub fn value(&self) -> Option<&ValueRead> {
        self.value.as_ref()
    }

    /// How many acquires of this client shared the lock when it was granted: 1, or more when re-entrant.
    pub fn holds(&self) -> u32 {
        self.holds
    }

    /// The session that holds it.
    pub fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// The lock's id within the session.
    pub fn lock_id(&self) -> LockId {
        self.lock
    }

    /// Until when the lock is held for sure, on the clock of the client's [`Environment`](crate::Environment). Of no
    /// meaning once the lock is lost.
    pub fn deadline(&self) -> Timestamp {
        self.session.cell.deadline()
    }

    /// How long the lock is held for sure, if no further heartbeat succeeds; zero when it is lost.
    pub fn remaining(&self) -> Duration {
        if self.is_valid() { self.deadline().since(self.session.cell.clock().now()) } else { Duration::ZERO }
    }

    /// Whether the lock is held for sure at this moment. To be checked before each protected action. Once false, it
    /// stays false.
    pub fn is_valid(&self) -> bool {
        self.cell.is_valid(&self.session.cell)
    }

    /// Why the lock is lost, if it is.
    pub fn loss(&self) -> Option<LossReason> {
        self.cell.loss()
    }

    /// Completes when the lock is lost, at the deadline at the latest ([`LossReason::Jeopardy`]). Never completes for a
    /// lock that is released. Cancel-safe; there may be any number of these futures, and they don't borrow the guard.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let cell = self.cell.clone();
        async move {
            cell.lost().cancelled().await;
            // The reason is set before the token is cancelled.
            cell.loss().unwrap_or(LossReason::Jeopardy)
        }
    }

    /// A token that is cancelled when the lock is lost, at the deadline at the latest. Not when it is released.
    /// Cancelling it oneself has no effect on the lock.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.cell.lost().child_token()
    }

    /// The modes that others want and this lock keeps from them, the most restrictive one each time: let go, or convert
    /// downwards, if you can. Once per episode, and again only for a stronger mode. Begins with what is wanted already;
    /// of several, a slow consumer sees the last. Ends after the lock. Doesn't borrow the guard.
    pub fn blocking(&self) -> impl Stream<Item = Mode> + Send + Unpin + use<> {
        WatchStream::new(self.cell.blocking()).filter_map(ready)
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
    /// A conversion that the service has refused leaves the mode as it is. One that got no answer is withdrawn, and so
    /// is one whose future is dropped (this is cancel-safe); but it may have been done before. Until the service has
    /// said, [`Guard::mode`] is then the lesser of the two modes (CR between CW and PR): do not count on more.
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
    pub async fn release_with(mut self, value: ValueUpdate) -> Result<(), ReleaseError> {
        if let Some(reason) = self.loss() {
            // Dropping the guard releases what may be left of the lock.
            return Err(ReleaseError::Lost(reason));
        }
        let held = self.mode();
        let refused = value != ValueUpdate::Keep && !held.writes_value();
        let value = if refused { ValueUpdate::Keep } else { value };
        let (reply, released) = oneshot::channel();
        self.released = true;
        // A session that is over drops the command, and with it the reply.
        let _ = self.session.commands.send(Command::Release { lock: self.lock, value, reply: Some(reply) });
        match released.await {
            Ok(Ok(())) if refused => Err(ReleaseError::ValueNotWritten { held }),
            Ok(result) => result,
            Err(_) => Err(ReleaseError::Lost(self.loss().unwrap_or(LossReason::Closed))),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.released {
            // A session that is over has released it.
            let _ = self.session.commands.send(Command::Release {
                lock: self.lock,
                value: ValueUpdate::Keep,
                reply: None,
            });
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("resource", &self.resource)
            .field("mode", &self.mode())
            .field("token", &self.token())
            .field("loss", &self.loss())
            .finish_non_exhaustive()
    }
}
