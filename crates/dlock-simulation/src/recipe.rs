//! A lock as it is usually made of etcd, in the same world: what this harness finds of it, others have found, too.
//!
//! The recipe is that of etcd's own client (`concurrency.Mutex`, and `etcdctl lock`): a lease is granted and kept alive; a
//! key is made under it; who made the oldest key that there still is has the lock. The client stops when it hears that
//! its lease is over, or hears nothing for as long as the lease lives. etcd itself does nothing wrong here.

use crate::client::{Plan, Tools};
use crate::network::{Latency, Machine, Network};
use crate::world::{Time, World, between};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Where etcd is: in the store's place.
const ETCD: Machine = 0;
/// How long a call may take.
const CALL_MAX: Duration = Duration::from_secs(1);
/// How often a waiter looks whether it is its turn.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Keys {
    revision: u64,
    /// Of each lease, how long it lives after it was kept alive, and until when that is at present.
    leases: BTreeMap<u64, (Duration, Time)>,
    /// The keys of each resource by the revision in which they were made, with their leases.
    made: BTreeMap<(usize, u64), u64>,
}

impl Keys {
    /// What etcd's own clock has ended.
    fn expire(&mut self, now: Time) {
        self.leases.retain(|_, (_, until)| *until > now);
        self.made.retain(|_, lease| self.leases.contains_key(lease));
    }

    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn oldest(&self, resource: usize) -> Option<u64> {
        self.made.range((resource, 0)..(resource + 1, 0)).next().map(|((_, revision), _)| *revision)
    }
}

/// etcd, as one machine sees it.
#[derive(Clone)]
pub(crate) struct Etcd {
    world: Arc<World>,
    network: Network,
    latency: Latency,
    machine: Machine,
    keys: Arc<Mutex<Keys>>,
}

impl Etcd {
    pub(crate) fn new(world: &Arc<World>, network: &Network, latency: Latency) -> Etcd {
        let (world, network) = (world.clone(), network.clone());
        Etcd { world, network, latency, machine: ETCD, keys: Arc::default() }
    }

    pub(crate) fn from(&self, machine: Machine) -> Etcd {
        Etcd { machine, ..self.clone() }
    }

    /// A call; `None` if no answer came.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Keys, Time) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let etcd = self.clone();
        if self.network.passes(self.machine, ETCD) {
            self.world.after(self.latency.draw(&self.world), move || {
                let now = etcd.world.now();
                let result = {
                    let mut keys = etcd.keys.lock();
                    keys.expire(now);
                    call(&mut keys, now)
                };
                if etcd.network.passes(ETCD, etcd.machine) {
                    etcd.world.after(etcd.latency.draw(&etcd.world), move || drop(reply.send(result)));
                }
            });
        }
        tokio::time::timeout(CALL_MAX, answer).await.ok()?.ok()
    }
}

/// A lease that is kept alive until it is dropped.
struct Lease {
    id: u64,
    over: Arc<AtomicBool>,
    keeper: AbortHandle,
}

impl Lease {
    async fn grant(etcd: &Etcd, ttl: Duration) -> Option<Lease> {
        let granted = move |keys: &mut Keys, now| {
            let id = keys.next_revision();
            keys.leases.insert(id, (ttl, now + ttl));
            id
        };
        let id = etcd.call(granted).await?;
        let over = Arc::new(AtomicBool::new(false));
        let keeper = tokio::spawn(keep_alive(etcd.clone(), id, ttl, over.clone())).abort_handle();
        Some(Lease { id, over, keeper })
    }

    /// Whether the client has heard that the lease is over, or nothing for too long.
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep_alive(etcd: Etcd, lease: u64, ttl: Duration, over: Arc<AtomicBool>) {
    let mut heard = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(ttl / 3).await;
        let kept = etcd.call(move |keys, now| match keys.leases.get_mut(&lease) {
            Some((ttl, until)) => {
                *until = now + *ttl;
                true
            }
            None => false,
        });
        match kept.await {
            Some(true) => heard = tokio::time::Instant::now(),
            Some(false) => return over.store(true, Ordering::Relaxed),
            None if heard.elapsed() >= ttl => return over.store(true, Ordering::Relaxed),
            None => {}
        }
    }
}

/// Runs a client that locks by the recipe, one lock after the other.
pub(crate) async fn run(plan: Plan, tools: Tools, etcd: Etcd) {
    let mut dice = StdRng::seed_from_u64(plan.seed);
    while tools.world.now() < plan.until {
        tokio::time::sleep(between(&mut dice, Duration::ZERO, plan.pause_max)).await;
        let resource = dice.random_range(0..plan.resources);
        if let Some(lease) = Lease::grant(&etcd, plan.ttl).await {
            use_lock(&plan, &tools, &etcd, &lease, resource, &mut dice).await;
            let id = lease.id;
            drop(lease);
            // Deletes the key, too. If it does not arrive, the lease runs out.
            let _revoked = etcd.call(move |keys, _| keys.leases.remove(&id)).await;
        }
    }
    tools.idle.store(true, Ordering::Relaxed);
    tools.ended.store(true, Ordering::Relaxed);
}

async fn use_lock(
    plan: &Plan,
    tools: &Tools,
    etcd: &Etcd,
    lease: &Lease,
    resource: usize,
    dice: &mut StdRng,
) {
    let id = lease.id;
    let made = etcd.call(move |keys, _| {
        if !keys.leases.contains_key(&id) {
            return None;
        }
        let revision = keys.next_revision();
        keys.made.insert((resource, revision), id);
        Some(revision)
    });
    let Some(Some(revision)) = made.await else { return };
    loop {
        match etcd.call(move |keys, _| keys.oldest(resource)).await {
            Some(Some(oldest)) if oldest == revision => break,
            _ if lease.is_over() => return,
            _ => tokio::time::sleep(LOOK).await,
        }
    }
    for _ in 0..dice.random_range(1..4) {
        if lease.is_over() {
            return;
        }
        let Some(base) = tools.registers.read(resource, revision).await else { return };
        tokio::time::sleep(between(dice, Duration::ZERO, plan.pause_max)).await;
        if lease.is_over() {
            return;
        }
        tools.registers.write(resource, revision, base).await;
    }
}
