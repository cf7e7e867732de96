//! How bytes reach a server: TCP by default, anything else (a pipe in the process, a simulated network) on request.

use crate::endpoint::Endpoint;
use futures::future::BoxFuture;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection: a stream of bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Any connection.
pub type BoxIo = Box<dyn Io>;

/// Makes connections. Implemented by functions from an endpoint to a future.
///
/// A connector is called within the runtime that drives the client, and its future is dropped when the connect
/// timeout is over.
pub trait Connector: Send + Sync + 'static {
    /// Connects to a server.
    fn connect(&self, endpoint: &Endpoint) -> BoxFuture<'static, io::Result<BoxIo>>;
}

impl<F> Connector for F
where
    F: Fn(&Endpoint) -> BoxFuture<'static, io::Result<BoxIo>> + Send + Sync + 'static,
{
    fn connect(&self, endpoint: &Endpoint) -> BoxFuture<'static, io::Result<BoxIo>> {
        self(endpoint)
    }
}

/// Connects by TCP, without Nagle's algorithm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpConnector;

impl Connector for TcpConnector {
    fn connect(&self, endpoint: &Endpoint) -> BoxFuture<'static, io::Result<BoxIo>> {
        let (host, port) = (endpoint.host().to_owned(), endpoint.port());
        Box::pin(async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            // With it on, a small frame that follows another waits for an acknowledgement: 40 ms a call.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxIo)
        })
    }
}
