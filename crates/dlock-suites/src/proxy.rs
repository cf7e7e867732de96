//! A TCP proxy that can be cut, break connections, and be slow: what the kernel can't do without root.

use std::sync::OnceLock;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Nothing goes from the client to the server; it goes on when this ends.
    pub requests_cut: bool,
    /// Nothing comes back.
    pub answers_cut: bool,
    /// How much later all of it arrives.
    pub delay: Duration,
    /// Each change of this number breaks all connections.
    pub generation: u64,
}

/// A proxy; it has threads of its own, so that no test's runtime delays it.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    fault: watch::Sender<Fault>,
    stop: tokio::task::AbortHandle,
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    })
}

impl Proxy {
    /// A proxy to a server.
    pub fn to(server: &str) -> Proxy {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let fault = watch::Sender::new(Fault::default());
        let (server, faults) = (server.to_owned(), fault.clone());
        let accepting = runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, server.clone(), faults.clone()));
            }
        });
        Proxy { address, fault, stop: accepting.abort_handle() }
    }

    /// As `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// From now on.
    pub fn set(&self, change: impl FnOnce(&mut Fault)) {
        self.fault.send_modify(change);
    }

    /// Nothing passes either way, and no connection is broken: a partition.
    pub fn cut(&self) {
        self.set(|fault| (fault.requests_cut, fault.answers_cut) = (true, true));
    }

    /// All connections break; new ones may be made.
    pub fn break_connections(&self) {
        self.set(|fault| fault.generation += 1);
    }

    /// All is well again.
    pub fn mend(&self) {
        self.set(|fault| *fault = Fault { generation: fault.generation, ..Fault::default() });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.abort();
        self.break_connections();
    }
}

async fn connect(client: TcpStream, server: String, faults: watch::Sender<Fault>) {
    // A server behind a cut can't be told from one that is slow to accept.
    let mut open = faults.subscribe();
    if open.wait_for(|fault| !fault.requests_cut).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(&server).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let ((client_read, client_write), (server_read, server_write)) =
        (client.into_split(), server.into_split());
    let generation = faults.borrow().generation;
    let mut broken = faults.subscribe();
    tokio::select! {
        () = pump(client_read, server_write, faults.subscribe(), |fault| fault.requests_cut) => {}
        () = pump(server_read, client_write, faults.subscribe(), |fault| fault.answers_cut) => {}
        _ = broken.wait_for(|fault| fault.generation != generation) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Fault>,
    is_cut: impl Fn(&Fault) -> bool + Copy,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let delay = faults.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if faults.wait_for(|fault| !is_cut(fault)).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}
