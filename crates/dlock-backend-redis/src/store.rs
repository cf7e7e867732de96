//! The store itself.

use crate::config::{Deployment, Settings};
use crate::error::OpenError;
use crate::fault::Fault;
use crate::flight::Sending;
use crate::health;
use crate::lane::{BATCH, Lane};
use crate::patience::Patience;
use crate::topology::Topology;
use crate::watch::{Hub, follow};
use async_trait::async_trait;
use dlock_store::{
    Capabilities, Change, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch,
    Write,
};
use futures::StreamExt;
use futures::future::join_all;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The longest value, in bytes; a write with a longer one is refused as [`StoreError::Invalid`].
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// How often it is looked who has the records, and whether the servers are still what they were.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A store in one node of Redis, behind Sentinel, or in a cluster. Handles of several processes share it by having the
/// same prefix and database.
pub struct RedisStore {
    sending: Arc<Sending>,
    lanes: Vec<Arc<Lane>>,
    hub: Arc<Hub>,
    info: StoreInfo,
    tasks: Vec<JoinHandle<()>>,
}

impl RedisStore {
    /// Connects, and makes sure that Redis can be used. Must be called within a tokio runtime.
    ///
    /// Tries for as long as the settings' time-out if Redis is not ready yet.
    pub async fn open(settings: &Settings) -> Result<RedisStore, OpenError> {
        let topology = Arc::new(Topology::new(settings)?);
        let place = place(settings);
        reach(&topology, settings.timeout)
            .await
            .map_err(|fault| OpenError::from_fault(place.clone(), fault))?;
        let fails_over = !matches!(settings.deployment, Deployment::Single(_));
        let caveats = health::caveats(&topology, fails_over, settings.replicas).await;
        let sending = Arc::new(Sending {
            topology: Arc::clone(&topology),
            replicas: settings.replicas,
            timeout: settings.timeout,
        });
        let tags = topology.place().layout.tags();
        let lanes: Vec<_> = tags.map(|tag| Lane::new(tag, Arc::clone(&sending))).collect();
        let hub = Hub::new(lanes.len());
        let tasks = vec![
            tokio::spawn(follow(Arc::clone(&topology), Arc::clone(&hub))),
            tokio::spawn(keep_looking(topology)),
        ];
        let info = StoreInfo { backend: "redis", place, caveats };
        Ok(RedisStore { sending, lanes, hub, info, tasks })
    }

    fn guards(&self) -> bool {
        // On a cluster the records of a session and of a resource are on different nodes.
        self.lanes.len() == 1
    }

    /// Why a write can't be sent, if it can't.
    fn refusal(&self, write: &Write) -> Option<StoreError> {
        if !write.guards.is_empty() && !self.guards() {
            let reason = "Redis Cluster has no guards: records are on different nodes".to_owned();
            return Some(StoreError::Invalid { reason });
        }
        match &write.change {
            Change::Put(value) if value.len() > VALUE_BYTES_MAX => {
                let reason = format!("a value has {} bytes, and the limit is {VALUE_BYTES_MAX}", value.len());
                Some(StoreError::Invalid { reason })
            }
            _ => None,
        }
    }
}

/// Makes sure that every tag has a server that takes our scripts.
async fn reach(topology: &Topology, timeout: Duration) -> Result<(), Fault> {
    let mut patience = Patience::new(timeout);
    loop {
        let tried = async {
            topology.refresh().await?;
            let view = topology.view();
            for tag in topology.place().layout.tags() {
                let node = view.node(tag)?;
                let tried = async { node.writes().await?.epoch(tag).await };
                tried.await.map_err(|fault| match fault.at(&node.address) {
                    Fault::Unknown(reason) => Fault::Refused(reason),
                    fault => fault,
                })?;
            }
            Ok(())
        };
        let Err(fault) = tried.await else { return Ok(()) };
        patience.after(fault, topology).await?;
    }
}

async fn keep_looking(topology: Arc<Topology>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if let Err(fault) = topology.refresh().await {
            tracing::debug!(?fault, "who has the records is not known anew");
        }
        join_all(topology.view().nodes.iter().map(|node| node.verify())).await;
    }
}

fn place(settings: &Settings) -> String {
    let list = |addresses: &[crate::config::Address]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    match &settings.deployment {
        Deployment::Single(address) => address.to_string(),
        Deployment::Sentinel { sentinels, master, .. } => {
            format!("the master {master} of the sentinels {}", list(sentinels))
        }
        Deployment::Cluster { seeds } => format!("the cluster of {}", list(seeds)),
        Deployment::Quorum { nodes } => format!("the quorum of {}", list(nodes)),
    }
}

impl OpenError {
    fn from_fault(place: String, fault: Fault) -> OpenError {
        match fault {
            Fault::Unreached(why) => OpenError::Unreachable { place, why },
            Fault::NoScript => OpenError::Unusable { place, why: "it forgets our scripts".to_owned() },
            Fault::NotNow(why)
            | Fault::Refused(why)
            | Fault::Full(why)
            | Fault::Foreign(why)
            | Fault::Unknown(why) => OpenError::Unusable { place, why },
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("place", &self.info.place).finish_non_exhaustive()
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.hub.close();
    }
}

#[async_trait]
impl Store for RedisStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { guards: self.guards(), exclusive: false, volatile: false, batch: BATCH }
    }

    fn info(&self) -> StoreInfo {
        self.info.clone()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.sending.get(key).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        let layout = &self.sending.topology.place().layout;
        let count = writes.len();
        let mut answers: Vec<Option<Result<Verdict, StoreError>>> = vec![None; count];
        let mut by_tag: Vec<(Vec<usize>, Vec<Write>)> = vec![Default::default(); self.lanes.len()];
        for (number, write) in writes.into_iter().enumerate() {
            match self.refusal(&write) {
                Some(refusal) => answers[number] = Some(Err(refusal)),
                None => {
                    let (numbers, writes) = &mut by_tag[usize::from(layout.tag(&write.key))];
                    numbers.push(number);
                    writes.push(write);
                }
            }
        }
        let mut parts = Vec::new();
        for (lane, (numbers, mut writes)) in self.lanes.iter().zip(by_tag) {
            let mut numbers = &numbers[..];
            while !writes.is_empty() {
                let rest = writes.split_off(writes.len().min(BATCH));
                let (own, others) = numbers.split_at(writes.len());
                parts.push((own.to_vec(), lane.submit(writes)));
                (numbers, writes) = (others, rest);
            }
        }
        for (numbers, answer) in parts {
            let found = answer.await.unwrap_or_else(|_| {
                let reason = "the runtime has ended during a commit".to_owned();
                vec![Err(StoreError::Ambiguous { reason }); numbers.len()]
            });
            for (number, verdict) in numbers.into_iter().zip(found) {
                answers[number] = Some(verdict);
            }
        }
        let missing = || Err(StoreError::Ambiguous { reason: "a write has no answer".to_owned() });
        answers.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect()
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.sending.list(prefix, after, limit).await
    }

    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        let watching = self.hub.watch(scope);
        let timeout = self.sending.timeout;
        match tokio::time::timeout(timeout, self.hub.complete()).await {
            Ok(()) => {
                watching.begin();
                Ok(watching.boxed())
            }
            Err(_) => {
                let reason = format!("the announcements could not be subscribed to within {timeout:?}");
                Err(StoreError::Unavailable { reason })
            }
        }
    }

    async fn health(&self) -> Vec<Condition> {
        health::conditions(&self.sending.topology, self.sending.replicas).await
    }
}
