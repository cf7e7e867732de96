//! Futures and guards that are dropped at any moment leave nothing behind.

use crate::service::Service;
use dlock_client::Mode;
use futures::FutureExt;
use futures::future::join_all;
use std::time::Duration;

#[tokio::test]
async fn a_dropped_guard_releases() {
    let service = Service::start().await;
    let client = service.client().await;
    drop(client.lock("a").acquire().await.unwrap());
    assert!(client.lock("a").wait(Duration::from_secs(10)).acquire().await.is_ok());
}

#[tokio::test]
async fn a_dropped_acquire_leaves_the_queue() {
    let service = Service::start().await;
    let client = service.client().await;
    let holder = client.lock("a").acquire().await.unwrap();
    let waiting = client.lock("a").acquire();
    assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
    service.eventually(&client, "a", |info| info.queue.is_empty()).await;
    holder.release().await.unwrap();
    assert!(client.query().get_resource("a").await.unwrap().holders.is_empty());
}

#[tokio::test]
async fn acquires_that_are_dropped_at_any_moment_never_leak_a_lock() {
    let service = Service::start().await;
    let client = service.client().await;
    let rounds = (0..200).map(|round: u32| {
        let acquire = client.lock(format!("r{}", round % 5)).acquire();
        async move {
            let mut acquire = Box::pin(acquire);
            // From before the first poll to after the grant, whichever comes.
            for _ in 0..round % 40 {
                if acquire.as_mut().now_or_never().is_some() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    join_all(rounds).await;
    for name in 0..5 {
        let name = format!("r{name}");
        service.eventually(&client, &name, |info| info.queue.is_empty() && info.holders.is_empty()).await;
    }
}

#[tokio::test]
async fn a_dropped_conversion_keeps_the_mode() {
    let service = Service::start().await;
    let client = service.client().await;
    let mut guard = client.lock("a").mode(Mode::ProtectedRead).acquire().await.unwrap();
    let other = client.lock("a").mode(Mode::ProtectedRead).acquire().await.unwrap();
    let converting =
        tokio::time::timeout(Duration::from_millis(50), guard.convert(Mode::Exclusive).into_future());
    assert!(converting.await.is_err());
    service.eventually(&client, "a", |info| info.queue.is_empty()).await;
    assert_eq!(guard.mode(), Mode::ProtectedRead);
    // One operation at a time: this one waits until the withdrawal of the last one is known.
    guard.convert(Mode::ConcurrentRead).await.unwrap();
    drop(other);
}

#[tokio::test]
async fn closing_a_client_releases_all_it_had() {
    let service = Service::start().await;
    let (client, other) = (service.client().await, service.client().await);
    let guard = client.lock("a").acquire().await.unwrap();
    client.close().await.unwrap();
    assert!(!guard.is_valid());
    let taken = other.lock("a").try_acquire().await.unwrap();
    assert!(taken.unwrap().value().unwrap().valid || guard.value().is_some());
}

#[tokio::test]
async fn a_client_that_is_dropped_frees_its_locks_at_once() {
    let service = Service::start().await;
    let (client, other) = (service.client().await, service.client().await);
    let guard = client.lock("a").acquire().await.unwrap();
    drop((client, guard));
    assert!(other.lock("a").wait(Duration::from_secs(10)).acquire().await.is_ok());
    service.eventually_sessions(&other, 1).await;
}
