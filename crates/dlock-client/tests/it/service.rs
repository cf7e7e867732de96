//! A server to test against.

use dlock_client::{Client, ClientBuilder, ResourceInfo};
use dlock_store::Store;
use dlock_testing::{TestServer, TestServerBuilder};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The server, on a runtime of its own, and what outlives its death.
pub(crate) struct Service {
    server: Option<(TestServer, Runtime)>,
    address: String,
    store: Arc<dyn Store>,
}

impl Service {
    /// A server in memory, on a port of its own.
    pub(crate) async fn start() -> Service {
        let (server, runtime) = start(TestServer::builder()).await;
        let (address, store) = (server.address().to_owned(), server.store());
        Service { server: Some((server, runtime)), address, store }
    }

    /// One more server on the same store.
    pub(crate) async fn peer(&self) -> Service {
        let (server, runtime) = start(TestServer::builder().store(self.store.clone())).await;
        let address = server.address().to_owned();
        Service { server: Some((server, runtime)), address, store: self.store.clone() }
    }

    /// Begins to take the server out of service in an orderly way: its clients are told to move.
    pub(crate) fn drain(&self) {
        if let Some((server, _)) = &self.server {
            server.engine().drain();
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder().endpoints([self.endpoint()])
    }

    pub(crate) async fn client(&self) -> Client {
        self.builder().connect().await.unwrap()
    }

    /// Ends the server without a word to anybody.
    pub(crate) async fn kill(&mut self) {
        if let Some((server, runtime)) = self.server.take() {
            // With its runtime, as connections are served by tasks that nobody else can end.
            tokio::task::spawn_blocking(move || {
                drop(server);
                runtime.shutdown_timeout(Duration::from_secs(10));
            })
            .await
            .unwrap();
        }
    }

    /// A new server on the store of the dead one, at its address.
    pub(crate) async fn restart(&mut self) {
        let builder = TestServer::builder().store(self.store.clone()).address(self.address.clone());
        self.server = Some(start(builder).await);
    }

    /// Waits until a resource is as it is expected to become.
    pub(crate) async fn eventually(
        &self,
        client: &Client,
        name: &str,
        expected: impl Fn(&ResourceInfo) -> bool,
    ) {
        while !expected(&client.query().get_resource(name).await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until this many sessions live.
    pub(crate) async fn eventually_sessions(&self, client: &Client, count: usize) {
        let living = async || {
            let sessions = client.query().list_sessions();
            sessions.filter(|info| std::future::ready(info.as_ref().unwrap().active)).count().await
        };
        while living().await != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some((_, runtime)) = self.server.take() {
            runtime.shutdown_background();
        }
    }
}

async fn start(builder: TestServerBuilder) -> (TestServer, Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.spawn(builder.start()).await.unwrap().unwrap();
    (server, runtime)
}
