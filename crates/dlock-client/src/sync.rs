//! What the SDK's threads share, and wait on. In this crate's own tests each operation is a point at which another
//! thread may come in between (`interleaving`); everywhere else these are the types that their names say.

#[cfg(test)]
pub(crate) use crate::interleaving::sync::{
    AtomicU64, CancellationToken, Mutex, OnceLock, mpsc, oneshot, spawn,
};
#[cfg(not(test))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(test))]
pub(crate) use std::sync::{OnceLock, atomic::AtomicU64};
#[cfg(not(test))]
pub(crate) use tokio::sync::{mpsc, oneshot};
#[cfg(not(test))]
pub(crate) use tokio_util::sync::CancellationToken;

/// Has a session's driver run.
#[cfg(not(test))]
pub(crate) fn spawn(
    executor: &crate::driver::thread::Executor,
    driver: impl Future<Output = ()> + Send + 'static,
) {
    executor.spawn(driver);
}
