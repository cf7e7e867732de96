//! dlock, by its SDK.

use crate::drive::{Held, Locker};
use async_trait::async_trait;
use dlock_client::Client;
use dlock_core::name::DEFAULT_NAMESPACE;
use dlock_suites::Deployment;

/// Clients of one server, or of several in turn.
pub(crate) struct Sdk {
    clients: Vec<Client>,
}

/// As many connections as the others have.
pub(crate) const CONNECTIONS: usize = 4;

impl Sdk {
    pub(crate) async fn connect(deployment: &Deployment, servers: usize) -> Sdk {
        Sdk::connect_in(deployment, servers, DEFAULT_NAMESPACE).await
    }

    pub(crate) async fn connect_in(deployment: &Deployment, servers: usize, namespace: &str) -> Sdk {
        let mut clients = Vec::new();
        for number in 0..CONNECTIONS {
            clients.push(deployment.client_in(number % servers, namespace).await);
        }
        Sdk { clients }
    }
}

#[async_trait]
impl Locker for Sdk {
    async fn acquire(&self, client: usize, name: &str) -> Held {
        let guard = self.clients[client % self.clients.len()].lock(name).acquire().await.expect("a grant");
        Box::pin(async move { guard.release().await.expect("a release") })
    }
}
