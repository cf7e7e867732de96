//! Locks by single calls, and looking at them.

use crate::world::*;
use dlock_core::Mode;
use dlock_proto::v1::admin_service_client::AdminServiceClient;
use dlock_proto::v1::query_service_client::QueryServiceClient;
use dlock_proto::v1::*;
use tonic::Code;

async fn open(world: &World) -> SessionRef {
    let opened = world
        .locks()
        .open_session(OpenSessionRequest::default())
        .await
        .unwrap()
        .into_inner()
        .session
        .unwrap();
    SessionRef { session_id: opened.session_id, resume_secret: opened.resume_secret }
}

fn ask(session: &SessionRef, acquire: AcquireLock) -> AcquireRequest {
    AcquireRequest { session: Some(session.clone()), acquire: Some(acquire), keep_waiting: false }
}

fn let_go(session: &SessionRef, lock_id: u64) -> ReleaseRequest {
    let release = Some(ReleaseLock { lock_id, ..Default::default() });
    ReleaseRequest { session: Some(session.clone()), release }
}

#[tokio::test]
async fn a_session_of_single_calls_locks_converts_and_releases() {
    let world = World::new().await;
    let mut locks = world.locks();
    let session = open(&world).await;
    let granted =
        locks.acquire(ask(&session, acquire(1, "r", Mode::ProtectedRead))).await.unwrap().into_inner();
    let token = granted.granted.unwrap().token;
    let up = ConvertRequest { session: Some(session.clone()), convert: Some(convert(1, Mode::Exclusive)) };
    let up = locks.convert(up).await.unwrap().into_inner().granted.unwrap();
    assert!(up.token > token);
    let check = |token| CheckTokenRequest { resource: resource("r"), token };
    assert!(!locks.check_token(check(token)).await.unwrap().into_inner().held);
    assert!(locks.check_token(check(up.token)).await.unwrap().into_inner().held);
    let alive = KeepSessionAliveRequest { session: Some(session.clone()), epoch: 1 };
    locks.keep_session_alive(alive).await.unwrap();
    locks.release(let_go(&session, 1)).await.unwrap();
    let twice = locks.release(let_go(&session, 1)).await.unwrap_err();
    assert_eq!(twice.code(), Code::NotFound);
    locks.close_session(CloseSessionRequest { session: Some(session.clone()) }).await.unwrap();
    let after = locks.acquire(ask(&session, acquire(2, "r", Mode::Exclusive))).await.unwrap_err();
    assert_eq!(after.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_cancelled_call_withdraws_its_request() {
    let world = World::new().await;
    let (holder, waiter) = (open(&world).await, open(&world).await);
    world.locks().acquire(ask(&holder, acquire(1, "r", Mode::Exclusive))).await.unwrap();
    let mut locks = world.locks();
    let waiting =
        tokio::spawn(async move { locks.acquire(ask(&waiter, acquire(1, "r", Mode::Exclusive))).await });
    until(|| async { queue_length(&world, "r").await == 1 }).await;
    waiting.abort();
    until(|| async { queue_length(&world, "r").await == 0 }).await;
}

async fn queue_length(world: &World, name: &str) -> usize {
    world.engine.resource(&dlock_core::ResourceId::new("", name).unwrap()).await.unwrap().queue.len()
}

/// Looks again and again until it is so.
pub async fn until<F: Future<Output = bool>>(so: impl Fn() -> F) {
    let looking = async {
        while !so().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it never became so");
}

#[tokio::test]
async fn a_held_call_holds_until_it_ends() {
    let world = World::new().await;
    let hold = || HoldRequest { resource: resource("r"), ..Default::default() };
    let mut first = world.locks().hold(hold()).await.unwrap().into_inner();
    let told = first.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(told, hold_response::Event::Granted(_)));
    let refused =
        world.locks().hold(HoldRequest { patience: try_only(), ..hold() }).await.unwrap().into_inner();
    let mut refused = refused;
    let status = refused.message().await.unwrap_err();
    assert_eq!(Failure::from(&status).reason(), ErrorReason::WouldBlock);
    let mut second = world.locks().hold(hold()).await.unwrap().into_inner();
    let told = second.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(told, hold_response::Event::Queued(place) if place.ahead == 0));
    let told = first.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(told, hold_response::Event::Blocking(_)));
    drop(first);
    let told = second.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(told, hold_response::Event::Granted(_)));
    drop(second);
    until(|| async { world.engine.sessions_at_home() == 0 }).await;
}

#[tokio::test]
async fn what_there_is_can_be_seen_and_broken_by_an_administrator() {
    let world = World::new().await;
    let (holder, waiter) = (open(&world).await, open(&world).await);
    let granted =
        world.locks().acquire(ask(&holder, acquire(1, "a/1", Mode::Exclusive))).await.unwrap().into_inner();
    let token = granted.granted.unwrap().token;
    let mut locks = world.locks();
    let waiting =
        tokio::spawn(async move { locks.acquire(ask(&waiter, acquire(1, "a/1", Mode::Exclusive))).await });
    until(|| async { queue_length(&world, "a/1").await == 1 }).await;

    let mut queries = QueryServiceClient::new(world.channel.clone());
    let list = ListResourcesRequest { prefix: "a/".into(), ..Default::default() };
    let listed = queries.list_resources(list).await.unwrap().into_inner();
    assert_eq!(listed.resources.len(), 1);
    let info =
        queries.get_resource(GetResourceRequest { resource: resource("a/1") }).await.unwrap().into_inner();
    let info = info.resource.unwrap();
    assert_eq!((info.holders.len(), info.queue.len(), info.last_token), (1, 1, token));
    assert_eq!(info.queue[0].blocked_by, [info.holders[0].lock.clone().unwrap()]);
    assert_eq!(
        queries.list_sessions(ListSessionsRequest::default()).await.unwrap().into_inner().sessions.len(),
        2
    );
    assert_eq!(queries.list_members(ListMembersRequest {}).await.unwrap().into_inner().members.len(), 1);
    assert!(queries.get_server_info(GetServerInfoRequest {}).await.unwrap().into_inner().serving);

    let watch = WatchResourcesRequest { prefix: "a/".into(), ..Default::default() };
    let mut watch = queries.watch_resources(watch).await.unwrap().into_inner();
    let seen = watch.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(seen, watch_resources_response::Event::Changed(info) if info.holders.len() == 1));

    let mut admin = AdminServiceClient::new(world.channel.clone());
    let break_it = |token| ForceReleaseRequest {
        resource: resource("a/1"),
        session_id: holder.session_id.clone(),
        lock_id: 1,
        token: Some(token),
    };
    let stale = admin.force_release(break_it(token + 1)).await.unwrap_err();
    assert_eq!(Failure::from(&stale).reason(), ErrorReason::TokenMismatch);
    admin.force_release(break_it(token)).await.unwrap();
    waiting.await.unwrap().unwrap();
    let alive = KeepSessionAliveRequest { session: Some(holder.clone()), epoch: 1 };
    let told = world.locks().keep_session_alive(alive.clone()).await.unwrap().into_inner();
    assert_eq!(told.lost.len(), 1);
    admin.end_session(EndSessionRequest { session_id: holder.session_id.clone() }).await.unwrap();
    assert!(world.locks().keep_session_alive(alive).await.is_err());
}
