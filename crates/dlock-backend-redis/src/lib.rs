//! dlock's store in Redis 6.2 to 8, or Valkey: one node, behind Sentinel, a cluster, or a [`quorum`] of independent nodes.
//!
//! Of the first three:
//!
//! A record is one key, and a write is a script that compares and sets: the script takes all writes that gathered
//! while others were under way (`lane`), each with its own verdict. The same script announces what it changed, so that a
//! watch needs no configuration of the server, and keeps an index of the names, so that a listing is in order. No key
//! of ours ever has a time to live.
//!
//! # What holds
//!
//! *A verdict is certain, or [`StoreError::Ambiguous`](dlock_store::StoreError::Ambiguous).* What Redis refuses before it runs a script (no memory, a
//! replica, a moved slot, a missing script) is sent again, or told as what it is; a time-out, a broken connection and
//! any error that is not known are ambiguous. The driver itself never sends anything twice.
//!
//! *Versions grow for ever, also when Redis forgets.* A version is an epoch and a count of writes. The epoch is stored
//! beside the records together with who has it: the server's run and its history of replication. A script writes only
//! while the epoch is the one that its caller was told over this very connection; else the caller asks who the server
//! is now, and a second script raises the epoch if that is another than before. So a server that was restarted, a replica
//! that became master, and a slot's new home write under a new epoch, whatever they have lost, and whoever comes first
//! raises it for all: a caller with an older view is refused until it has asked again. The new epoch is greater than
//! the stored one, than all that the caller has seen, and than the server's clock in milliseconds. It can equal one that
//! was lost only if three things come together: the newest epoch itself was lost, the clock of the server that lost
//! it went back behind the moment at which it was drawn, and no caller that had seen it is the first to come. One case
//! is noticed late: a master that becomes a replica and a master again while a connection to it lasts is found out by
//! its changed history within a second. (Sentinel closes all connections when it demotes.)
//!
//! *What was acknowledged is there, as far as Redis itself keeps it.* It does on one node with `appendonly yes` and
//! `appendfsync always`. A failover of Sentinel or of a cluster loses what no replica had; with `replicas = N` a write
//! counts, and is read back, only once N replicas have it, which leaves the failover to a replica that lags behind the
//! others. An isolated master goes on serving until `min-replicas-to-write` stops it. What of this applies is said at
//! start-up ([`StoreInfo::caveats`](dlock_store::StoreInfo)).
//!
//! *Guards* are compared in the same script, on one node and behind Sentinel. In a cluster the records of a session and
//! of a resource are on different nodes: it has none, and says so.
//!
//! *A watch* is a subscription at every master, made anew when the connection breaks, the master changes or the slot
//! moves; then all watchers are told to read again. Before version 7, a cluster sends each announcement to all its
//! nodes; from then on, only to where the slot is.
//!
//! *While a slot is being moved*, its records are refused as unavailable, since a script finds only some of them at
//! either end. Redis 8.4 and Valkey 9 can move slots as a whole.
#![forbid(unsafe_code)]

mod barriers;
mod config;
mod connector;
mod error;
mod fault;
mod flight;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod info;
mod lane;
mod layout;
mod link;
mod node;
mod patience;
pub mod quorum;
mod reading;
mod record;
mod script;
mod store;
mod topology;
mod watch;

pub use config::{
    DEFAULT_PREFIX, DEFAULT_TIMEOUT, PREFIX_BYTES_MAX, RedisConfig, SentinelConfig, SettingError, Settings,
    TlsConfig,
};
pub use dlock_store::config::Secret;
pub use error::OpenError;
pub use quorum::QuorumStore;
pub use store::{RedisStore, VALUE_BYTES_MAX};

use config::Deployment;
use dlock_store::Store;
use std::sync::Arc;

/// Opens the store that the settings name. Must be called within a tokio runtime.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Store>, OpenError> {
    match &settings.deployment {
        Deployment::Single(_) | Deployment::Sentinel { .. } | Deployment::Cluster { .. } => {
            Ok(Arc::new(RedisStore::open(settings).await?))
        }
        Deployment::Quorum { .. } => Ok(Arc::new(QuorumStore::open(settings).await?)),
    }
}
