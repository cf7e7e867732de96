//! The network between the simulated processes: streams of bytes with latency, that break, stall or fall silent.
//!
//! As with TCP, what is sent on one connection arrives in order or not at all, and a process does not learn of a
//! partition: what it sends stays under way, and its peer hears nothing. A partition may hold in one direction only.

use crate::world::{Time, World};
use bytes::{Buf, Bytes};
use dlock_client::{BoxIo, Connector, Endpoint};
use futures::Stream;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::server::Connected;

/// Which machine, among all of a simulation. The store is one of them.
pub(crate) type Machine = usize;

/// How often a connection that is not answered is asked for again.
const SYN_INTERVAL: Duration = Duration::from_millis(300);

/// How long one message takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
    /// How probable it is that a message takes up to a hundred times as long.
    pub(crate) spikes: f64,
}

impl Latency {
    pub(crate) fn draw(&self, world: &World) -> Duration {
        let usual = world.between(self.least, self.most);
        if self.spikes > 0.0 && world.chance(self.spikes) {
            usual + world.between(Duration::ZERO, self.most * 100)
        } else {
            usual
        }
    }
}

struct Inner {
    latency: Latency,
    listeners: BTreeMap<String, (Machine, mpsc::UnboundedSender<Wire>)>,
    /// Nothing passes from the first to the second.
    blocked: BTreeSet<(Machine, Machine)>,
    /// Machines that say nothing when they go: not even that their connections are closed.
    silent: BTreeSet<Machine>,
    connections: BTreeMap<u64, Weak<Connection>>,
    made: u64,
}

/// All connections of a simulation. Clones are the same network.
#[derive(Clone)]
pub(crate) struct Network {
    world: Arc<World>,
    inner: Arc<Mutex<Inner>>,
}

impl Network {
    pub(crate) fn new(world: &Arc<World>, latency: Latency) -> Network {
        let inner = Inner {
            latency,
            listeners: BTreeMap::new(),
            blocked: BTreeSet::new(),
            silent: BTreeSet::new(),
            connections: BTreeMap::new(),
            made: 0,
        };
        Network { world: world.clone(), inner: Arc::new(Mutex::new(inner)) }
    }

    /// No message takes longer than usual from now on.
    pub(crate) fn calm(&self) {
        self.inner.lock().latency.spikes = 0.0;
    }

    /// Whether messages take much longer than usual now and then.
    pub(crate) fn has_spikes(&self) -> bool {
        self.inner.lock().latency.spikes > 0.0
    }

    /// Connections to this address come out here from now on, until the machine crashes.
    pub(crate) fn listen(
        &self,
        machine: Machine,
        address: &str,
    ) -> impl Stream<Item = io::Result<Wire>> + use<> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.inner.lock().listeners.insert(address.to_owned(), (machine, sender));
        UnboundedReceiverStream::new(receiver).map(Ok)
    }

    /// How connections are made from a machine.
    pub(crate) fn connector(&self, machine: Machine) -> SimulatedConnector {
        SimulatedConnector { network: self.clone(), machine }
    }

    /// Whether anything passes from one machine to another.
    pub(crate) fn passes(&self, from: Machine, to: Machine) -> bool {
        !self.inner.lock().blocked.contains(&(from, to))
    }

    /// Stops what goes from one machine to another. What is under way is held up.
    pub(crate) fn block(&self, from: Machine, to: Machine) {
        self.inner.lock().blocked.insert((from, to));
    }

    /// Lets everything through between two machines, what was held up first.
    pub(crate) fn unblock(&self, from: Machine, to: Machine) {
        self.inner.lock().blocked.remove(&(from, to));
        for connection in self.connections() {
            connection.resume();
        }
    }

    /// Breaks connections of a machine, each with this probability: both ends get an error, or, now and then, only one
    /// of them, and the other hears nothing any more.
    pub(crate) fn break_connections(&self, machine: Machine, probability: f64) {
        for connection in self.connections() {
            if connection.machines.contains(&machine) && self.world.chance(probability) {
                let deaf = self.world.chance(0.2).then(|| usize::from(self.world.chance(0.5)));
                connection.reset(deaf);
            }
        }
    }

    /// The machine is gone, and accepts nothing any more. `silent` when its peers are not told.
    pub(crate) fn crash(&self, machine: Machine, silent: bool) {
        let mut inner = self.inner.lock();
        inner.listeners.retain(|_, (owner, _)| *owner != machine);
        if silent {
            inner.silent.insert(machine);
        }
    }

    /// The machine starts again: peers that send on its old connections are told that there are none.
    pub(crate) fn restart(&self, machine: Machine) {
        if self.inner.lock().silent.remove(&machine) {
            for connection in self.connections() {
                if connection.machines.contains(&machine) {
                    connection.reset(None);
                }
            }
        }
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        let mut inner = self.inner.lock();
        inner.connections.retain(|_, connection| connection.strong_count() > 0);
        inner.connections.values().filter_map(Weak::upgrade).collect()
    }

    fn latency(&self) -> Duration {
        let latency = self.inner.lock().latency;
        latency.draw(&self.world)
    }

    /// A new connection, if somebody listens there: the accepting end is handed over, the other returned.
    fn accept(&self, from: Machine, address: &str) -> io::Result<Wire> {
        let mut inner = self.inner.lock();
        let Some((to, listener)) = inner.listeners.get(address) else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let (machines, listener) = ([from, *to], listener.clone());
        inner.made += 1;
        let id = inner.made;
        let connection = Arc::new(Connection {
            network: self.clone(),
            id,
            machines,
            directions: [Mutex::default(), Mutex::default()],
        });
        inner.connections.insert(id, Arc::downgrade(&connection));
        drop(inner);
        let accepted = Wire { connection: connection.clone(), end: 1 };
        // The listener is dropped with its server; what it accepts then is dropped, too, and the dialler told so.
        let _ = listener.send(accepted);
        Ok(Wire { connection, end: 0 })
    }

    async fn dial(self, from: Machine, address: String) -> io::Result<Wire> {
        loop {
            let to = self.inner.lock().listeners.get(&address).map(|(machine, _)| *machine);
            let (reply, answer) = oneshot::channel();
            let network = self.clone();
            let target = address.clone();
            let latency = self.latency();
            // The request takes half of the way's time and the answer the other.
            self.world.after(latency, move || {
                let passes = to.is_none_or(|to| network.passes(from, to) && network.passes(to, from));
                let silent = to.is_some_and(|to| network.inner.lock().silent.contains(&to));
                if passes && !silent {
                    let back = network.latency();
                    let result = network.accept(from, &target);
                    // Nobody waits any more: the accepting end is closed with the other.
                    network.world.after(back, move || drop(reply.send(result)));
                }
            });
            if let Ok(result) = answer.await {
                return result;
            }
            tokio::time::sleep(SYN_INTERVAL).await;
        }
    }
}

/// Makes connections from one machine.
#[derive(Clone)]
pub(crate) struct SimulatedConnector {
    network: Network,
    machine: Machine,
}

impl Connector for SimulatedConnector {
    fn connect(&self, endpoint: &Endpoint) -> BoxFuture<'static, io::Result<BoxIo>> {
        let dialling = self.network.clone().dial(self.machine, endpoint.to_string());
        Box::pin(async move { Ok(Box::new(dialling.await?) as BoxIo) })
    }
}

/// What is under way in one direction of a connection, from the end with its number to the other.
#[derive(Default)]
struct Direction {
    /// Sent and not arrived; `None` is the end of the stream.
    under_way: VecDeque<Option<Bytes>>,
    /// How many of them are due to arrive by an action of the world; the others are held up by a partition.
    due: usize,
    arrives_last: Time,
    arrived: VecDeque<Bytes>,
    ended: bool,
    /// The receiving end gets an error.
    reset: bool,
    /// What arrives is lost: the receiving end hears nothing.
    deaf: bool,
    reader: Option<Waker>,
}

impl Direction {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

struct Connection {
    network: Network,
    id: u64,
    /// Of the dialling and of the accepting end.
    machines: [Machine; 2],
    directions: [Mutex<Direction>; 2],
}

impl Connection {
    /// Sends from an end; `None` ends the stream.
    fn send(self: &Arc<Self>, end: usize, what: Option<Bytes>) {
        self.directions[end].lock().under_way.push_back(what);
        self.pass_on(end);
    }

    /// Lets what is sent and not held up arrive later.
    fn pass_on(self: &Arc<Self>, end: usize) {
        if !self.network.passes(self.machines[end], self.machines[1 - end]) {
            return;
        }
        let mut direction = self.directions[end].lock();
        while direction.due < direction.under_way.len() {
            direction.due += 1;
            let at = (self.network.world.now() + self.network.latency()).max(direction.arrives_last);
            direction.arrives_last = at;
            let connection = self.clone();
            self.network.world.at(at, move || connection.arrive(end));
        }
    }

    fn arrive(self: &Arc<Self>, end: usize) {
        let mut direction = self.directions[end].lock();
        direction.due = direction.due.saturating_sub(1);
        if !self.network.passes(self.machines[end], self.machines[1 - end]) {
            return; // held up on the last stretch
        }
        let Some(what) = direction.under_way.pop_front() else { return };
        if direction.deaf {
            return;
        }
        match what {
            Some(bytes) => direction.arrived.push_back(bytes),
            None => direction.ended = true,
        }
        direction.wake();
    }

    /// A partition is over, perhaps this connection's.
    fn resume(self: &Arc<Self>) {
        for end in [0, 1] {
            self.pass_on(end);
        }
    }

    /// Breaks the connection for both ends; for one `deaf` end it only falls silent.
    fn reset(&self, deaf: Option<usize>) {
        for (end, direction) in self.directions.iter().enumerate() {
            let mut direction = direction.lock();
            direction.under_way.clear();
            if deaf == Some(1 - end) {
                direction.deaf = true;
            } else {
                direction.reset = true;
                direction.wake();
            }
        }
        self.network.world.note("network", format_args!("connection {} breaks", self.id));
    }
}

/// One end of a connection.
pub(crate) struct Wire {
    connection: Arc<Connection>,
    /// 0 for the one that dialled, 1 for the one that accepted.
    end: usize,
}

impl Connected for Wire {
    type ConnectInfo = ();
    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut direction = self.connection.directions[1 - self.end].lock();
        if direction.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if let Some(bytes) = direction.arrived.front_mut() {
            let length = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..length]);
            bytes.advance(length);
            if bytes.is_empty() {
                direction.arrived.pop_front();
            }
            return Poll::Ready(Ok(()));
        }
        if direction.ended {
            return Poll::Ready(Ok(()));
        }
        direction.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.connection.directions[1 - self.end].lock().reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.connection.send(self.end, Some(Bytes::copy_from_slice(bytes)));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.send(self.end, None);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let network = &self.connection.network;
        if !network.inner.lock().silent.contains(&self.connection.machines[self.end]) {
            self.connection.send(self.end, None);
        }
    }
}
