//! Sessions that do nothing but live.

use crate::unary::{Session, connect};
use dlock_runtime::{BootClock, Clock as _};
use dlock_suites::Deployment;
use futures::StreamExt;
use futures::stream;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections, each with its share of the sessions.
const CONNECTIONS: usize = 48;
/// Requests under way at a time on each.
const IN_FLIGHT: usize = 32;

/// Idle sessions under way.
pub(crate) struct Idle {
    stop: watch::Sender<bool>,
    keepers: JoinSet<Kept>,
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) sessions: usize,
    pub(crate) heartbeats: u64,
    pub(crate) lost: usize,
}

impl Idle {
    /// Opens them all, on all servers.
    pub(crate) async fn start(deployment: &Deployment, count: usize, ttl: Duration) -> Idle {
        let (stop, stopped) = watch::channel(false);
        let mut opening = JoinSet::new();
        for connection in 0..CONNECTIONS {
            let endpoint = deployment.servers[connection % deployment.servers.len()].endpoint();
            let share = count / CONNECTIONS + usize::from(connection < count % CONNECTIONS);
            opening.spawn(async move {
                let service = connect(&endpoint).await;
                let open = (0..share).map(|_| Session::open(service.clone(), ttl));
                let opened: Vec<_> = stream::iter(open).buffer_unordered(IN_FLIGHT).collect().await;
                opened.into_iter().collect::<Result<Vec<Session>, _>>().expect("sessions")
            });
        }
        // Each is kept alive as soon as it is open: the last may be open long after the first.
        let mut keepers = JoinSet::new();
        while let Some(sessions) = opening.join_next().await {
            keepers.spawn(keep(sessions.unwrap(), ttl, stopped.clone()));
        }
        Idle { stop, keepers }
    }

    /// Closes half of them; the others are never heard of again.
    pub(crate) async fn finish(mut self) -> Kept {
        self.stop.send_replace(true);
        let mut all = Kept::default();
        while let Some(kept) = self.keepers.join_next().await {
            let kept = kept.unwrap();
            all.sessions += kept.sessions;
            all.heartbeats += kept.heartbeats;
            all.lost += kept.lost;
        }
        all
    }
}

/// Sends each session's heartbeats, evenly over a third of the time to live.
async fn keep(sessions: Vec<Session>, ttl: Duration, stopped: watch::Receiver<bool>) -> Kept {
    let mut kept = Kept { sessions: sessions.len(), ..Kept::default() };
    let mut sessions = sessions;
    while !*stopped.borrow() {
        let begun = BootClock.now();
        let round = ttl / 3;
        let count = sessions.len();
        let beats = sessions.drain(..).enumerate().map(|(number, mut session)| {
            let due = begun + round.mul_f64(number as f64 / count as f64);
            async move {
                BootClock.sleep_until(due).await;
                session.keep_alive().await.then_some(session)
            }
        });
        let alive: Vec<Session> =
            stream::iter(beats).buffered(IN_FLIGHT).filter_map(|session| async { session }).collect().await;
        kept.heartbeats += count as u64;
        kept.lost += count - alive.len();
        sessions = alive;
        BootClock.sleep_until(begun + round).await;
    }
    let closing = sessions.into_iter().step_by(2).map(Session::close);
    let closed: Vec<_> = stream::iter(closing).buffer_unordered(IN_FLIGHT).collect().await;
    kept.lost += closed.iter().filter(|closed| closed.is_err()).count();
    kept
}
