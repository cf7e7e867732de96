//! Queues of waiters on different servers.

use super::{SOON, World};
use dlock_client::{Error, Mode};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

pub(super) async fn the_queue_is_first_come_first_served_across_servers(world: World) {
    let holder = world.client(0).await;
    let guard = world.lock(&holder, "r", Mode::Exclusive).await;
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for number in 0..9 {
        let (world, served) = (world.clone(), served.clone());
        let client = world.client(number).await;
        let asked = world.clone();
        waiters.push(tokio::spawn(async move {
            let guard = asked.lock(&client, "r", Mode::Exclusive).await;
            served.lock().push(number);
            guard.release().await.expect("a release");
        }));
        world.until_queued(&holder, "r", number + 1).await;
    }
    guard.release().await.expect("a release");
    for waiter in waiters {
        waiter.await.expect("a waiter");
    }
    assert_eq!(*served.lock(), (0..9).collect::<Vec<_>>());
}

pub(super) async fn readers_do_not_overtake_a_writer_that_waits(world: World) {
    let clients = [world.client(0).await, world.client(1).await, world.client(2).await];
    let reader = world.lock(&clients[0], "r", Mode::ProtectedRead).await;
    let (asked, client) = (world.clone(), clients[1].clone());
    let writer = tokio::spawn(async move { asked.lock(&client, "r", Mode::Exclusive).await });
    world.until_queued(&clients[2], "r", 1).await;
    assert!(!world.is_free(&clients[2], "r", Mode::ProtectedRead).await, "nobody overtakes");
    let (asked, client) = (world.clone(), clients[2].clone());
    let second = tokio::spawn(async move { asked.lock(&client, "r", Mode::ProtectedRead).await });
    world.until_queued(&clients[2], "r", 2).await;
    reader.release().await.expect("a release");
    let writer = writer.await.expect("the writer");
    assert!(!second.is_finished());
    writer.release().await.expect("a release");
    assert!(second.await.expect("the reader").is_valid());
}

pub(super) async fn a_wait_ends_at_its_deadline(world: World) {
    let (holder, waiter) = (world.client(0).await, world.client(1).await);
    let _guard = world.lock(&holder, "r", Mode::Exclusive).await;
    let waited = world.ask(&waiter, "r", Mode::Exclusive).wait(Duration::from_millis(200)).acquire().await;
    assert!(matches!(waited, Err(Error::WaitTimeout)), "{:?}", waited.err());
    world.until_queued(&holder, "r", 0).await;
}

pub(super) async fn a_place_in_the_queue_is_told(world: World) {
    let (holder, waiter) = (world.client(0).await, world.client(1).await);
    let guard = world.lock(&holder, "r", Mode::Exclusive).await;
    let (asked, client) = (world.clone(), waiter.clone());
    let first = tokio::spawn(async move { asked.lock(&client, "r", Mode::Exclusive).await });
    world.until_queued(&holder, "r", 1).await;
    let places = Arc::new(Mutex::new(Vec::new()));
    let told = places.clone();
    let second = world
        .ask(&waiter, "r", Mode::Exclusive)
        .wait(SOON)
        .on_queued(move |place| told.lock().push(place.ahead));
    let second = tokio::spawn(second.acquire());
    world.until("told its first place", async || places.lock().first() == Some(&1)).await;
    guard.release().await.expect("a release");
    let first = first.await.expect("the first");
    world.until("told that it moved up", async || places.lock().last() == Some(&0)).await;
    first.release().await.expect("a release");
    assert!(second.await.expect("the second").expect("a grant").is_valid());
}
