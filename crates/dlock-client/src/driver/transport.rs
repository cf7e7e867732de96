//! Connections to servers, and calls outside of any session.

use crate::connector::Connector;
use crate::driver::thread::Executor;
use crate::driver::tracked::{Alive, Tracked};
use crate::error::Source;
use crate::{Endpoint, Error};
use dlock_runtime::Clock;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

/// How much a stream may have on its way to us. Small messages that nobody reads end a connection with narrower
/// windows (h2 counts their frames), and so do windows that adapt.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// How much a connection may have on its way to us.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// How often a connection that nothing comes from is probed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a probe's answer is waited for.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes connections, one at a time per server, and remembers the last one.
pub(crate) struct Transport {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) executor: Executor,
    pub(crate) last: Mutex<Option<Connection>>,
}

/// A connection: a channel that never reconnects.
pub(crate) struct Connection {
    endpoint: Endpoint,
    channel: Channel,
    alive: Alive,
}

impl Transport {
    /// A connection to a server: the last one if it is to that server, else a new one.
    ///
    /// A channel is one connection: when it breaks, calls on it fail, and [`Transport::forget`] makes way for another.
    pub(crate) async fn channel(self: &Arc<Self>, endpoint: &Endpoint) -> Result<Channel, Error> {
        let usable = |last: &&Connection| last.endpoint == *endpoint && last.alive.is_alive();
        if let Some(last) = self.last.lock().as_ref().filter(usable) {
            return Ok(last.channel.clone());
        }
        let (transport, target) = (self.clone(), endpoint.clone());
        // On the driver's runtime, since a connection's task and its I/O stay where they were made.
        let connecting = self.executor.spawn(async move { transport.connect(&target).await });
        let connection = AbortOnDropHandle::new(connecting).await.map_err(|_| Error::Closed)??;
        let channel = connection.channel.clone();
        *self.last.lock() = Some(connection);
        Ok(channel)
    }

    /// A new connection to a server, in place of one that may be broken without our having noticed.
    pub(crate) async fn fresh_channel(self: &Arc<Self>, endpoint: &Endpoint) -> Result<Channel, Error> {
        self.forget(endpoint);
        self.channel(endpoint).await
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, Error> {
        let unreachable = |source: Source| Error::Unreachable { endpoints: vec![endpoint.clone()], source };
        let connecting = async {
            let io =
                self.connector.connect(endpoint).await.map_err(|error| unreachable(Source::new(error)))?;
            let (io, alive) = Tracked::new(io);
            let channel = handshake(endpoint, io).await.map_err(|error| unreachable(Source::new(error)))?;
            Ok(Connection { endpoint: endpoint.clone(), channel, alive })
        };
        within(&*self.clock, self.connect_timeout, connecting).await.unwrap_or_else(|TimedOut| {
            Err(unreachable(Source::new("no answer to the attempt to connect in time")))
        })
    }

    /// The connection does not work any more.
    pub(crate) fn forget(&self, endpoint: &Endpoint) {
        let mut last = self.last.lock();
        if last.as_ref().is_some_and(|last| last.endpoint == *endpoint) {
            *last = None;
        }
    }

    /// A connection to any server, from the one with index `first` on, and the index of its endpoint. Each is tried
    /// once.
    ///
    /// # Errors
    /// [`Error::Unreachable`] with all endpoints and the last failure.
    pub(crate) async fn any(self: &Arc<Self>, first: usize) -> Result<(usize, Channel), Error> {
        let mut failure = Source::new("there is no endpoint");
        for offset in 0..self.endpoints.len() {
            let index = (first + offset) % self.endpoints.len();
            match self.channel(&self.endpoints[index]).await {
                Ok(channel) => return Ok((index, channel)),
                Err(Error::Unreachable { source, .. }) => failure = source,
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unreachable { endpoints: self.endpoints.clone(), source: failure })
    }

    /// The index of the server that the last connection was made to.
    pub(crate) fn last_index(&self) -> usize {
        let last = self.last.lock();
        let same = |endpoint: &Endpoint| last.as_ref().is_some_and(|last| last.endpoint == *endpoint);
        self.endpoints.iter().position(same).unwrap_or(0)
    }

    /// Calls a server and, when its connection turns out to be broken or it can't serve, the others.
    ///
    /// Only for calls that may be repeated. The whole takes at most the request timeout.
    pub(crate) async fn call<T, F, R>(self: &Arc<Self>, request: F) -> Result<T, Error>
    where
        F: Fn(Channel) -> R,
        R: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let attempts = async {
            let mut first = self.last_index();
            let mut failure = None;
            // One more than there are servers: the first connection may have broken unnoticed.
            for _ in 0..=self.endpoints.len() {
                let (index, channel) = match self.any(first).await {
                    Ok(found) => found,
                    Err(error) => return Err(failure.unwrap_or(error)),
                };
                match request(channel).await.map_err(Error::from) {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(error) if error.is_transient() => {
                        self.forget(&self.endpoints[index]);
                        first = index + 1;
                        failure = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(failure.unwrap_or(Error::Closed))
        };
        within(&*self.clock, self.request_timeout, attempts)
            .await
            .unwrap_or(Err(Error::Timeout { timeout: self.request_timeout }))
    }
}

/// HTTP/2 over a connection.
async fn handshake(endpoint: &Endpoint, io: Tracked) -> Result<Channel, tonic::transport::Error> {
    let settings = tonic::transport::Endpoint::from_shared(format!("http://{endpoint}"))?
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_adaptive_window(false)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    // Asked for a second time, tonic would reconnect behind our back: there is just this one connection.
    let mut io = Some(TokioIo::new(io));
    let connector = tower::service_fn(move |_| {
        std::future::ready(io.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)))
    });
    settings.connect_with_connector(connector).await
}

/// The time was up.
pub(crate) struct TimedOut;

/// The future's output, if it comes within `duration` on this clock.
pub(crate) async fn within<F: Future>(
    clock: &dyn Clock,
    duration: Duration,
    future: F,
) -> Result<F::Output, TimedOut> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        () = clock.sleep(duration) => Err(TimedOut),
    }
}
