//! Exit codes, in one place.
//!
//! | code | meaning |
//! | --- | --- |
//! | 64 | misuse: an argument is missing, unknown or out of bounds |
//! | 69 | no server can be reached, or it can't serve |
//! | 70 | the service or this program failed |
//! | 71 | the operating system refuses something |
//! | 75 | the lock was not to be had, or not in time (settable) |
//! | 76 | the lock was lost (settable) |
//! | 77 | permission denied |
//! | 126, 127 | the command can't be executed; is not found |
//! | 128 + n | the command, or the waiting for the lock, was ended by signal n |

use dlock_client::Error;
use std::fmt::Display;

/// Misuse (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// No server (`EX_UNAVAILABLE`).
pub(crate) const UNREACHABLE: u8 = 69;
/// A failure (`EX_SOFTWARE`).
pub(crate) const FAILURE: u8 = 70;
/// The operating system (`EX_OSERR`).
pub(crate) const SYSTEM: u8 = 71;
/// The lock was not to be had (`EX_TEMPFAIL`).
pub(crate) const CONFLICT: u8 = 75;
/// The lock was lost.
pub(crate) const LOST: u8 = 76;
/// Permission denied (`EX_NOPERM`).
pub(crate) const PERMISSION: u8 = 77;
/// The command can't be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
pub(crate) const COMMAND_NOT_FOUND: u8 = 127;
/// Ended by a signal: this and its number.
pub(crate) const SIGNAL_BASE: u8 = 128;

/// An end that is not a success.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: u8,
    /// For a person; nothing is said if it is empty.
    pub(crate) message: String,
}

impl Exit {
    pub(crate) fn new(code: u8, message: impl Display) -> Exit {
        Exit { code, message: message.to_string() }
    }

    pub(crate) fn usage(message: impl Display) -> Exit {
        Exit::new(USAGE, message)
    }

    pub(crate) fn system(error: std::io::Error) -> Exit {
        Exit::new(SYSTEM, format!("the system refuses something that is needed: {error}"))
    }

    pub(crate) fn signal(number: i32) -> Exit {
        Exit::new(SIGNAL_BASE.saturating_add(u8::try_from(number).unwrap_or(0)), "")
    }
}

impl From<Error> for Exit {
    fn from(error: Error) -> Exit {
        let code = match &error {
            Error::WouldBlock | Error::WaitTimeout | Error::QueueFull { .. } => CONFLICT,
            Error::SessionLost { .. } | Error::LockLost { .. } => LOST,
            Error::Unreachable { .. } | Error::Unavailable { .. } | Error::Timeout { .. } => UNREACHABLE,
            Error::InvalidArgument { .. } => USAGE,
            Error::PermissionDenied { .. } => PERMISSION,
            Error::NoThread { .. } => SYSTEM,
            _ => FAILURE,
        };
        let way_out = match &error {
            Error::Unreachable { .. } => ": is it running? name servers with --endpoints or DLOCK_ENDPOINTS",
            _ => "",
        };
        Exit::new(code, format!("{error}{way_out}"))
    }
}
