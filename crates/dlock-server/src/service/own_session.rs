//! The session that the server keeps for a call which holds a lock: its client has none of its own.

use super::to_the_end;
use crate::fault::Fault;
use dlock_core::lease::{ClientLease, LeaseTerms, MEMBER_BEAT};
use dlock_core::session::{ClientInfo, EndReason};
use dlock_engine::{Caller, Engine, Event, OpenSession, Reply, Request, RequestError, Session, SessionError};
use dlock_runtime::Clock;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A session that lives for as long as this exists, and is closed with it.
///
/// The server is here a client of its own engine, and counts on the session by the same rule as any other client
/// ([`ClientLease`]): a server that has lost touch with its store must not go on saying that the lock is held, when
/// other servers may have expired the session.
pub(super) struct OwnSession {
    session: Session,
    caller: Arc<Caller>,
    /// Cancelled when the session can't be counted on any more.
    lapsed: CancellationToken,
    _heartbeats: AbortOnDropHandle<()>,
}

impl OwnSession {
    pub(super) async fn open(
        engine: &Engine,
        clock: Arc<dyn Clock>,
        client: ClientInfo,
    ) -> Result<OwnSession, Fault> {
        let sent = clock.now();
        let caller = Caller::new();
        let open = OpenSession { terms: LeaseTerms::default(), principal: String::new(), client };
        let (engine, sink) = (engine.clone(), caller.clone());
        let (session, _secret) = to_the_end(async move { engine.open_session(open, sink).await }).await?;
        let lease = ClientLease::new(session.terms().ttl(), session.epoch(), sent);
        let lapsed = CancellationToken::new();
        let beating = keep_alive(session.clone(), lease, clock, lapsed.clone());
        let heartbeats = AbortOnDropHandle::new(tokio::spawn(beating));
        Ok(OwnSession { session, caller, lapsed, _heartbeats: heartbeats })
    }

    /// Sends a request and waits for its final answer.
    pub(super) async fn call(&self, request: Request) -> Result<Reply, RequestError> {
        self.caller.call(&self.session, request).await
    }

    /// The next event that answers no call; the end of the session when it can't be counted on any more.
    pub(super) async fn next(&self) -> Event {
        tokio::select! {
            biased;
            () = self.lapsed.cancelled() => Event::Ended { reason: EndReason::Expired },
            event = self.caller.next() => event,
        }
    }
}

/// Sends heartbeats until the session is over, or its deadline has passed without an acknowledgement.
async fn keep_alive(
    session: Session,
    mut lease: ClientLease,
    clock: Arc<dyn Clock>,
    lapsed: CancellationToken,
) {
    let mut due = lease.heartbeat_due();
    loop {
        clock.sleep_until(due.min(lease.deadline())).await;
        let now = clock.now();
        if !lease.is_valid(now) {
            tracing::warn!(session = %session.id(), "a call's lock is given up: its session can't be kept alive");
            return lapsed.cancel();
        }
        let nonce = lease.heartbeat_sent(now);
        due = match session.heartbeat(lease.epoch()) {
            Ok(()) => {
                lease.acknowledged(lease.epoch(), nonce);
                lease.heartbeat_due()
            }
            // As often as the server itself tries to be heard by its peers.
            Err(SessionError::Fenced { .. } | SessionError::StoreUnavailable { .. }) => now + MEMBER_BEAT,
            // The session is over, which its events tell.
            Err(_) => return,
        };
    }
}

impl Drop for OwnSession {
    /// The call is over, by whatever way: so are its session and its lock. If that can't be recorded, the session
    /// expires, as nothing keeps it alive any more.
    fn drop(&mut self) {
        let session = self.session.clone();
        tokio::spawn(async move {
            if let Err(error) = session.close().await {
                tracing::debug!(session = %session.id(), %error, "a call's session was not closed");
            }
        });
    }
}
