//! A held lock on its way to another mode.

use crate::{Error, Guard};
use dlock_core::{Mode, ValueBlock};
use futures::future::BoxFuture;
use std::time::Duration;

/// A conversion of a held lock; made by [`Guard::convert`], done by awaiting it.
#[must_use = "nothing is converted until this is awaited"]
pub struct Convert<'guard> {
    guard: &'guard mut Guard,
    mode: Mode,
}

impl<'guard> Convert<'guard> {
    pub(crate) fn new(guard: &'guard mut Guard, mode: Mode) -> Self {
        Convert { guard, mode }
    }

    /// How long to wait at most. Default: as long as the session lives.
    pub fn wait(self, at_most: Duration) -> Self {
        let _ = at_most;
        self
    }

    /// Refuse it with [`Error::WouldBlock`] if it can't be done at once.
    pub fn try_only(self) -> Self {
        self
    }

    /// Writes the value block, on the way down from PW or EX (or when staying there).
    pub fn write_value(self, value: ValueBlock) -> Self {
        let _ = value;
        self
    }

    /// Marks the value block not valid, on the way down from PW or EX (or when staying there).
    pub fn invalidate_value(self) -> Self {
        self
    }
}

impl<'guard> IntoFuture for Convert<'guard> {
    type Output = Result<(), Error>;
    type IntoFuture = BoxFuture<'guard, Result<(), Error>>;

    fn into_future(self) -> Self::IntoFuture {
        let _ = (self.guard, self.mode);
        unimplemented!()
    }
}
