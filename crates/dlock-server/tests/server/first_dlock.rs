//! The first dlock's protocol.

use crate::calls::until;
use crate::world::World;
use dlock_proto::v1alpha1::dlock_client::DlockClient;
use dlock_proto::v1alpha1::{LockEvent, LockRequest};
use tonic::Code;

fn request(key: &str, try_lock: bool) -> LockRequest {
    LockRequest { key: key.to_owned(), try_lock }
}

#[tokio::test]
async fn a_lock_is_held_while_the_call_is_open() {
    let world = World::new().await;
    let mut client = DlockClient::new(world.channel.clone());
    let mut held = client.lock(request("k", false)).await.unwrap().into_inner();
    assert_eq!(held.message().await.unwrap().unwrap().event(), LockEvent::Acquired);
    let mut failed = client.lock(request("k", true)).await.unwrap().into_inner();
    assert_eq!(failed.message().await.unwrap().unwrap().event(), LockEvent::Failed);
    assert_eq!(failed.message().await.unwrap(), None, "the stream ends OK");
    let mut waits = client.lock(request("k", false)).await.unwrap().into_inner();
    drop(held);
    assert_eq!(waits.message().await.unwrap().unwrap().event(), LockEvent::Acquired);
    drop(waits);
    until(|| async { world.engine.sessions_at_home() == 0 }).await;
}

#[tokio::test]
async fn an_empty_key_is_an_invalid_argument() {
    let world = World::new().await;
    let status = DlockClient::new(world.channel.clone()).lock(request("", false)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_lost_lock_ends_the_call_as_cancelled() {
    let world = World::new().await;
    let mut held =
        DlockClient::new(world.channel.clone()).lock(request("k", false)).await.unwrap().into_inner();
    assert_eq!(held.message().await.unwrap().unwrap().event(), LockEvent::Acquired);
    let session = world.engine.sessions(None, 1).await.unwrap().items[0].session;
    world.engine.end_session(session, dlock_core::session::EndReason::Revoked).await.unwrap();
    assert_eq!(held.message().await.unwrap_err().code(), Code::Cancelled);
}
