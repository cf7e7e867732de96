//! etcd without dlock.

use crate::drive::{self, Held, Locker, Measured};
use crate::locks::CONNECTIONS;
use async_trait::async_trait;
use dlock_runtime::{BootClock, Clock};
use etcd_client::{Client, Compare, CompareOp, LockOptions, Txn, TxnOp};
use tokio::sync::Mutex;

async fn connect(address: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect([address], None).await.expect("a connection"));
    }
    clients
}

/// Two transactions, each on the revision that the one before it wrote.
pub(crate) struct Raw(Vec<Client>);

impl Raw {
    pub(crate) async fn connect(address: &str) -> Raw {
        Raw(connect(address).await)
    }
}

async fn swap(client: &Client, key: String, revision: i64) -> i64 {
    let condition = Compare::mod_revision(key.clone(), CompareOp::Equal, revision);
    let swap = Txn::new().when([condition]).and_then([TxnOp::put(key, vec![7; 200], None)]);
    let answer = client.kv_client().txn(swap).await.expect("an answer");
    assert!(answer.succeeded(), "nobody else writes this key");
    answer.header().expect("a header").revision()
}

#[async_trait]
impl Locker for Raw {
    async fn acquire(&self, client: usize, name: &str) -> Held {
        let client = self.0[client % self.0.len()].clone();
        let key = format!("raw/{name}");
        let revision = REVISIONS.get(&key);
        let revision = swap(&client, key.clone(), revision).await;
        Box::pin(async move {
            let revision = swap(&client, key.clone(), revision).await;
            REVISIONS.set(key, revision);
        })
    }
}

/// The revisions of the keys, as their only writers know them.
static REVISIONS: Revisions = Revisions(parking_lot::Mutex::new(None));

struct Revisions(parking_lot::Mutex<Option<std::collections::HashMap<String, i64>>>);

impl Revisions {
    fn get(&self, key: &str) -> i64 {
        self.0.lock().get_or_insert_default().get(key).copied().unwrap_or(0)
    }

    fn set(&self, key: String, revision: i64) {
        self.0.lock().get_or_insert_default().insert(key, revision);
    }
}

/// etcd's lock API. Two holders need two leases, so each worker has its own, granted once.
pub(crate) struct Recipe {
    clients: Vec<Client>,
    leases: Mutex<std::collections::HashMap<usize, i64>>,
}

impl Recipe {
    pub(crate) async fn connect(address: &str) -> Recipe {
        Recipe { clients: connect(address).await, leases: Mutex::default() }
    }

    async fn lease(&self, worker: usize, client: &mut Client) -> i64 {
        let mut leases = self.leases.lock().await;
        if let Some(lease) = leases.get(&worker) {
            return *lease;
        }
        let lease = client.lease_grant(600, None).await.expect("a lease").id();
        leases.insert(worker, lease);
        lease
    }
}

#[async_trait]
impl Locker for Recipe {
    async fn acquire(&self, worker: usize, name: &str) -> Held {
        let mut client = self.clients[worker % self.clients.len()].clone();
        let lease = self.lease(worker, &mut client).await;
        let options = LockOptions::new().with_lease(lease);
        let answer = client.lock(format!("recipe/{name}"), Some(options)).await.expect("a lock");
        let key = answer.key().to_vec();
        Box::pin(async move {
            client.unlock(key).await.expect("an unlock");
        })
    }
}

/// From a commit to its event at a watch of another client, which was there before.
pub(crate) async fn told(address: &str, turns: usize) -> Measured {
    let clients = connect(address).await;
    let mut watch = clients[1].watch_client().watch("told", None).await.expect("a watch");
    let revisions = Mutex::new((0, &mut watch));
    drive::time(turns, || async {
        let mut turn = revisions.lock().await;
        let begun = BootClock.now();
        turn.0 = swap(&clients[0], "told".to_owned(), turn.0).await;
        // The first message says that the watch is there.
        while turn.1.message().await.expect("a message").is_none_or(|message| message.events().is_empty()) {}
        BootClock.now().since(begun)
    })
    .await
}
