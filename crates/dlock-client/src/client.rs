//! The client: one service, at most one session.

use crate::driver::command::{Command, SessionHandle};
use crate::driver::transport::Transport;
use crate::session::machine::Settings;
use crate::sync::{Mutex, oneshot};
use crate::wire::ClientIdentity;
use crate::{AdminClient, ClientBuilder, Error, Health, Lock, QueryClient, SessionEvent, driver};
use dlock_core::SessionId;
use dlock_runtime::Environment;
use futures::{Stream, StreamExt};
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How many session events a consumer may be behind.
const EVENTS_MAX: usize = 64;

/// A connection to a lock service. Clones are handles to the same one.
///
/// The first lock opens a *session*, which heartbeats keep alive; all locks of a client are its session's, and live and
/// die with it. When the session is lost, the next lock opens a new one. Dropping the last handle, and the last
/// guard, ends the session in the background; [`Client::close`] does so and says how it went.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

/// What the handles of a client share.
pub(crate) struct Inner {
    pub(crate) transport: Arc<Transport>,
    pub(crate) environment: Environment,
    pub(crate) namespace: String,
    ttl: Duration,
    lock_delay: Duration,
    discover: bool,
    identity: ClientIdentity,
    session: Mutex<Slot>,
    events: broadcast::Sender<SessionEvent>,
}

/// The client's session.
enum Slot {
    /// Not opened yet.
    None,
    /// Opened; its driver may have ended since.
    Opened(SessionHandle),
    /// Closed for good.
    Closed,
}

impl Client {
    /// A client with settings of its own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Connects to one server, with the default settings.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    pub async fn connect(endpoint: impl Into<String>) -> Result<Client, Error> {
        Client::builder().endpoints([endpoint]).connect().await
    }

    /// A lock to be acquired. The name has 1 to 1,024 bytes, and no control characters; `/` separates path segments.
    pub fn lock(&self, name: impl Into<String>) -> Lock {
        Lock::new(self.inner.clone(), name.into())
    }

    /// The session, once a lock has opened it and while it lives.
    pub fn session_id(&self) -> Option<SessionId> {
        match &*self.inner.session.lock() {
            Slot::Opened(handle) if !handle.commands.is_closed() => handle.cell.session(),
            _ => None,
        }
    }

    /// What happens to the session from now on. A consumer that falls behind by more than 64 events misses the oldest.
    /// Ends when the client has ended.
    pub fn events(&self) -> impl Stream<Item = SessionEvent> + Send + Unpin + use<> {
        // The only error is that some were missed.
        BroadcastStream::new(self.inner.events.subscribe()).filter_map(|event| ready(event.ok()))
    }

    /// Looks at resources, sessions and servers. Needs no session and opens none.
    pub fn query(&self) -> QueryClient {
        QueryClient::new(self.inner.clone())
    }

    /// Takes locks from others. Needs no session and opens none.
    pub fn admin(&self) -> AdminClient {
        AdminClient::new(self.inner.clone())
    }

    /// Asks the server how it feels, by the standard gRPC health check.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Timeout`].
    pub async fn health(&self) -> Result<Health, Error> {
        let call = |channel| async move {
            HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await
        };
        Ok(match self.inner.call(call).await?.status() {
            ServingStatus::Serving => Health::Serving,
            ServingStatus::NotServing => Health::NotServing,
            ServingStatus::Unknown | ServingStatus::ServiceUnknown => Health::Unknown,
        })
    }

    /// Ends the session, which releases all its locks at once; guards that are left are lost with
    /// [`LossReason::Closed`](crate::LossReason::Closed). Afterwards nothing of the client runs any more, and its handles say [`Error::Closed`].
    ///
    /// # Errors
    /// [`Error::Timeout`] when the service did not confirm the end: it then lets the session expire.
    pub async fn close(&self) -> Result<(), Error> {
        let slot = std::mem::replace(&mut *self.inner.session.lock(), Slot::Closed);
        let result = match slot {
            Slot::Opened(session) => {
                let (reply, closed) = oneshot::channel();
                // A driver that has ended has nothing left to close, and one that ends answers.
                let _ = session.commands.send(Command::Close { reply });
                closed.await.unwrap_or(Ok(()))
            }
            Slot::None | Slot::Closed => Ok(()),
        };
        *self.inner.transport.last.lock() = None;
        result
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("endpoints", &self.inner.transport.endpoints).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn new(builder: &ClientBuilder, transport: Arc<Transport>, identity: ClientIdentity) -> Inner {
        Inner {
            transport,
            environment: builder.environment.clone(),
            namespace: builder.namespace.clone(),
            ttl: builder.ttl,
            lock_delay: builder.lock_delay,
            discover: builder.discover,
            identity,
            session: Mutex::new(Slot::None),
            events: broadcast::Sender::new(EVENTS_MAX),
        }
    }

    /// The session that lives; a new one is begun if there is none.
    pub(crate) fn session(&self) -> Result<SessionHandle, Error> {
        let mut slot = self.session.lock();
        match &*slot {
            Slot::Opened(session) if !session.commands.is_closed() => return Ok(session.clone()),
            Slot::Opened(_) | Slot::None => {}
            Slot::Closed => return Err(Error::Closed),
        }
        let settings = Settings {
            endpoints: self.transport.endpoints.clone(),
            first_endpoint: self.transport.last_index(),
            discover: self.discover,
            ttl: self.ttl,
            lock_delay: self.lock_delay,
            connect_timeout: self.transport.connect_timeout,
            close_timeout: self.transport.request_timeout,
        };
        let session = driver::start(
            settings,
            &self.environment,
            self.transport.clone(),
            self.identity.clone(),
            self.events.clone(),
        );
        *slot = Slot::Opened(session.clone());
        Ok(session)
    }

    /// A call outside of any session; see [`Transport::call`].
    pub(crate) async fn call<T, F, R>(&self, request: F) -> Result<T, Error>
    where
        F: Fn(Channel) -> R,
        R: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        if matches!(*self.session.lock(), Slot::Closed) {
            return Err(Error::Closed);
        }
        self.transport.call(request).await
    }
}
