//! Planted bugs: what the explorations must find, or they could not be trusted when they find nothing.

use crate::driver::command::Command;
use std::any::Any;
use std::cell::Cell;

/// A bug, planted between the code of the SDK and what it shares with other threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A guard that is dropped does not ask for its release.
    DropForgetsRelease,
    /// An acquire that is dropped is not withdrawn.
    DropForgetsWithdrawal,
    /// A conversion that is dropped is not told to the driver.
    DropForgetsConversion,
    /// Closing forgets to ask for the session's end.
    CloseIsForgotten,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in the explorations of this thread, or none.
pub(super) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether a planted bug has what is sent forgotten.
pub(super) fn forgets<T: 'static>(sent: &T) -> bool {
    let Some(bug) = PLANTED.get() else { return false };
    let Some(command) = (sent as &dyn Any).downcast_ref::<Command>() else { return false };
    matches!(
        (bug, command),
        (Bug::DropForgetsRelease, Command::Release { reply: None, .. })
            | (Bug::DropForgetsWithdrawal, Command::Withdraw { .. })
            | (Bug::DropForgetsConversion, Command::CancelConversion { .. })
            | (Bug::CloseIsForgotten, Command::Close { .. })
    )
}
