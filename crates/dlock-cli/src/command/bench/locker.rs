//! Ways to lock: the SDK's sessions on streams.

use crate::arguments::{Driver, Global};
use dlock_client::{Client, ClientBuilder, Error, Guard, ReleaseError};
use dlock_core::Mode;
use std::future::Future;
use std::time::Duration;
use tonic::Status;

/// Why a lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Sdk(#[from] Error),
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error("{}", .0.message())]
    Call(#[from] Box<Status>),
    #[error("the server's answer makes no sense: {0}")]
    Answer(&'static str),
}

/// A way to lock.
pub(super) trait Locker: Clone + Send + Sync + 'static {
    /// A lock that is held.
    type Held: Send + Sync;

    /// Waits for a lock, or only tries to get it: then it may get none.
    fn acquire(
        &self,
        name: &str,
        mode: Mode,
        try_only: bool,
    ) -> impl Future<Output = Result<Option<Self::Held>, Failure>> + Send;

    /// Waits for another mode.
    fn convert(&self, held: &mut Self::Held, mode: Mode) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Lets a lock go.
    fn release(&self, held: Self::Held) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Ends its session.
    fn close(self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A client as it is asked for, that begins with one of the servers.
pub(super) fn builder(global: &Global, ttl: Duration, driver: Driver, number: u32) -> ClientBuilder {
    let mut endpoints = global.endpoints.clone();
    let servers = endpoints.len();
    endpoints.rotate_left(number as usize % servers);
    let builder = super::super::client_builder(global).endpoints(endpoints).ttl(ttl);
    match driver {
        Driver::Own => builder,
        Driver::Load => builder.on_current_runtime(),
    }
}

/// One session of the SDK's for all locks.
impl Locker for Client {
    type Held = Guard;

    async fn acquire(&self, name: &str, mode: Mode, try_only: bool) -> Result<Option<Guard>, Failure> {
        let lock = self.lock(name).mode(mode);
        if try_only { Ok(lock.try_acquire().await?) } else { Ok(Some(lock.acquire().await?)) }
    }

    async fn convert(&self, held: &mut Guard, mode: Mode) -> Result<(), Failure> {
        Ok(held.convert(mode).await?)
    }

    async fn release(&self, held: Guard) -> Result<(), Failure> {
        Ok(held.release().await?)
    }

    async fn close(self) -> Result<(), Failure> {
        Ok(Client::close(&self).await?)
    }
}

/// A client, with its connection and its session, for each lock.
#[derive(Clone)]
pub(super) struct EachItsSession(pub(super) ClientBuilder);

impl Locker for EachItsSession {
    type Held = (Client, Guard);

    async fn acquire(&self, name: &str, mode: Mode, try_only: bool) -> Result<Option<Self::Held>, Failure> {
        let client = self.0.clone().connect().await?;
        let guard = Locker::acquire(&client, name, mode, try_only).await?;
        Ok(guard.map(|guard| (client, guard)))
    }

    async fn convert(&self, held: &mut Self::Held, mode: Mode) -> Result<(), Failure> {
        Ok(held.1.convert(mode).await?)
    }

    async fn release(&self, (client, guard): Self::Held) -> Result<(), Failure> {
        guard.release().await?;
        Locker::close(client).await
    }

    async fn close(self) -> Result<(), Failure> {
        Ok(())
    }
}
