//! The store's leader dies.

use crate::figures::{Figures, Row};
use dlock_client::{Client, Timestamp};
use dlock_runtime::{BootClock, Clock as _};
use dlock_store::{Change, Key, Write};
use dlock_suites::{Backend, Deployment};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// How much later than the store all servers may serve.
const TARGET: Duration = Duration::from_secs(3);
/// How often it is tried.
const INTERVAL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a node is gone without which the store does not serve.
const GONE: Duration = Duration::from_secs(2);

/// SIGKILL, and a new start; until then a cluster elects another leader. The store is back when a new connection to it can
/// write; service is back when each server has granted what was asked for after that death.
pub(crate) async fn leader_killed(backend: Backend, rounds: usize) -> Row {
    let mut deployment = Deployment::start(backend, 3);
    let mut clients = Vec::new();
    for number in 0..deployment.servers.len() {
        clients.push(deployment.client(number).await);
    }
    let names = Arc::new(AtomicU64::new(0));
    let mut taken = Vec::new();
    for _ in 0..rounds {
        grant(&clients[0], &names).await.expect("service before");
        let died = BootClock.now();
        deployment.store.kill();
        // A part of a Redis Cluster acknowledges nothing until it has as many replicas again as it must.
        let needed =
            matches!(backend, Backend::Etcd | Backend::Redis | Backend::RedisCluster | Backend::Nats);
        let deployment = &mut deployment;
        if needed {
            tokio::time::sleep(GONE).await;
            deployment.store.restart();
        }
        let store = store_is_back(deployment);
        let served = async {
            let mut last = died;
            for client in &clients {
                last = last.max(first(|| grant_later(client.clone(), names.clone())).await);
            }
            last
        };
        let (store, served) = futures::join!(store, served);
        taken.push(served.since(store));
        if !needed {
            deployment.store.restart();
            tokio::time::sleep(GONE).await;
        }
    }
    Row {
        what: "the store's leader killed: all servers serve, since the store does",
        figures: Figures::Times { target: TARGET, taken },
    }
}

async fn grant(client: &Client, names: &AtomicU64) -> Result<Timestamp, String> {
    let name = format!("probe {}", names.fetch_add(1, Ordering::Relaxed));
    let guard = client.lock(name).wait(PATIENCE).acquire().await.map_err(|error| error.to_string())?;
    let granted = BootClock.now();
    drop(guard);
    Ok(granted)
}

async fn grant_later(client: Client, names: Arc<AtomicU64>) -> Result<Timestamp, String> {
    grant(&client, &names).await
}

/// Begins an attempt in each interval, whatever became of those before: when did the first succeed?
async fn first<F>(attempt: impl Fn() -> F) -> Timestamp
where
    F: Future<Output = Result<Timestamp, String>> + Send + 'static,
{
    let mut attempts = JoinSet::new();
    let mut why = String::new();
    let begun = BootClock.now();
    loop {
        attempts.spawn(attempt());
        let next = tokio::time::sleep(INTERVAL);
        tokio::pin!(next);
        loop {
            tokio::select! {
                () = &mut next => break,
                Some(ended) = attempts.join_next() => match ended.unwrap() {
                    Ok(at) => return at,
                    Err(error) => why = error,
                },
            }
        }
        assert!(BootClock.now().since(begun) < PATIENCE, "not back within {PATIENCE:?}: {why}");
    }
}

async fn store_is_back(deployment: &Deployment) -> Timestamp {
    let number = BootClock.now().0;
    let mut tries = 0;
    loop {
        tries += 1;
        let key = Key::new(&format!("probe/{number}/{tries}")).unwrap();
        let written = tokio::time::timeout(Duration::from_secs(2), async {
            let store = deployment.open_store().await.ok()?;
            let change = Change::Put("probe".into());
            let expected = store.get(&key).await.ok()?.version;
            let write = Write { key, expected, change, guards: Default::default() };
            store.commit(vec![write]).await.pop()?.ok()
        });
        if let Ok(Some(_)) = written.await {
            return BootClock.now();
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
