//! Faults of clients, servers and stores under load, with real processes.
//!
//! Each fault states what holds in spite of it. Always: no two clients counted on conflicting locks at one time, tokens
//! grew, and service resumed. Where clients have somewhere to go, or the fault is shorter than their leases: no session
//! and no lock was lost.

use crate::server::program;
use crate::{Backend, Between, Deployment, Load, LoadReport, Proxy};
use dlock_client::Mode;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Makes one test of each fault, with three servers over this backend, or as many as it can have.
#[macro_export]
macro_rules! fault_suite {
    ($backend:expr) => {
        $crate::fault_suite!(@each $backend,
            a_killed_holders_lock_passes_on,
            a_killed_server_costs_no_session,
            a_server_that_stood_still_endangers_nobody,
            a_rolling_restart_loses_no_lock,
            a_killed_store_comes_back,
            a_store_that_stood_still_endangers_nobody,
            a_server_cut_off_from_the_store_is_left,
            broken_and_slow_connections_to_the_store_cost_no_lock,
        );
    };
    (@mastered $backend:expr) => {
        $crate::fault_suite!(@each $crate::faults::Case::mastered($backend),
            a_killed_server_costs_no_session,
            a_server_that_stood_still_endangers_nobody,
            a_rolling_restart_loses_no_lock,
            a_server_cut_off_from_the_store_is_left,
        );
    };
    (@each $backend:expr, $($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::faults::$name($backend).await;
            }
        )*
    };
}

const CLIENTS: usize = 9;
const RESOURCES: usize = 4;
const TTL: Duration = Duration::from_secs(10);
/// Longer than the nodes of any store take to agree on a new leader: NATS waits for four to nine seconds.
const LONG_TTL: Duration = Duration::from_secs(20);
/// So many grants show that all is well again.
const MANY: usize = 100;
/// Far longer than the protocol takes to get over anything.
const RECOVERY: Duration = Duration::from_secs(60);

/// A store, and whether the servers over it master resources.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    backend: Backend,
    mastered: bool,
}

impl From<Backend> for Case {
    fn from(backend: Backend) -> Case {
        Case { backend, mastered: false }
    }
}

impl Case {
    /// Servers that master resources.
    pub const fn mastered(backend: Backend) -> Case {
        Case { backend, mastered: true }
    }

    /// Three servers, or as many as the store can have; with a proxy between each of them and the store where faults are made
    /// there.
    fn deployment(self, store: bool) -> Deployment {
        let mastered = self.mastered.then_some("*");
        Deployment::build(self.backend, 3, Between { store, mastered, ..Between::default() })
    }

    async fn load(self, deployment: &Deployment, ttl: Duration) -> Load {
        if self.mastered {
            Load::start_in_groups(deployment, CLIENTS, RESOURCES, ttl).await
        } else {
            Load::start(deployment, CLIENTS, RESOURCES, ttl).await
        }
    }
}

/// A client's process is killed while it holds a lock: a waiter at another server gets it within the time to live.
pub async fn a_killed_holders_lock_passes_on(backend: Backend) {
    let deployment = Deployment::start(backend, 3);
    let other = deployment.client(1).await;
    let mut holder = Command::new(program("dlockctl", "dlock-cli"))
        .args(["lock", "--ttl", "3s", "r"])
        .env("DLOCK_ENDPOINTS", deployment.servers[0].endpoint())
        .stdout(Stdio::null())
        .spawn()
        .expect("dlockctl");
    let held =
        async || !other.query().get_resource("r").await.is_ok_and(|resource| resource.holders.is_empty());
    while !held().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(other.lock("r").mode(Mode::ProtectedRead).try_acquire().await.expect("an answer").is_none());
    holder.kill().expect("a running process");
    holder.wait().expect("an end");
    let next = other.lock("r").wait(RECOVERY).acquire().await.expect("the lock of the dead");
    assert!(next.is_valid());
}

/// SIGKILL, and a new start: the sessions move, or come back, within their leases.
pub async fn a_killed_server_costs_no_session(case: impl Into<Case>) {
    let case = case.into();
    let mut deployment = case.deployment(false);
    let load = case.load(&deployment, TTL).await;
    load.wait_for_grants(MANY, RECOVERY).await;
    for number in 0..deployment.servers.len().min(2) {
        deployment.servers[number].process().kill();
        tokio::time::sleep(Duration::from_secs(1)).await;
        deployment.servers[number].restart();
        load.wait_for_grants(MANY, RECOVERY).await;
    }
    let report = finish(load, "servers killed").await;
    assert_nothing_lost(&report);
}

/// SIGSTOP for longer than its own lease and its sessions' leases, and then SIGCONT.
pub async fn a_server_that_stood_still_endangers_nobody(case: impl Into<Case>) {
    let case = case.into();
    let mut deployment = case.deployment(false);
    let load = case.load(&deployment, Duration::from_secs(3)).await;
    load.wait_for_grants(MANY, RECOVERY).await;
    deployment.servers[0].process().pause();
    tokio::time::sleep(Duration::from_secs(14)).await;
    deployment.servers[0].process().resume();
    load.wait_for_grants(MANY, RECOVERY).await;
    finish(load, "a server paused").await;
}

/// Each server in turn is told to end, and started again.
pub async fn a_rolling_restart_loses_no_lock(case: impl Into<Case>) {
    let case = case.into();
    let mut deployment = case.deployment(false);
    let load = case.load(&deployment, TTL).await;
    load.wait_for_grants(MANY, RECOVERY).await;
    for number in 0..deployment.servers.len() {
        deployment.servers[number].process().terminate();
        deployment.servers[number].restart();
        load.wait_for_grants(MANY, RECOVERY).await;
    }
    let report = finish(load, "servers restarted in turn").await;
    assert_nothing_lost(&report);
    assert!(report.errors.is_empty(), "{:?}", &report.errors[..report.errors.len().min(5)]);
}

/// SIGKILL of the store, and a new start on what it had written.
pub async fn a_killed_store_comes_back(case: impl Into<Case>) {
    let case = case.into();
    let mut deployment = case.deployment(false);
    let load = case.load(&deployment, LONG_TTL).await;
    load.wait_for_grants(MANY, RECOVERY).await;
    deployment.store.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    deployment.store.restart();
    load.wait_for_grants(MANY, RECOVERY).await;
    let report = finish(load, "the store killed").await;
    assert_nothing_lost(&report);
}

/// SIGSTOP of the store for longer than all leases.
pub async fn a_store_that_stood_still_endangers_nobody(case: impl Into<Case>) {
    let case = case.into();
    let mut deployment = case.deployment(false);
    let load = case.load(&deployment, Duration::from_secs(3)).await;
    load.wait_for_grants(MANY, RECOVERY).await;
    deployment.store.pause();
    tokio::time::sleep(Duration::from_secs(12)).await;
    deployment.store.resume();
    load.wait_for_grants(MANY, RECOVERY).await;
    finish(load, "the store paused").await;
}

/// A partition between one server and the store: its clients go to the others, or wait until it ends.
pub async fn a_server_cut_off_from_the_store_is_left(case: impl Into<Case>) {
    let case = case.into();
    let deployment = case.deployment(true);
    let load = case.load(&deployment, TTL).await;
    load.wait_for_grants(MANY, RECOVERY).await;
    deployment.proxies[0].iter().for_each(Proxy::cut);
    tokio::time::sleep(Duration::from_secs(15)).await;
    if deployment.servers.len() > 1 {
        load.wait_for_grants(MANY, RECOVERY).await;
    }
    deployment.proxies.iter().flatten().for_each(Proxy::mend);
    load.wait_for_grants(MANY, RECOVERY).await;
    let report = finish(load, "a server cut off from the store").await;
    assert_nothing_lost(&report);
}

/// Connections to the store break again and again, and what goes over them is late: commits of unknown outcome.
pub async fn broken_and_slow_connections_to_the_store_cost_no_lock(case: impl Into<Case>) {
    let case = case.into();
    let deployment = case.deployment(true);
    let load = case.load(&deployment, TTL).await;
    load.wait_for_grants(MANY, RECOVERY).await;
    for round in 0..12 {
        for (number, proxy) in deployment.proxies.iter().flatten().enumerate() {
            proxy.set(|fault| {
                fault.delay = Duration::from_millis(if (round + number) % 3 == 0 { 20 } else { 0 });
                fault.generation += u64::from((round + number) % 2 == 0);
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    deployment.proxies.iter().flatten().for_each(Proxy::mend);
    load.wait_for_grants(MANY, RECOVERY).await;
    let report = finish(load, "connections to the store broken").await;
    assert_nothing_lost(&report);
}

async fn finish(load: Load, fault: &str) -> LoadReport {
    let report = load.finish().await;
    println!(
        "{fault}: {} grants, {} guards and {} sessions lost, {} errors, at most {:?} without a grant",
        report.grants,
        report.losses.len(),
        report.lost_sessions.len(),
        report.errors.len(),
        report.longest_gap
    );
    report.assert_safe();
    report
}

fn assert_nothing_lost(report: &LoadReport) {
    assert!(report.lost_sessions.is_empty(), "sessions lost: {:?}", report.lost_sessions);
    assert!(report.losses.is_empty(), "guards lost: {:?}", report.losses);
}
