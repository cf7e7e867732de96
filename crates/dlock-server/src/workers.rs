//! Threads that serve connections. Each has a runtime of its own and keeps the connections that it is given, so that a
//! request is read, handled and answered on one thread: no task of it is taken over by another, and no other has to be
//! woken.

use crate::serve::serve;
use futures::StreamExt;
use std::io;
use std::net::TcpStream as StdStream;
use std::num::NonZero;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// How long nothing is accepted after the system had no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the threads serve no more.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A thread or its runtime could not be made.
    #[error("no thread could be started to serve connections: {0}")]
    Start(#[from] io::Error),
    /// What served a thread's connections failed.
    #[error("a thread could not serve its connections: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// One thread, as the one that accepts connections sees it.
struct Worker {
    connections: mpsc::UnboundedSender<StdStream>,
    ended: oneshot::Receiver<Result<(), tonic::transport::Error>>,
}

/// Serves connections to a listening socket, each on one of `count` threads in turn, until `stop` is cancelled and the
/// calls that are open have ended.
pub async fn serve_on_threads(
    routes: Routes,
    listener: TcpListener,
    count: NonZero<usize>,
    stop: CancellationToken,
) -> Result<(), WorkerError> {
    let workers = (0..count.get())
        .map(|number| Worker::start(number, routes.clone(), stop.clone()))
        .collect::<io::Result<Vec<Worker>>>()?;
    for worker in workers.iter().cycle() {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        // A thread that has ended says why below.
        if worker.connections.send(accepted).is_err() {
            break;
        }
    }
    stop.cancel();
    for Worker { connections, ended } in workers {
        drop(connections);
        // Without an answer, the thread has panicked and said so.
        ended.await.unwrap_or(Ok(()))?;
    }
    Ok(())
}

/// The next connection. What is wrong with one is no reason not to accept others.
async fn accept(listener: &TcpListener) -> StdStream {
    loop {
        match listener.accept().await {
            // Nagle's algorithm would hold back small answers for 40 ms.
            Ok((stream, _)) => match stream.set_nodelay(true).and_then(|()| stream.into_std()) {
                Ok(stream) => return stream,
                Err(error) => tracing::debug!(%error, "a connection broke before it was served"),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Worker {
    fn start(number: usize, routes: Routes, stop: CancellationToken) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (connections, incoming) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        // A stream can be registered with one runtime only: that of the thread that serves it.
        let incoming = UnboundedReceiverStream::new(incoming).map(TcpStream::from_std);
        let thread = std::thread::Builder::new().name(format!("dlock-serve-{number}"));
        thread.spawn(move || {
            let served = runtime.block_on(serve(routes, incoming, stop.cancelled_owned()));
            // Nobody listens any more if the accepting task is gone.
            let _ = end.send(served);
        })?;
        Ok(Worker { connections, ended })
    }
}
