//! The types of `crate::sync` with a point before each operation, at which shuttle may have another thread go on. Outside
//! of an exploration they are the types that they wrap.
//!
//! All threads of an exploration share one of the system's, so that what is between two points is atomic. Nothing here
//! weakens an order of memory as a machine may: that is loom's part (`interleaving::memory`).

use super::world::World;
use crate::driver::thread::Executor;
use shuttle::sync::atomic::AtomicBool;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// Another thread may go on here.
pub(crate) fn point() {
    if is_exploring() {
        AtomicBool::new(false).load(Ordering::SeqCst);
    }
}

/// Whether this is a thread of an exploration that has not failed.
fn is_exploring() -> bool {
    shuttle::current::try_get_current_task().is_some() && !std::thread::panicking()
}

/// Has a session's driver run: as a task of the exploration, where there is one.
pub(crate) fn spawn(executor: &Executor, driver: impl Future<Output = ()> + Send + 'static) {
    match World::current() {
        Some(_) => drop(shuttle::future::spawn(driver)),
        None => drop(executor.spawn(driver)),
    }
}

pub(crate) struct AtomicU64(std::sync::atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> AtomicU64 {
        AtomicU64(std::sync::atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        point();
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        point();
        self.0.store(value, order);
    }

    /// The value, where no thread may come in between.
    pub(crate) fn peek(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        point();
        self.0.fetch_add(value, order)
    }
}

pub(crate) struct OnceLock<T>(std::sync::OnceLock<T>);

impl<T> OnceLock<T> {
    pub(crate) fn new() -> OnceLock<T> {
        OnceLock(std::sync::OnceLock::new())
    }

    pub(crate) fn get(&self) -> Option<&T> {
        point();
        self.0.get()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        point();
        self.0.set(value)
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        point();
        self.0.get_or_init(init)
    }
}

pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> parking_lot::MutexGuard<'_, T> {
        point();
        while is_exploring() {
            match self.0.try_lock() {
                Some(guard) => return guard,
                None => shuttle::thread::yield_now(),
            }
        }
        self.0.lock()
    }
}

#[derive(Clone, Default)]
pub(crate) struct CancellationToken(tokio_util::sync::CancellationToken);

impl CancellationToken {
    pub(crate) fn cancel(&self) {
        point();
        self.0.cancel();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        point();
        self.0.is_cancelled()
    }

    pub(crate) async fn cancelled(&self) {
        point();
        self.0.cancelled().await;
    }

    pub(crate) fn child_token(&self) -> tokio_util::sync::CancellationToken {
        point();
        self.0.child_token()
    }
}

pub(crate) mod mpsc {
    use super::super::planted;
    use super::point;
    use std::task::{Context, Poll};
    use tokio::sync::mpsc;
    pub(crate) use tokio::sync::mpsc::error::{SendError, TryRecvError};

    pub(crate) fn unbounded_channel<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (UnboundedSender(sender), UnboundedReceiver(receiver))
    }

    pub(crate) struct UnboundedSender<T>(mpsc::UnboundedSender<T>);

    impl<T: 'static> UnboundedSender<T> {
        pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
            point();
            if planted::forgets(&value) { Ok(()) } else { self.0.send(value) }
        }

        pub(crate) fn is_closed(&self) -> bool {
            point();
            self.0.is_closed()
        }
    }

    impl<T> Clone for UnboundedSender<T> {
        fn clone(&self) -> Self {
            UnboundedSender(self.0.clone())
        }
    }

    impl<T> Drop for UnboundedSender<T> {
        fn drop(&mut self) {
            point();
        }
    }

    pub(crate) struct UnboundedReceiver<T>(mpsc::UnboundedReceiver<T>);

    impl<T> UnboundedReceiver<T> {
        pub(crate) fn poll_recv_many(
            &mut self,
            cx: &mut Context<'_>,
            values: &mut Vec<T>,
            limit: usize,
        ) -> Poll<usize> {
            point();
            self.0.poll_recv_many(cx, values, limit)
        }

        pub(crate) fn try_recv(&mut self) -> Result<T, TryRecvError> {
            point();
            self.0.try_recv()
        }

        pub(crate) fn close(&mut self) {
            point();
            self.0.close();
        }
    }
}

pub(crate) mod oneshot {
    use super::*;
    use tokio::sync::oneshot;
    pub(crate) use tokio::sync::oneshot::error::RecvError;

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Sender(sender), Receiver(receiver))
    }

    pub(crate) struct Sender<T>(oneshot::Sender<T>);

    impl<T> Sender<T> {
        pub(crate) fn send(self, value: T) -> Result<(), T> {
            point();
            self.0.send(value)
        }
    }

    pub(crate) struct Receiver<T>(oneshot::Receiver<T>);

    impl<T> Future for Receiver<T> {
        type Output = Result<T, RecvError>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            point();
            Pin::new(&mut self.0).poll(cx)
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            point();
        }
    }
}
