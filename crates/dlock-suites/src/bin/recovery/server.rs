//! A server dies: its sessions go to others, or wait for it.

use crate::figures::{Figures, Row};
use dlock_client::{Client, Guard, SessionEvent, Timestamp};
use dlock_runtime::{BootClock, Clock as _};
use dlock_suites::{Backend, Deployment};
use futures::StreamExt;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

const SESSIONS: usize = 150;
const TTL: Duration = Duration::from_secs(10);
const TARGET: Duration = Duration::from_secs(1);
/// A session that is attached by then was not lost.
const SETTLED: Duration = Duration::from_secs(12);

/// A session with a lock, and where it was attached, and when.
struct Attached {
    guard: Guard,
    last: Arc<Mutex<(String, Timestamp)>>,
    _client: Client,
}

impl Attached {
    async fn new(deployment: &Deployment, number: usize) -> Attached {
        let client = deployment.client_with_ttl(number, TTL).await;
        let last = Arc::new(Mutex::new((String::new(), BootClock.now())));
        let mut events = client.events();
        let noted = last.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let SessionEvent::Connected { endpoint, .. } | SessionEvent::Reattached { endpoint, .. } =
                    event
                {
                    *noted.lock() = (endpoint.to_string(), BootClock.now());
                }
            }
        });
        let guard = client.lock(format!("lock {number}")).acquire().await.expect("a lock");
        while last.lock().0.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Attached { guard, last, _client: client }
    }

    fn is_at(&self, endpoint: &str) -> bool {
        self.last.lock().0.ends_with(endpoint)
    }
}

/// SIGKILL. Where there is but one server, time counts from when it serves again.
pub(crate) async fn killed(backend: Backend, rounds: usize) -> [Row; 2] {
    let mut deployment = Deployment::start(backend, 3);
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        sessions.push(Attached::new(&deployment, number).await);
    }
    let (mut taken, mut moved) = (Vec::new(), 0);
    for _ in 0..rounds {
        let endpoints = deployment.endpoints();
        let at = |endpoint: &String| sessions.iter().filter(|session| session.is_at(endpoint)).count();
        let victim = (0..endpoints.len()).max_by_key(|number| at(&endpoints[*number])).unwrap();
        let affected: Vec<&Attached> =
            sessions.iter().filter(|session| session.is_at(&endpoints[victim])).collect();
        let mut died = BootClock.now();
        deployment.servers[victim].process().kill();
        let alone = endpoints.len() == 1;
        if alone {
            deployment.servers[victim].restart();
            died = BootClock.now();
        }
        tokio::time::sleep(SETTLED).await;
        moved += affected.len();
        let attached = affected.iter().map(|session| session.last.lock().1);
        taken.extend(attached.map(|at| if at >= died || alone { at.since(died) } else { Duration::MAX }));
        if !alone {
            deployment.servers[victim].restart();
        }
    }
    let lost = sessions.iter().filter(|session| !session.guard.is_valid()).count();
    [
        Row {
            what: "a server killed: its sessions attached again",
            figures: Figures::Times { target: TARGET, taken },
        },
        Row {
            what: "a server killed: locks lost of sessions of 10 s",
            figures: Figures::Count { target: 0.0, found: lost, of: moved },
        },
    ]
}
