//! etcd without dlock.

use crate::drive::{Held, Locker};
use crate::locks::CONNECTIONS;
use async_trait::async_trait;
use etcd_client::{Client, Compare, CompareOp, LockOptions, Txn, TxnOp};

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
    leases: tokio::sync::Mutex<std::collections::HashMap<usize, i64>>,
}

impl Recipe {
    pub(crate) async fn connect(address: &str) -> Recipe {
        Recipe { clients: connect(address).await, leases: tokio::sync::Mutex::default() }
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
