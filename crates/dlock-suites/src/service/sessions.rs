//! Sessions that fall silent, end and move.

use super::{SOON, World};
use dlock_client::{Client, Mode};
use std::time::Duration;

pub(super) async fn a_silent_clients_locks_pass_on(world: World) {
    let other = world.client(1).await;
    // A client that is cut off without a word.
    let proxy = crate::Proxy::to(&world.deployment().servers[0].endpoint());
    let builder = Client::builder().endpoints([proxy.address()]).discover(false).ttl(Duration::from_secs(2));
    let client = builder.connect().await.expect("a client");
    let guard = world.lock(&client, "r", Mode::Exclusive).await;
    proxy.cut();
    let next = world.lock(&other, "r", Mode::Exclusive).await;
    assert!(!guard.is_valid() && next.token() > guard.token());
}

pub(super) async fn a_closed_sessions_locks_are_free_at_once(world: World) {
    let (one, two) = (world.client(0).await, world.client(1).await);
    let guard = world.lock(&one, "r", Mode::Exclusive).await;
    let (asked, client) = (world.clone(), two.clone());
    let waiting = tokio::spawn(async move { asked.lock(&client, "r", Mode::Exclusive).await });
    world.until_queued(&one, "r", 1).await;
    one.close().await.expect("a close");
    assert!(waiting.await.expect("the waiter").is_valid() && !guard.is_valid());
}

pub(super) async fn a_session_moves_with_its_locks_and_places(world: World) {
    let endpoints = world.deployment().endpoints();
    if endpoints.len() < 2 {
        return; // there is nowhere to go
    }
    let proxy = crate::Proxy::to(&endpoints[0]);
    let other = world.client(2).await;
    let builder = Client::builder().endpoints([proxy.address(), endpoints[1].clone()]).discover(false);
    let client = builder.connect().await.expect("a client");
    let held = world.lock(&client, "held", Mode::Exclusive).await;
    let (blocker, token) = (world.lock(&other, "wanted", Mode::Exclusive).await, held.token());
    let (asked, waiter) = (world.clone(), client.clone());
    let waiting = tokio::spawn(async move { asked.lock(&waiter, "wanted", Mode::Exclusive).await });
    world.until_queued(&other, "wanted", 1).await;
    let (asked, last) = (world.clone(), other.clone());
    let behind = tokio::spawn(async move { asked.lock(&last, "wanted", Mode::Exclusive).await });
    world.until_queued(&other, "wanted", 2).await;
    // The way to its server is gone, and it moves to the other.
    proxy.cut();
    proxy.break_connections();
    tokio::time::sleep(Duration::from_secs(1)).await;
    blocker.release().await.expect("a release");
    let first = tokio::time::timeout(SOON, waiting).await.expect("a grant").expect("the waiter");
    assert!(!behind.is_finished(), "it has kept its place");
    assert!(held.is_valid() && held.token() == token, "the same lock, the same token");
    first.release().await.expect("a release");
    assert!(behind.await.expect("the last").is_valid());
    held.release().await.expect("a release");
}
