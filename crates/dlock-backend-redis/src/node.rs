//! One server of Redis, and the connections to it.

use crate::config::Address;
use crate::connector::Connector;
use crate::fault::Fault;
use crate::link::{Link, Place};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// After an attempt to connect has failed, the next one is made no sooner.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);

/// One server, at one address.
pub(crate) struct Node {
    pub(crate) address: Address,
    connector: Arc<Connector>,
    place: Arc<Place>,
    /// Writes have a connection of their own: where replicas are waited for, it stands still meanwhile.
    writes: Slot,
    reads: Slot,
}

/// A connection that is made when it is needed.
#[derive(Default)]
struct Slot {
    link: RwLock<Option<Arc<Link>>>,
    /// Held by the one who connects; what its last attempt failed with, and when.
    connecting: tokio::sync::Mutex<Option<(Instant, Fault)>>,
}

impl Node {
    pub(crate) fn new(address: Address, connector: Arc<Connector>, place: Arc<Place>) -> Node {
        Node { address, connector, place, writes: Slot::default(), reads: Slot::default() }
    }

    /// The connection for writes.
    pub(crate) async fn writes(&self) -> Result<Arc<Link>, Fault> {
        self.link(&self.writes).await
    }

    /// The connection for everything else.
    pub(crate) async fn reads(&self) -> Result<Arc<Link>, Fault> {
        self.link(&self.reads).await
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    async fn link(&self, slot: &Slot) -> Result<Arc<Link>, Fault> {
        if let Some(link) = slot.usable() {
            return Ok(link);
        }
        let mut failure = slot.connecting.lock().await;
        if let Some(link) = slot.usable() {
            return Ok(link);
        }
        if let Some((_, fault)) = failure.as_ref().filter(|(at, _)| at.elapsed() < CONNECT_PAUSE) {
            return Err(fault.clone());
        }
        let connected =
            tokio::time::timeout(self.connector.timeout(), Link::open(self)).await.unwrap_or_else(|_| {
                let reason = format!("no connection within {:?}", self.connector.timeout());
                Err(Fault::Unreached(reason).at(&self.address))
            });
        match connected {
            Ok(link) => {
                let link = Arc::new(link);
                *slot.link.write() = Some(Arc::clone(&link));
                *failure = None;
                Ok(link)
            }
            Err(fault) => {
                tracing::debug!(address = %self.address, ?fault, "no connection");
                *failure = Some((Instant::now(), fault.clone()));
                Err(fault)
            }
        }
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Gives up connections to a server that is not what it was when they were made: another role, or another
    /// history of replication. Nothing on them would say so.
    pub(crate) async fn verify(&self) {
        for slot in [&self.writes, &self.reads] {
            let Some(link) = slot.usable() else { continue };
            if let Err(fault) = link.verify().await {
                tracing::debug!(address = %self.address, ?fault, "a connection is given up");
                link.retire();
            }
        }
    }
}

impl Slot {
    fn usable(&self) -> Option<Arc<Link>> {
        self.link.read().as_ref().filter(|link| link.is_usable()).map(Arc::clone)
    }
}
