//! Clients that lock, hold, convert and release for as long as they are told, and write down what they were promised.

use crate::Deployment;
use crate::history::{self, Held, Violation};
use dlock_client::{Client, Error, Guard, LossReason, SessionEvent, Timestamp};
use dlock_core::Mode;
use dlock_runtime::{BootClock, Clock};
use futures::StreamExt;
use parking_lot::Mutex;
use rand::RngExt;
use rand::seq::IndexedRandom;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Clients under way.
pub struct Load {
    stop: watch::Sender<bool>,
    workers: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    held: Mutex<Vec<Held>>,
    losses: Mutex<Vec<LossReason>>,
    errors: Mutex<Vec<String>>,
    lost_sessions: Mutex<Vec<LossReason>>,
}

/// What came of a load.
#[derive(Clone, Debug)]
pub struct LoadReport {
    /// Promises that can't all be kept: empty, or something is broken.
    pub violations: Vec<Violation>,
    /// How many locks were granted.
    pub grants: usize,
    /// Why guards were lost, each.
    pub losses: Vec<LossReason>,
    /// Why sessions were lost, each.
    pub lost_sessions: Vec<LossReason>,
    /// Acquires, conversions and releases that failed otherwise, but for waits that ended.
    pub errors: Vec<String>,
    /// The longest time in which no lock was granted to anybody.
    pub longest_gap: Duration,
    /// When each lock was granted, in order.
    pub grants_by_time: Vec<Timestamp>,
}

/// How long clients may take to end: longer than any of their waits, and than a session without a server lives.
const END_MAX: Duration = Duration::from_secs(120);

/// What a client locks.
#[derive(Clone, Copy)]
struct Pick {
    resources: usize,
    /// The client's group, and how many there are.
    group: Option<(usize, usize)>,
}

/// How often a client locks what is another group's.
const ELSEWHERE: f64 = 0.02;

impl Pick {
    fn name(self) -> String {
        let mut dice = rand::rng();
        let number = dice.random_range(0..self.resources);
        match self.group {
            None => format!("load/{number}"),
            Some((own, groups)) => {
                let group = if dice.random_bool(ELSEWHERE) { dice.random_range(0..groups) } else { own };
                format!("load/{group}/{number}")
            }
        }
    }
}

const MODES: [Mode; 5] =
    [Mode::ConcurrentRead, Mode::ConcurrentWrite, Mode::ProtectedRead, Mode::ProtectedWrite, Mode::Exclusive];

impl Load {
    /// Starts clients, each of all servers, over a few resources in all modes.
    pub async fn start(deployment: &Deployment, clients: usize, resources: usize, ttl: Duration) -> Load {
        Load::start_picking(deployment, clients, ttl, |_| Pick { resources, group: None }).await
    }

    /// Starts clients which mostly lock what only those lock that begin at the same server: it comes to master that, and is
    /// asked for it now and then.
    pub async fn start_in_groups(
        deployment: &Deployment,
        clients: usize,
        resources: usize,
        ttl: Duration,
    ) -> Load {
        let groups = deployment.servers.len();
        Load::start_picking(deployment, clients, ttl, |client| Pick {
            resources,
            group: Some((client % groups, groups)),
        })
        .await
    }

    async fn start_picking(
        deployment: &Deployment,
        clients: usize,
        ttl: Duration,
        pick: impl Fn(usize) -> Pick,
    ) -> Load {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::default());
        let mut workers = JoinSet::new();
        for number in 0..clients {
            let client = deployment.client_with_ttl(number, ttl).await;
            workers.spawn(watch_session(client.events(), shared.clone()));
            // Two at a time for each: one session holds several locks.
            for hand in 0..2 {
                let name = format!("client {number}.{hand}");
                workers.spawn(work(client.clone(), name, pick(number), shared.clone(), stopped.clone()));
            }
        }
        Load { stop, workers, shared }
    }

    /// How many locks were granted so far.
    pub fn grants(&self) -> usize {
        self.shared.held.lock().len()
    }

    /// Waits until as many more were granted.
    ///
    /// # Panics
    /// When that takes longer than `at_most`.
    pub async fn wait_for_grants(&self, more: usize, at_most: Duration) -> Duration {
        self.try_wait_for_grants(more, at_most).await.unwrap_or_else(|missing| panic!("{missing}"))
    }

    /// Waits until as many more were granted; returns how long that took.
    ///
    /// # Errors
    /// When it takes longer than `at_most`: how many there are.
    pub async fn try_wait_for_grants(&self, more: usize, at_most: Duration) -> Result<Duration, String> {
        let (begun, wanted) = (BootClock.now(), self.grants() + more);
        while self.grants() < wanted {
            let waited = BootClock.now().since(begun);
            if waited >= at_most {
                return Err(format!("{} of {wanted} grants after {waited:?}", self.grants()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(BootClock.now().since(begun))
    }

    /// Lets everybody finish, and checks what they have written down.
    pub async fn finish(mut self) -> LoadReport {
        self.stop.send_replace(true);
        let ending = async {
            while let Some(worker) = self.workers.join_next().await {
                worker.expect("a worker that does not panic");
            }
        };
        if tokio::time::timeout(END_MAX, ending).await.is_err() {
            let unfinished = format!("{} clients did not end within {END_MAX:?}", self.workers.len());
            self.shared.errors.lock().push(unfinished);
            self.workers.shutdown().await;
        }
        let held = std::mem::take(&mut *self.shared.held.lock());
        let mut grants_by_time: Vec<Timestamp> = held.iter().map(|held| held.from).collect();
        grants_by_time.sort_unstable();
        let gaps = grants_by_time.windows(2).map(|pair| pair[1].since(pair[0]));
        LoadReport {
            violations: history::check(&held),
            grants: held.len(),
            losses: std::mem::take(&mut self.shared.losses.lock()),
            lost_sessions: std::mem::take(&mut self.shared.lost_sessions.lock()),
            errors: std::mem::take(&mut self.shared.errors.lock()),
            longest_gap: gaps.max().unwrap_or_default(),
            grants_by_time,
        }
    }
}

impl LoadReport {
    /// # Panics
    /// When promises contradict each other.
    pub fn assert_safe(&self) {
        let shown: Vec<String> = self.violations.iter().take(5).map(ToString::to_string).collect();
        assert!(self.violations.is_empty(), "{} violations:\n{}", self.violations.len(), shown.join("\n"));
        assert!(self.grants > 0, "nothing was granted at all");
    }
}

async fn watch_session(mut events: impl futures::Stream<Item = SessionEvent> + Unpin, shared: Arc<Shared>) {
    while let Some(event) = events.next().await {
        if let SessionEvent::Lost { reason, .. } = event {
            shared.lost_sessions.lock().push(reason);
        }
    }
}

async fn work(client: Client, name: String, pick: Pick, shared: Arc<Shared>, stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let resource = pick.name();
        let mode = *MODES.choose(&mut rand::rng()).expect("a mode");
        match client.lock(&resource).mode(mode).wait(Duration::from_secs(20)).acquire().await {
            Ok(guard) => hold(guard, &resource, &name, &shared).await,
            Err(Error::WaitTimeout) => {}
            Err(error) => {
                shared.errors.lock().push(error.to_string());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(client);
}

/// Holds for some milliseconds, perhaps converts, and releases.
async fn hold(mut guard: Guard, resource: &str, client: &str, shared: &Shared) {
    let mut from = BootClock.now();
    let pause = || Duration::from_millis(rand::rng().random_range(0..8));
    let write = |guard: &Guard, (mode, token), from: Timestamp, until: Timestamp| {
        // A guard that was lost was good until its deadline, and no longer than now.
        let until = if guard.is_valid() { until } else { guard.deadline().min(until) };
        if until >= from {
            let (resource, client) = (resource.to_owned(), client.to_owned());
            let lock = (guard.session_id(), guard.lock_id());
            shared.held.lock().push(Held { resource, client, lock, mode, token, from, until });
        }
    };
    tokio::time::sleep(pause()).await;
    if rand::rng().random_bool(0.3) {
        let before = (guard.mode(), guard.token());
        let wanted = *MODES.choose(&mut rand::rng()).expect("a mode");
        let asked = BootClock.now();
        let converted = guard.convert(wanted).wait(Duration::from_secs(5)).await;
        // On its way to a mode that does not cover this one, it may have had that ever since it asked.
        let until = if before.0.at_or_below(wanted) { BootClock.now() } else { asked };
        write(&guard, before, from, until);
        from = BootClock.now();
        match converted {
            Ok(()) | Err(Error::WaitTimeout | Error::Deadlock | Error::LockLost { .. }) => {}
            Err(error) => shared.errors.lock().push(error.to_string()),
        }
        tokio::time::sleep(pause()).await;
    }
    let until = BootClock.now();
    write(&guard, (guard.mode(), guard.token()), from, until);
    if let Some(reason) = guard.loss() {
        shared.losses.lock().push(reason);
        return;
    }
    if let Err(error) = guard.release().await {
        shared.errors.lock().push(error.to_string());
    }
}
