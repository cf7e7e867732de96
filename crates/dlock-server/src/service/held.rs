//! A lock that is held by a call, for as long as the call is open: what the two services that have such calls share.

use super::own_session::OwnSession;
use dlock_core::Mode;
use dlock_core::resource::{Grant, Queued};
use dlock_core::session::EndReason;
use dlock_engine::{Event, Reply, Request, RequestError, SessionError};
use dlock_proto::v1::LossReason;
use futures::Stream;
use futures::future::BoxFuture;
use std::sync::Arc;

/// What becomes of the lock.
pub(super) enum Held {
    /// It waits, or its place has changed.
    Queued(Queued),
    /// It is held from now on.
    Granted(Grant),
    /// It blocks somebody, who wants this mode.
    Blocking(Mode),
    /// It is lost. Nothing follows.
    Lost(LossReason),
}

/// Where the call is.
enum Stage {
    /// The request is under way.
    Asking(BoxFuture<'static, Result<Reply, RequestError>>),
    /// The lock is held.
    Holding,
    /// Nothing more.
    Over,
}

/// Asks for the lock and tells what becomes of it. Dropped at any time, it closes the session, and with that frees the
/// lock or leaves the queue.
pub(super) fn held(own: OwnSession, acquire: Request) -> impl Stream<Item = Result<Held, RequestError>> {
    let own = Arc::new(own);
    let asking = {
        let own = Arc::clone(&own);
        Box::pin(async move { own.call(acquire).await })
    };
    futures::stream::unfold((own, Stage::Asking(asking)), |(own, mut stage)| async move {
        let told = match &mut stage {
            Stage::Asking(asking) => ask(&own, asking).await,
            Stage::Holding => Ok(hold(&own).await),
            Stage::Over => return None,
        };
        let next = match &told {
            Ok(Held::Queued(_)) => stage,
            Ok(Held::Granted(_) | Held::Blocking(_)) => Stage::Holding,
            Ok(Held::Lost(_)) | Err(_) => Stage::Over,
        };
        Some((told, (own, next)))
    })
}

async fn ask(
    own: &OwnSession,
    asking: &mut BoxFuture<'static, Result<Reply, RequestError>>,
) -> Result<Held, RequestError> {
    loop {
        tokio::select! {
            biased;
            // First, or a place in the queue could be told after the grant.
            event = own.next() => match event {
                Event::Queued { place, .. } => return Ok(Held::Queued(place)),
                Event::Ended { reason } => return Err(SessionError::Ended(reason).into()),
                Event::Detached => return Err(SessionError::Moved.into()),
                _ => {}
            },
            answer = &mut *asking => return match answer? {
                Reply::Granted(grant) => Ok(Held::Granted(grant)),
                // Nobody asked for these: an administrator has taken the lock.
                Reply::Queued(_) | Reply::Released | Reply::Cancelled => Err(RequestError::Revoked),
            },
        }
    }
}

async fn hold(own: &OwnSession) -> Held {
    loop {
        match own.next().await {
            Event::Blocking { wanted, .. } => return Held::Blocking(wanted),
            Event::Ended { reason: EndReason::Expired } => return Held::Lost(LossReason::Expired),
            Event::Revoked { .. } | Event::Ended { .. } | Event::Detached => {
                return Held::Lost(LossReason::Revoked);
            }
            _ => {}
        }
    }
}
