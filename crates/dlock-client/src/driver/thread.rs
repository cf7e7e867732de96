//! Where clients are driven: a thread of the SDK's own, which the program's tasks can't starve, or the caller's runtime.

use crate::Error;
use crate::error::Source;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::{Arc, Weak};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A runtime that drives clients. The thread, where there is one, ends with the last clone.
#[derive(Clone)]
pub(crate) struct Executor {
    handle: Handle,
    _thread: Option<Arc<DriverThread>>,
}

/// The thread that all clients of the process share. Dropping it ends the thread.
struct DriverThread {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

/// The running thread, if there is one.
static SHARED: Mutex<Weak<DriverThread>> = Mutex::new(Weak::new());

impl Executor {
    /// The caller's runtime. Must be called within one.
    pub(crate) fn current() -> Result<Executor, Error> {
        let handle = Handle::try_current().map_err(|error| Error::invalid("on_current_runtime", error))?;
        Ok(Executor { handle, _thread: None })
    }

    /// The thread shared by all clients of the process; started if there is none.
    pub(crate) fn shared_thread() -> Result<Executor, Error> {
        let mut shared = SHARED.lock();
        let thread = match shared.upgrade() {
            Some(thread) => thread,
            None => {
                let thread = Arc::new(
                    DriverThread::start().map_err(|error| Error::NoThread { source: Source::new(error) })?,
                );
                *shared = Arc::downgrade(&thread);
                thread
            }
        };
        Ok(Executor { handle: thread.handle.clone(), _thread: Some(thread) })
    }

    /// Runs a task there, with a clone of the executor, so that the thread outlives it.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let executor = self.clone();
        self.handle.spawn(async move {
            let output = future.await;
            drop(executor);
            output
        })
    }
}

impl DriverThread {
    fn start() -> std::io::Result<DriverThread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new().name("dlock-client".to_owned()).spawn(move || {
            // The sender is never used: its being dropped is the signal.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(DriverThread { handle, _stop: stop })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_is_shared_outlives_its_tasks_and_ends_with_the_last_of_them() {
        let (first, second) = (Executor::shared_thread().unwrap(), Executor::shared_thread().unwrap());
        let name = |executor: &Executor| {
            let (sender, receiver) = std::sync::mpsc::channel();
            executor.spawn(async move { sender.send(std::thread::current().id()) });
            receiver.recv().unwrap()
        };
        assert_eq!(name(&first), name(&second));
        assert_ne!(name(&first), std::thread::current().id());

        let (go, wait) = oneshot::channel::<()>();
        let (done, finished) = std::sync::mpsc::channel();
        let thread = Arc::downgrade(first._thread.as_ref().unwrap());
        second.spawn(async move {
            let _ = wait.await;
            done.send(()).unwrap();
        });
        drop((first, second));
        go.send(()).unwrap();
        finished.recv().unwrap();
        // The task's own clone is the last one, and goes with the task.
        while thread.upgrade().is_some() {
            std::thread::yield_now();
        }
    }
}
