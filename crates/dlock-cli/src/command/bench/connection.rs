//! Connections without the SDK: for the echo, for unary calls, and for many sessions on one.

use crate::exit::{self, Exit};
use tokio::runtime::Handle;
use tonic::transport::Channel;

/// How much may be on its way, as the server and the SDK have it.
pub(super) const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// The same for all streams of a connection.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// Connects to `HOST:PORT` or a URL. The connection's work is done on this runtime.
pub(super) async fn connect(endpoint: &str, runtime: &Handle) -> Result<Channel, Exit> {
    let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let connecting = async move {
        let endpoint = Channel::from_shared(url).map_err(Exit::usage)?;
        endpoint
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .connect()
            .await
            .map_err(|error| Exit::new(exit::UNREACHABLE, error))
    };
    runtime.spawn(connecting).await.map_err(|error| Exit::new(exit::FAILURE, error))?
}
