//! A server whose store is its own memory: what it grants and releases is written to it for those only who look there.

use crate::mastering::{Mover, claim, commits, die, granted_of, warm_up};
use crate::world::*;
use dlock_backend_embedded::simulated::SimulatedDisk;
use dlock_backend_embedded::{EmbeddedStore, Upkeep};
use dlock_core::{Mode, Namespace};
use dlock_engine::{ClaimState, Engine, ResourceEvent};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

async fn pairs(client: &Client, resource: &str) {
    for lock in 1..=100 {
        client.lock(lock, resource, Mode::Exclusive).await.unwrap();
        client.release(lock).await.unwrap();
    }
}

async fn commits_of_pairs(engine: &Engine, client: &Client) -> u64 {
    let before = commits(engine).await;
    pairs(client, "r").await;
    commits(engine).await - before
}

/// How many hold the resource, by the next event.
async fn holders(events: &mut BoxStream<'static, ResourceEvent>) -> usize {
    let event = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
    match event.expect("it is told").unwrap() {
        ResourceEvent::Changed(view) => {
            assert_eq!((view.resource, view.mastered_by), (name("r"), None));
            view.holders.len()
        }
        other => panic!("no change: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn its_own_memory_is_not_written_to_but_for_those_who_follow() {
    let engine = engine().await;
    let client = Client::open(&engine).await;
    let alive = client.keep_alive();
    warm_up(&client, "r").await;
    assert_eq!(commits_of_pairs(&engine, &client).await, 0);

    client.lock(1, "r", Mode::Exclusive).await.unwrap();
    let listed = engine.resources(&Namespace::default(), "", None, 10).await.unwrap().items;
    assert_eq!((listed[0].holders.len(), listed[0].mastered_by), (1, None));
    let mut events = engine.watch_resources(&Namespace::default(), "").await.unwrap();
    assert_eq!(holders(&mut events).await, 1);
    assert_eq!(events.next().await, Some(ResourceEvent::SnapshotDone));
    for _ in 0..10 {
        client.release(1).await.unwrap();
        assert_eq!(holders(&mut events).await, 0);
        client.lock(1, "r", Mode::Exclusive).await.unwrap();
        assert_eq!(holders(&mut events).await, 1);
    }

    drop(events);
    settle().await;
    client.release(1).await.unwrap();
    warm_up(&client, "r").await;
    assert_eq!(commits_of_pairs(&engine, &client).await, 0);
    alive.abort();
}

#[tokio::test]
async fn a_store_of_its_own_that_outlives_it_has_every_grant() {
    let disk = Arc::new(SimulatedDisk::default());
    let store = EmbeddedStore::open_on(disk, Path::new("on a disk"), Upkeep::default()).unwrap();
    let engine = engine_on(Arc::new(store), 1).await;
    let client = Client::open(&engine).await;
    let alive = client.keep_alive();
    warm_up(&client, "r").await;
    assert_eq!(commits_of_pairs(&engine, &client).await, 200);
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn what_an_engine_before_it_knew_is_claimed_and_the_rest_is_free_in_the_end() {
    let store = EmbeddedStore::in_memory();
    let a = engine_on(Arc::new(store.clone()), 1).await;
    let (mover, lost) = (Client::open(&a).await, Client::open(&a).await);
    for resource in ["r", "gone"] {
        warm_up(&mover, resource).await;
    }
    let held = mover.lock(1, "r", Mode::Exclusive).await.unwrap();
    lost.lock(2, "gone", Mode::Exclusive).await.unwrap();
    let left = Mover::of(&mover);
    die((a, mover, lost)).await;

    let b = engine_on(Arc::new(store), 2).await;
    let waiter = Client::open(&b).await;
    let waits = waiter.start(1, "r", Mode::Exclusive);
    let waits_too = waiter.start(2, "gone", Mode::Exclusive);
    let (moved, states) = left.attach(&b, vec![claim(1, "r", &held)]).await;
    let alive = [waiter.keep_alive(), moved.keep_alive()];
    assert!(!matches!(&states[0], ClaimState::Absent), "{states:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!waits.is_finished());
    let found = granted_of(moved.query(1).await.unwrap());
    assert_eq!((found.token, found.mode), (held.token, Mode::Exclusive));
    waits_too.await.unwrap().unwrap();
    moved.release(1).await.unwrap();
    assert!(waits.await.unwrap().unwrap().token > held.token);
    alive.iter().for_each(|task| task.abort());
}
