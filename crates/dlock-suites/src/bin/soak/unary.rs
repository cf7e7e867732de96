//! Sessions by single calls: many share a connection, and each costs its client no more than its names.

use dlock_proto::duration_to_proto;
use dlock_proto::v1::lock_service_client::LockServiceClient;
use dlock_proto::v1::patience::Limit;
use dlock_proto::v1::{
    AcquireLock, AcquireRequest, ClientInfo, CloseSessionRequest, KeepSessionAliveRequest, Mode, OpenSession,
    OpenSessionRequest, Patience, Resource, SessionRef,
};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a server; copies share it.
pub(crate) async fn connect(endpoint: &str) -> LockServiceClient<Channel> {
    let channel = Endpoint::from_shared(format!("http://{endpoint}")).unwrap().timeout(TIMEOUT);
    LockServiceClient::new(channel.connect().await.unwrap())
}

/// An open session.
pub(crate) struct Session {
    service: LockServiceClient<Channel>,
    names: SessionRef,
    epoch: u64,
}

impl Session {
    pub(crate) async fn open(
        mut service: LockServiceClient<Channel>,
        ttl: Duration,
    ) -> Result<Session, Status> {
        let client = Some(ClientInfo { name: "soak".to_owned(), ..ClientInfo::default() });
        let ttl = Some(duration_to_proto(ttl));
        let session = Some(OpenSession { ttl, client, ..OpenSession::default() });
        let opened = service.open_session(OpenSessionRequest { session }).await?.into_inner();
        let opened = opened.session.ok_or_else(|| Status::internal("opened without a session"))?;
        let epoch = opened.terms.map_or(0, |terms| terms.epoch);
        let names = SessionRef { session_id: opened.session_id, resume_secret: opened.resume_secret };
        Ok(Session { service, names, epoch })
    }

    /// Sends a heartbeat. Whether the session lives; a server that can't be asked is asked again.
    pub(crate) async fn keep_alive(&mut self) -> bool {
        let request = KeepSessionAliveRequest { session: Some(self.names.clone()), epoch: self.epoch };
        match self.service.keep_session_alive(request).await {
            Ok(_) => true,
            Err(status) => {
                matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
            }
        }
    }

    /// Waits for a lock for as long as this. Whether it was granted.
    pub(crate) async fn acquire(
        &mut self,
        lock_id: u64,
        name: &str,
        mode: Mode,
        wait: Duration,
    ) -> Result<bool, Status> {
        let resource = Some(Resource { name: name.to_owned(), ..Resource::default() });
        let patience = Some(Patience { limit: Some(Limit::WaitTimeout(duration_to_proto(wait))) });
        let acquire =
            AcquireLock { lock_id, resource, mode: mode.into(), patience, ..AcquireLock::default() };
        let session = Some(self.names.clone());
        let request = AcquireRequest { session, acquire: Some(acquire), ..AcquireRequest::default() };
        match self.service.acquire(request).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::DeadlineExceeded => Ok(false),
            Err(status) => Err(status),
        }
    }

    /// Ends it, with all its locks.
    pub(crate) async fn close(mut self) -> Result<(), Status> {
        self.service.close_session(CloseSessionRequest { session: Some(self.names) }).await.map(drop)
    }
}
