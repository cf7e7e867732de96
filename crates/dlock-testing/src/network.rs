//! A network in memory: connections by name, without sockets, and therefore under paused time.

use dlock_client::{BoxIo, Connector, Endpoint};
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

/// How much may be on its way in each direction of a connection, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

#[derive(Default)]
struct Inner {
    listeners: HashMap<String, mpsc::UnboundedSender<Wire>>,
    /// Cut to end every connection to the server of this name.
    cuts: HashMap<String, CancellationToken>,
}

/// Servers by name, and the connections to them. Clones are the same network.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Inner>>);

impl Network {
    /// An empty network.
    pub fn new() -> Network {
        Network::default()
    }

    /// Connections to this name come out here from now on.
    pub(crate) fn listen(&self, name: &str) -> impl Stream<Item = io::Result<Wire>> + use<> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut inner = self.0.lock();
        inner.listeners.insert(name.to_owned(), sender);
        inner.cuts.insert(name.to_owned(), CancellationToken::new());
        UnboundedReceiverStream::new(receiver).map(Ok)
    }

    /// Ends every connection to this server, and lets none through until [`Network::heal`].
    pub fn cut(&self, name: &str) {
        if let Some(cut) = self.0.lock().cuts.get(name) {
            cut.cancel();
        }
    }

    /// Lets connections to this server through again.
    pub fn heal(&self, name: &str) {
        self.0.lock().cuts.insert(name.to_owned(), CancellationToken::new());
    }

    fn dial(&self, name: &str) -> io::Result<Wire> {
        let mut inner = self.0.lock();
        let cut = inner.cuts.get(name).cloned().unwrap_or_default();
        let listener = inner.listeners.get(name).filter(|_| !cut.is_cancelled());
        let Some(listener) = listener else { return Err(io::ErrorKind::ConnectionRefused.into()) };
        let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
        if listener.send(Wire::new(theirs, cut.clone())).is_err() {
            inner.listeners.remove(name);
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Wire::new(ours, cut))
    }
}

impl Connector for Network {
    fn connect(&self, endpoint: &Endpoint) -> BoxFuture<'static, io::Result<BoxIo>> {
        let dialled = self.dial(&endpoint.to_string());
        Box::pin(std::future::ready(dialled.map(|wire| Box::new(wire) as BoxIo)))
    }
}

/// One end of a connection that can be cut.
pub(crate) struct Wire {
    stream: DuplexStream,
    cut: CancellationToken,
    /// Wakes the end that waits when the connection is cut.
    cut_wake: Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>,
}

impl Wire {
    fn new(stream: DuplexStream, cut: CancellationToken) -> Wire {
        let cut_wake = Box::pin(cut.clone().cancelled_owned());
        Wire { stream, cut, cut_wake }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.cut.is_cancelled() || self.cut_wake.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Connected for Wire {
    type ConnectInfo = ();
    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
