//! Sessions that come, lock something, and go: with a word, or without one.

use crate::unary::{Session, connect};
use dlock_client::{Client, Error};
use dlock_proto::v1::Mode;
use dlock_runtime::{BootClock, Clock as _};
use dlock_suites::Deployment;
use rand::RngExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Status;

/// How long a visitor waits for a lock.
const WAIT: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(3);
/// Names that visitors share.
const SHARED: u64 = 500;
const MODES: [Mode; 5] =
    [Mode::ConcurrentRead, Mode::ConcurrentWrite, Mode::ProtectedRead, Mode::ProtectedWrite, Mode::Exclusive];

/// Visitors under way.
pub(crate) struct Visitors {
    stop: watch::Sender<bool>,
    door: tokio::task::JoinHandle<Visited>,
}

/// What became of them.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    pub(crate) sessions: u64,
    pub(crate) locks: u64,
    /// Of them, by what they said.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// How a visitor goes.
#[derive(Clone, Copy)]
enum Leave {
    /// Through the SDK, with a connection of its own, which closes its session.
    Sdk,
    /// By a call.
    Close,
    /// Never heard of again.
    Silent,
}

impl Visitors {
    /// So many come each second, to all servers.
    pub(crate) async fn start(deployment: &Deployment, per_second: f64) -> Visitors {
        let (stop, stopped) = watch::channel(false);
        let endpoints = deployment.endpoints();
        let mut services = Vec::new();
        for endpoint in &endpoints {
            services.push(connect(endpoint).await);
        }
        let door = tokio::spawn(async move {
            let (mut inside, mut visited) = (JoinSet::new(), Visited::default());
            let locks = Arc::new(AtomicU64::new(0));
            let begun = BootClock.now();
            while !*stopped.borrow() {
                BootClock
                    .sleep_until(begun + Duration::from_secs_f64(visited.sessions as f64 / per_second))
                    .await;
                let number = visited.sessions;
                visited.sessions += 1;
                let leave = match number % 10 {
                    0..3 => Leave::Sdk,
                    3..8 => Leave::Close,
                    _ => Leave::Silent,
                };
                let server = number as usize % services.len();
                let (service, endpoint) = (services[server].clone(), endpoints[server].clone());
                let locks = locks.clone();
                inside.spawn(async move {
                    match leave {
                        Leave::Sdk => {
                            with_sdk(endpoint, number, &locks).await.map_err(|error| error.to_string())
                        }
                        Leave::Close | Leave::Silent => {
                            let session = Session::open(service, TTL).await.map_err(words)?;
                            with_calls(session, number, leave, &locks).await.map_err(words)
                        }
                    }
                });
                while let Some(gone) = inside.try_join_next() {
                    visited.note(gone.unwrap());
                }
            }
            while let Some(gone) = inside.join_next().await {
                visited.note(gone.unwrap());
            }
            visited.locks = locks.load(Ordering::Relaxed);
            visited
        });
        Visitors { stop, door }
    }

    /// Lets the last ones go.
    pub(crate) async fn finish(self) -> Visited {
        self.stop.send_replace(true);
        self.door.await.unwrap()
    }
}

impl Visited {
    fn note(&mut self, gone: Result<(), String>) {
        if let Err(error) = gone {
            *self.errors.entry(error).or_default() += 1;
        }
    }
}

fn words(status: Status) -> String {
    status.message().to_owned()
}

/// A name of one's own, or one of those that all share.
fn name(number: u64) -> String {
    let mut random = rand::rng();
    if random.random_bool(0.5) {
        format!("visit/{number}/{}", random.random_range(0..1000))
    } else {
        format!("shared/{}", random.random_range(0..SHARED))
    }
}

async fn with_sdk(endpoint: String, number: u64, locks: &AtomicU64) -> Result<(), Error> {
    let client = Client::builder().endpoints([endpoint]).ttl(TTL).connect().await?;
    let mut guards = Vec::new();
    for _ in 0..2 {
        match client.lock(name(number)).wait(WAIT).acquire().await {
            Ok(guard) => guards.push(guard),
            Err(Error::WaitTimeout) => {}
            Err(error) => return Err(error),
        }
    }
    locks.fetch_add(guards.len() as u64, Ordering::Relaxed);
    let stays = Duration::from_millis(rand::rng().random_range(0..200));
    tokio::time::sleep(stays).await;
    Ok(())
}

async fn with_calls(
    mut session: Session,
    number: u64,
    leave: Leave,
    locks: &AtomicU64,
) -> Result<(), Status> {
    for lock_id in 1..=2 {
        let mode = MODES[rand::rng().random_range(0..MODES.len())];
        let granted = session.acquire(lock_id, &name(number), mode, WAIT).await?;
        locks.fetch_add(u64::from(granted), Ordering::Relaxed);
    }
    match leave {
        Leave::Sdk | Leave::Close => session.close().await,
        Leave::Silent => Ok(()),
    }
}
