//! Redis without dlock.

use crate::drive::{self, Held, Locker, Measured};
use crate::locks::CONNECTIONS;
use async_trait::async_trait;
use dlock_runtime::{BootClock, Clock};
use futures::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::{Client, Script};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

async fn connect(address: &str) -> Vec<MultiplexedConnection> {
    let client = Client::open(format!("redis://{address}")).expect("an address");
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(client.get_multiplexed_async_connection().await.expect("a connection"));
    }
    connections
}

/// Two scripts that compare a version and set a record.
pub(crate) struct Raw(Vec<MultiplexedConnection>, Arc<Script>);

const SWAP: &str = "local found = redis.call('GET', KEYS[1])
if found and string.sub(found, 1, 8) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1";

const SWAP_AND_PUBLISH: &str = "local found = redis.call('GET', KEYS[1])
if found and string.sub(found, 1, 8) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1";

impl Raw {
    pub(crate) async fn connect(address: &str) -> Raw {
        Raw(connect(address).await, Arc::new(Script::new(SWAP)))
    }
}

async fn swap(connection: &mut MultiplexedConnection, script: &Script, key: &str, from: &str, to: &str) {
    let value = format!("{to}{}", "7".repeat(192));
    let swapped: u64 =
        script.key(key).arg(from).arg(value).invoke_async(connection).await.expect("an answer");
    assert_eq!(swapped, 1, "nobody else writes this key");
}

#[async_trait]
impl Locker for Raw {
    async fn acquire(&self, client: usize, name: &str) -> Held {
        let (mut connection, script, key) =
            (self.0[client % self.0.len()].clone(), self.1.clone(), format!("raw/{name}"));
        swap(&mut connection, &script, &key, "version0", "version1").await;
        Box::pin(async move { swap(&mut connection, &script, &key, "version1", "version0").await })
    }
}

/// `SET NX PX`, and a script that deletes what is still one's own.
pub(crate) struct Recipe(Vec<MultiplexedConnection>, Arc<Script>, AtomicU64);

const DELETE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

impl Recipe {
    pub(crate) async fn connect(address: &str) -> Recipe {
        Recipe(connect(address).await, Arc::new(Script::new(DELETE)), AtomicU64::new(0))
    }
}

#[async_trait]
impl Locker for Recipe {
    async fn acquire(&self, client: usize, name: &str) -> Held {
        let (mut connection, script) = (self.0[client % self.0.len()].clone(), self.1.clone());
        let (key, owner) = (format!("recipe/{name}"), self.2.fetch_add(1, Ordering::Relaxed));
        loop {
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(owner).arg("NX").arg("PX").arg(30_000);
            let set: Option<String> = set.query_async(&mut connection).await.expect("an answer");
            if set.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Box::pin(async move {
            let deleted: u64 =
                script.key(&key).arg(owner).invoke_async(&mut connection).await.expect("an answer");
            assert_eq!(deleted, 1, "it was still ours");
        })
    }
}

/// From a commit, which publishes in the same script, to the message at a subscriber.
pub(crate) async fn told(address: &str, turns: usize) -> Measured {
    let client = Client::open(format!("redis://{address}")).expect("an address");
    let mut subscriber = client.get_async_pubsub().await.expect("a connection");
    subscriber.subscribe("told").await.expect("a subscription");
    let (connections, script) = (connect(address).await, Script::new(SWAP_AND_PUBLISH));
    let subscriber = Mutex::new(subscriber);
    drive::time(turns, || async {
        let mut subscriber = subscriber.lock().await;
        let begun = BootClock.now();
        swap(&mut connections[0].clone(), &script, "told", "version0", "version0").await;
        subscriber.on_message().next().await.expect("a message");
        BootClock.now().since(begun)
    })
    .await
}
