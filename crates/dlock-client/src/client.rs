//! The client: one service, at most one session.

use crate::{AdminClient, ClientBuilder, Endpoint, Error, Health, Lock, LossReason, QueryClient};
use dlock_core::SessionId;
use futures::Stream;

/// A connection to a lock service. Clones are handles to the same one.
///
/// The first lock opens a *session*, which heartbeats keep alive; all locks of a client are its session's, and live and
/// die with it. When the session is lost, the next lock opens a new one. Dropping the last handle, and the last
/// guard, ends the session in the background; [`Client::close`] does so and says how it went.
#[derive(Clone)]
pub struct Client {}

/// What happens to the session of a [`Client`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A session was opened.
    Connected {
        /// The session.
        session: SessionId,
        /// Where.
        endpoint: Endpoint,
    },
    /// The connection broke, or its server fell silent or is going away. Locks are held meanwhile; another server is
    /// being looked for.
    Disconnected {
        /// The session.
        session: SessionId,
    },
    /// The session is attached again, to the same server or to another one; it and its locks live.
    Reattached {
        /// The session.
        session: SessionId,
        /// Where.
        endpoint: Endpoint,
    },
    /// The lease's deadline passed without an acknowledgement. All guards are lost with [`LossReason::Jeopardy`].
    Jeopardy {
        /// The session.
        session: SessionId,
    },
    /// The session is over, and all its locks with it.
    Lost {
        /// The session.
        session: SessionId,
        /// Why.
        reason: LossReason,
    },
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
        let _ = name.into();
        unimplemented!()
    }

    /// The session, once a lock has opened it and while it lives.
    pub fn session_id(&self) -> Option<SessionId> {
        unimplemented!()
    }

    /// What happens to the session from now on. A consumer that falls behind by more than 64 events misses the oldest.
    pub fn events(&self) -> impl Stream<Item = SessionEvent> + Send + Unpin + use<> {
        futures::stream::pending()
    }

    /// Looks at resources, sessions and servers. Needs no session and opens none.
    pub fn query(&self) -> QueryClient {
        unimplemented!()
    }

    /// Takes locks from others. Needs no session and opens none.
    pub fn admin(&self) -> AdminClient {
        unimplemented!()
    }

    /// Asks the server how it feels, by the standard gRPC health check.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Timeout`].
    pub async fn health(&self) -> Result<Health, Error> {
        unimplemented!()
    }

    /// Ends the session, which releases all its locks at once; guards that are left are lost with
    /// [`LossReason::Closed`]. Afterwards nothing of the client runs any more, and its handles say [`Error::Closed`].
    ///
    /// # Errors
    /// [`Error::Timeout`] when the service did not confirm the end: it then lets the session expire.
    pub async fn close(&self) -> Result<(), Error> {
        unimplemented!()
    }
}
