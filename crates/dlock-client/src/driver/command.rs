//! What guards and clients ask of a session's driver.

use crate::driver::cell::{LockCell, SessionCell};
use crate::session::locks::{AcquireAsk, ConvertAsk};
use crate::session::message::Grant;
use crate::sync::{mpsc, oneshot};
use crate::{Error, ReleaseError};
use dlock_core::LockId;
use dlock_core::resource::ValueUpdate;
use std::sync::Arc;
use tokio::sync::watch;

/// Where a grant, or why there is none, is told.
pub(crate) type GrantReply = oneshot::Sender<Result<Granted, Error>>;
/// Where a release's end is told.
pub(crate) type ReleaseReply = oneshot::Sender<Result<(), ReleaseError>>;

/// A lock that was granted, or converted.
pub(crate) struct Granted {
    pub(crate) grant: Grant,
    pub(crate) cell: Arc<LockCell>,
}

/// One command. Commands of one sender are taken in their order.
pub(crate) enum Command {
    /// Ask for a new lock.
    Acquire {
        lock: LockId,
        ask: AcquireAsk,
        /// Told how many are ahead, where somebody wants to know.
        place: Option<watch::Sender<Option<u32>>>,
        reply: GrantReply,
    },
    /// Nobody waits for the acquire any more, nor for a lock that it was granted.
    Withdraw { lock: LockId },
    /// Ask for another mode.
    Convert { lock: LockId, ask: ConvertAsk, reply: GrantReply },
    /// Nobody waits for the conversion any more.
    CancelConversion { lock: LockId },
    /// Let a lock go.
    Release { lock: LockId, value: ValueUpdate, reply: Option<ReleaseReply> },
    /// Let everything go and end the session.
    Close { reply: oneshot::Sender<Result<(), Error>> },
}

/// A handle to a session's driver. The session is closed when the last one is dropped.
#[derive(Clone)]
pub(crate) struct SessionHandle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) cell: Arc<SessionCell>,
}
