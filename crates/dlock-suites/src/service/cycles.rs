//! Taking and letting go: what the first dlock's own suite asked, and more.

use super::World;
use dlock_client::{Error, Mode};
use dlock_proto::v1::{self, lock_service_client::LockServiceClient};
use futures::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

pub(super) async fn a_lock_is_taken_and_let_go(world: World) {
    let client = world.client(0).await;
    let guard = world.lock(&client, "r", Mode::Exclusive).await;
    assert!(guard.is_valid() && guard.mode() == Mode::Exclusive && guard.token().get() > 0);
    guard.release().await.expect("a release");
    assert!(world.is_free(&client, "r", Mode::Exclusive).await);
}

pub(super) async fn a_try_fails_fast_when_it_is_held(world: World) {
    let (holder, other) = (world.client(0).await, world.client(1).await);
    let _guard = world.lock(&holder, "r", Mode::Exclusive).await;
    assert!(!world.is_free(&other, "r", Mode::ProtectedRead).await);
    assert!(world.is_free(&other, "r", Mode::Null).await, "NL is always granted");
    let resource = other.query().get_resource(&world.name("r")).await.expect("a resource");
    assert_eq!((resource.holders.len(), resource.queue.len()), (1, 0), "a try leaves no trace");
}

pub(super) async fn different_names_do_not_conflict(world: World) {
    let clients = [world.client(0).await, world.client(1).await];
    let one = world.lock(&clients[0], "one", Mode::Exclusive).await;
    let two = world.lock(&clients[1], "two", Mode::Exclusive).await;
    assert!(one.is_valid() && two.is_valid());
    let elsewhere = clients[1].lock(world.name("one")).namespace("other").try_acquire().await;
    assert!(elsewhere.expect("an answer").is_some(), "a namespace has names of its own");
}

pub(super) async fn a_blocked_wait_can_be_cancelled(world: World) {
    let (holder, waiter) = (world.client(0).await, world.client(1).await);
    let guard = world.lock(&holder, "r", Mode::Exclusive).await;
    let (asked, client) = (world.clone(), waiter.clone());
    let waiting = tokio::spawn(async move { asked.lock(&client, "r", Mode::Exclusive).await });
    world.until_queued(&holder, "r", 1).await;
    waiting.abort();
    world.until_queued(&holder, "r", 0).await;
    guard.release().await.expect("a release");
    assert!(world.is_free(&holder, "r", Mode::Exclusive).await);
}

pub(super) async fn concurrent_requests_all_resolve(world: World) {
    let clients = join_all((0..6).map(|number| world.client(number))).await;
    let inside = Arc::new(AtomicBool::new(false));
    let requests = (0..60).map(|number| {
        let (world, client, inside) = (world.clone(), clients[number % 6].clone(), inside.clone());
        tokio::spawn(async move {
            let guard = world.lock(&client, "r", Mode::Exclusive).await;
            assert!(!inside.swap(true, Ordering::SeqCst), "two hold it");
            tokio::task::yield_now().await;
            inside.store(false, Ordering::SeqCst);
            guard.release().await.expect("a release");
        })
    });
    for request in join_all(requests).await {
        request.expect("a request that resolves");
    }
}

pub(super) async fn locks_can_be_used_again(world: World) {
    let clients = [world.client(0).await, world.client(1).await, world.client(2).await];
    let mut last = None;
    for round in 0..30 {
        let guard = world.lock(&clients[round % 3], "r", Mode::Exclusive).await;
        assert!(Some(guard.token()) > last, "round {round}: {:?} after {last:?}", guard.token());
        last = Some(guard.token());
        guard.release().await.expect("a release");
    }
}

pub(super) async fn releasing_what_was_never_held_is_an_error(world: World) {
    let endpoint = world.deployment().servers[0].endpoint();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{endpoint}")).expect("an address");
    let mut service = LockServiceClient::new(channel.connect().await.expect("a connection"));
    let opened =
        service.open_session(v1::OpenSessionRequest::default()).await.expect("a session").into_inner();
    let v1::SessionOpened { session_id, resume_secret, .. } = opened.session.expect("a session");
    let release = v1::ReleaseRequest {
        session: Some(v1::SessionRef { session_id, resume_secret }),
        release: Some(v1::ReleaseLock { lock_id: 7, ..v1::ReleaseLock::default() }),
    };
    let refused = service.release(release).await.expect_err("nothing to release");
    assert_eq!(refused.code(), tonic::Code::NotFound, "{refused:?}");
}

pub(super) async fn clients_of_different_servers_exclude_each_other(world: World) {
    let counter = Arc::new(AtomicUsize::new(0));
    let workers = (0..3).map(|number| {
        let (world, counter) = (world.clone(), counter.clone());
        tokio::spawn(async move {
            let client = world.client(number).await;
            for _ in 0..20 {
                let guard = world.lock(&client, "r", Mode::Exclusive).await;
                let read = counter.load(Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1)).await;
                counter.store(read + 1, Ordering::SeqCst);
                guard.release().await.expect("a release");
            }
        })
    });
    for worker in join_all(workers).await {
        worker.expect("a worker");
    }
    assert_eq!(counter.load(Ordering::SeqCst), 60);
}

pub(super) async fn memory_does_not_grow_over_repeated_cycles(world: World) {
    /// Other behaviours use the same server meanwhile; a leak of 1 KiB a cycle would be 8 MiB.
    const NOISE: u64 = 6 << 20;
    let client = world.client(0).await;
    let cycle = async |number: usize| {
        let guard = world.lock(&client, &format!("r{}", number % 64), Mode::Exclusive).await;
        guard.release().await.expect("a release");
    };
    let cycles = async |count: usize| {
        for first in (0..count).step_by(64) {
            join_all((first..first + 64).map(cycle)).await;
        }
    };
    cycles(1000).await;
    let before = world.deployment().servers[0].resident_bytes();
    cycles(8000).await;
    let grown = world.deployment().servers[0].resident_bytes().saturating_sub(before);
    assert!(grown < NOISE, "{grown} bytes more after 8000 cycles");
}

pub(super) async fn any_name_can_be_locked(world: World) {
    let clients = [world.client(0).await, world.client(1).await];
    let long = "x".repeat(1024 - world.name("").len());
    let names = [
        "a b",
        "a_b",
        "*",
        ">",
        "a.b",
        "a/b",
        ".",
        "..",
        "a//b",
        "/",
        "Ω/ß/日本",
        "%2F",
        "{a}",
        "a:b",
        "$JS",
        "a",
        "A",
        &long,
    ];
    let mut guards = Vec::new();
    for name in names {
        // None is taken for another, and each is the same on another server.
        guards.push(
            world
                .ask(&clients[0], name, Mode::Exclusive)
                .try_acquire()
                .await
                .expect("an answer")
                .expect(name),
        );
        assert!(!world.is_free(&clients[1], name, Mode::Exclusive).await, "{name}");
    }
    for guard in guards {
        guard.release().await.expect("a release");
    }
    let refused = clients[0].lock("x".repeat(1025)).acquire().await.expect_err("too long");
    assert!(matches!(refused, Error::InvalidArgument { .. }), "{refused}");
}
