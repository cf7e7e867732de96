//! `dlock.v1.AdminService`. A disconnect does not take back what was begun.

use super::{Answer, to_the_end};
use crate::convert;
use crate::fault::Fault;
use dlock_core::LockKey;
use dlock_core::session::EndReason;
use dlock_engine::Engine;
use dlock_proto::v1::admin_service_server::AdminService;
use dlock_proto::v1::*;
use tonic::{Request, Response};

pub(crate) struct AdminApi(pub(crate) Engine);

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn force_release(&self, request: Request<ForceReleaseRequest>) -> Answer<ForceReleaseResponse> {
        let request = request.into_inner();
        let resource = convert::resource(request.resource, "")?;
        let key = LockKey {
            session: convert::session_id(&request.session_id, "")?,
            lock: convert::lock_id(request.lock_id, "")?,
        };
        let token = request.token.map(|number| convert::token(number, "token")).transpose()?;
        self.0.force_release(&resource, key, token).await.map_err(Fault::from)?;
        tracing::warn!(%resource, lock = %key, "a lock was released by force");
        Ok(Response::new(ForceReleaseResponse {}))
    }

    async fn end_session(&self, request: Request<EndSessionRequest>) -> Answer<EndSessionResponse> {
        let session = convert::session_id(&request.into_inner().session_id, "")?;
        let engine = self.0.clone();
        let end = async move { engine.end_session(session, EndReason::Revoked).await };
        to_the_end(end).await.map_err(Fault::from)?;
        tracing::warn!(%session, "a session was ended by an administrator");
        Ok(Response::new(EndSessionResponse {}))
    }
}
