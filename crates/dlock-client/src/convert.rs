//! A held lock on its way to another mode.

use crate::driver::command::{Command, Granted};
use crate::session::locks::ConvertAsk;
use crate::sync::oneshot;
use crate::wait::{Limit, Wait};
use crate::{Error, Guard};
use dlock_core::resource::ValueUpdate;
use dlock_core::{Mode, ValueBlock};
use futures::future::BoxFuture;
use std::time::Duration;

/// A conversion of a held lock; made by [`Guard::convert`], done by awaiting it.
#[must_use = "nothing is converted until this is awaited"]
pub struct Convert<'guard> {
    guard: &'guard mut Guard,
    mode: Mode,
    wait: Wait,
    value: ValueUpdate,
}

impl<'guard> Convert<'guard> {
    pub(crate) fn new(guard: &'guard mut Guard, mode: Mode) -> Self {
        Convert { guard, mode, wait: Wait::Forever, value: ValueUpdate::Keep }
    }

    /// How long to wait at most; then [`Error::WaitTimeout`]. Default: as long as the session lives.
    pub fn wait(mut self, at_most: Duration) -> Self {
        self.wait = Wait::For(at_most);
        self
    }

    /// Refuse it with [`Error::WouldBlock`] if it can't be done at once.
    pub fn try_only(mut self) -> Self {
        self.wait = Wait::Try;
        self
    }

    /// Writes the value block, on the way down from PW or EX (or when staying there).
    pub fn write_value(mut self, value: ValueBlock) -> Self {
        self.value = ValueUpdate::Write(value);
        self
    }

    /// Marks the value block not valid, on the way down from PW or EX (or when staying there).
    pub fn invalidate_value(mut self) -> Self {
        self.value = ValueUpdate::Invalidate;
        self
    }

    async fn run(self) -> Result<(), Error> {
        let Convert { guard, mode, wait, value } = self;
        if let Some(reason) = guard.loss() {
            return Err(Error::LockLost { reason });
        }
        let limit = Limit::new(wait, guard.session.cell.clock(), guard.request_timeout);
        let (reply, answer) = oneshot::channel();
        let ask = ConvertAsk { mode, wait: limit.until(), value };
        guard.cell.ask_conversion(guard.lock, mode);
        // A session that is over has marked the guard as lost.
        let _ = guard.session.commands.send(Command::Convert { lock: guard.lock, ask, reply });
        let mut request = Request { guard, open: true };
        let Granted { grant, .. } = limit.within(request.answered(answer)).await?;
        request.guard.holds = grant.holds;
        if grant.value.is_some() {
            request.guard.value = grant.value;
        }
        Ok(())
    }
}

/// A conversion that is given up when it is dropped, unless it is known what came of it.
struct Request<'guard> {
    guard: &'guard mut Guard,
    open: bool,
}

impl Request<'_> {
    /// The answer, or the loss of the lock, which ends the waiting for one.
    async fn answered(
        &mut self,
        answer: oneshot::Receiver<Result<Granted, Error>>,
    ) -> Result<Granted, Error> {
        let lost = self.guard.lost();
        tokio::select! {
            biased;
            Ok(answer) = answer => {
                // A service that could not be asked has not said no.
                self.open = answer.as_ref().is_err_and(Error::is_transient);
                answer
            }
            reason = lost => Err(Error::LockLost { reason }),
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if self.open {
            // A session that is over has nothing to cancel.
            let _ = self.guard.session.commands.send(Command::CancelConversion { lock: self.guard.lock });
        } else {
            self.guard.cell.conversion_answered(self.guard.lock);
        }
    }
}

impl<'guard> IntoFuture for Convert<'guard> {
    type Output = Result<(), Error>;
    type IntoFuture = BoxFuture<'guard, Result<(), Error>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
