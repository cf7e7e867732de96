//! What an engine is told at its start.

use dlock_core::{Namespace, ResourceId};
use dlock_store::Capabilities;
use std::collections::BTreeSet;
use std::time::Duration;

/// Which resources a server may *master* where the store is shared, or is its own and lost with its process: grant and release
/// from its own memory, while nobody else asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mastering {
    /// None: each grant is in the store before it is told.
    Off,
    /// Those of these namespaces.
    Namespaces(BTreeSet<Namespace>),
    /// All.
    All,
}

impl Mastering {
    /// What an engine does that was not told, over such a store.
    pub(crate) fn by_default(capabilities: Capabilities) -> Mastering {
        if capabilities.exclusive && capabilities.volatile { Mastering::All } else { Mastering::Off }
    }

    /// Whether any resource may be mastered.
    pub fn is_on(&self) -> bool {
        *self != Mastering::Off
    }

    /// Whether this resource may be mastered.
    pub fn covers(&self, resource: &ResourceId) -> bool {
        match self {
            Mastering::Off => false,
            Mastering::Namespaces(namespaces) => {
                namespaces.iter().any(|namespace| namespace.as_str() == resource.namespace())
            }
            Mastering::All => true,
        }
    }
}

/// Limits and habits of an engine. The defaults suit a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// How clients reach this server, told to its peers; empty for an embedded engine.
    pub address: String,
    /// Shown to people beside the member.
    pub version: String,
    /// How many sessions may be at home here.
    pub sessions_max: usize,
    /// How many locks one session may hold or wait for.
    pub locks_per_session_max: usize,
    /// How many requests of one session may be in flight; waiting ones count.
    pub requests_in_flight_max: usize,
    /// How many requests may wait for one resource.
    pub waiters_max: u32,
    /// How long a resource that nobody uses is remembered before its record is collected.
    pub idle_resource_age: Duration,
    /// How many unused resources each shard remembers, however young: of those that are held in a store that is ours alone, where
    /// reading them again costs little, a tenth.
    pub idle_resources_max: usize,
    /// How often the sweeper goes through all records of the store, looking for what the dead left behind.
    pub sweep_interval: Duration,
    /// How many shards the resources are divided into: those of different shards don't wait for each other.
    pub shards: usize,
    /// Which resources may be mastered. If it is not said: all where the store is the engine's own and lost with the process, since
    /// nothing is promised less by that; else none.
    pub mastering: Option<Mastering>,
    /// How many commits in a row, between which no other server wrote, make this server a resource's master.
    pub master_after: u32,
    /// How long a store's answer is waited for before its outcome counts as unknown.
    pub store_timeout: Duration,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            address: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sessions_max: 1_000_000,
            locks_per_session_max: 1_000_000,
            requests_in_flight_max: 65_536,
            waiters_max: 1000,
            idle_resource_age: Duration::from_secs(60),
            idle_resources_max: 10_000,
            sweep_interval: Duration::from_secs(30),
            shards: 16,
            mastering: None,
            master_after: 3,
            store_timeout: Duration::from_secs(5),
        }
    }
}
