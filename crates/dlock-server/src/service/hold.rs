//! A lock that lives as long as its call. When the call ends, by whatever way, its session is closed.

use super::held::{Held, held};
use super::own_session::OwnSession;
use super::{AnswerStream, LockApi};
use crate::convert::{self, HELD_LOCK};
use crate::fault::Fault;
use dlock_engine::RequestError;
use dlock_proto::v1::{HoldRequest, HoldResponse, LockLost, hold_response::Event};
use futures::StreamExt;
use tonic::Status;

impl LockApi {
    pub(super) async fn serve_hold(&self, request: HoldRequest) -> Result<AnswerStream<HoldResponse>, Fault> {
        let (acquire, client) = convert::hold(request)?;
        let own = OwnSession::open(&self.engine, self.clock.clone(), client).await?;
        Ok(held(own, acquire).map(tell).boxed())
    }
}

fn tell(told: Result<Held, RequestError>) -> Result<HoldResponse, Status> {
    let event = match told.map_err(Fault::from)? {
        Held::Queued(place) => Event::Queued(convert::queued(place)),
        Held::Granted(grant) => Event::Granted(convert::granted(grant)),
        Held::Blocking(wanted) => Event::Blocking(convert::blocking(HELD_LOCK, wanted, None)),
        Held::Lost(reason) => Event::Lost(LockLost { lock_id: HELD_LOCK.0, reason: reason as i32 }),
    };
    Ok(HoldResponse { event: Some(event) })
}
