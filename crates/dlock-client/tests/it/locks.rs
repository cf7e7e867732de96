//! Modes, conversions, values, notifications, queues.

use crate::service::Service;
use dlock_client::{Error, Mode, ReleaseError, ValueBlock, ValueUpdate};
use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

fn value(text: &str) -> ValueBlock {
    ValueBlock::new(text.as_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn two_modes_are_held_at_once_exactly_if_the_table_says_so() {
    let service = Service::start().await;
    let (first, second) = (service.client().await, service.client().await);
    for held in Mode::ALL {
        for asked in Mode::ALL {
            let name = format!("{held}-{asked}");
            let holder = first.lock(&name).mode(held).acquire().await.unwrap();
            let other = second.lock(&name).mode(asked).try_acquire().await.unwrap();
            assert_eq!(other.is_some(), held.compatible(asked), "{held} held, {asked} asked");
            holder.release().await.unwrap();
        }
    }
}

#[tokio::test]
async fn tokens_grow_from_holder_to_holder() {
    let service = Service::start().await;
    let client = service.client().await;
    let mut last = None;
    for _ in 0..10 {
        let guard = client.lock("a").acquire().await.unwrap();
        assert!(Some(guard.token()) > last);
        last = Some(guard.token());
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn namespaces_are_apart() {
    let service = Service::start().await;
    let client = service.client().await;
    let ours = client.lock("a").acquire().await.unwrap();
    let theirs = client.lock("a").namespace("theirs").try_acquire().await.unwrap();
    assert_eq!(theirs.unwrap().resource().namespace(), "theirs");
    assert_eq!(ours.resource().namespace(), "default");
}

#[tokio::test]
async fn a_hundred_workers_count_exactly() {
    let service = Service::start().await;
    let counter = Arc::new(AtomicU64::new(0));
    let clients = join_all((0..4).map(|_| service.client())).await;
    let workers = (0..100).map(|worker| {
        let (client, counter) = (clients[worker % clients.len()].clone(), counter.clone());
        tokio::spawn(async move {
            for _ in 0..5 {
                let guard = client.lock("counter").acquire().await.unwrap();
                // Not an atomic increment: only the lock keeps it right.
                let seen = counter.load(Ordering::SeqCst);
                tokio::task::yield_now().await;
                counter.store(seen + 1, Ordering::SeqCst);
                guard.release().await.unwrap();
            }
        })
    });
    for worker in join_all(workers).await {
        worker.unwrap();
    }
    assert_eq!(counter.load(Ordering::SeqCst), 500);
}

#[tokio::test]
async fn a_conversion_waits_for_others_and_takes_a_new_token_on_its_way_up() {
    let service = Service::start().await;
    let (first, second) = (service.client().await, service.client().await);
    let mut guard = first.lock("a").mode(Mode::ProtectedRead).acquire().await.unwrap();
    let reader = second.lock("a").mode(Mode::ProtectedRead).acquire().await.unwrap();
    let token = guard.token();

    let error = guard.convert(Mode::Exclusive).try_only().await.unwrap_err();
    assert!(matches!(error, Error::WouldBlock), "{error}");
    let error = guard.convert(Mode::Exclusive).wait(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, Error::WaitTimeout), "{error}");
    assert_eq!((guard.mode(), guard.token()), (Mode::ProtectedRead, token));

    let (converted, released) = tokio::join!(guard.convert(Mode::Exclusive), async {
        tokio::task::yield_now().await;
        reader.release().await
    });
    converted.unwrap();
    released.unwrap();
    assert!(guard.mode() == Mode::Exclusive && guard.token() > token);

    let token = guard.token();
    guard.convert(Mode::ConcurrentRead).await.unwrap();
    assert_eq!((guard.mode(), guard.token()), (Mode::ConcurrentRead, token));
}

#[tokio::test]
async fn two_conversions_that_wait_for_each_other_are_a_deadlock_for_the_later_one() {
    let service = Service::start().await;
    let client = service.client().await;
    let mut first = client.lock("a").mode(Mode::ProtectedRead).acquire().await.unwrap();
    let mut second = client.lock("a").mode(Mode::ProtectedRead).acquire().await.unwrap();
    let mut blocked = second.blocking();
    let converting = tokio::spawn(async move { first.convert(Mode::Exclusive).await.map(|()| first) });
    // Once it blocks us, it is in the queue.
    assert_eq!(blocked.next().await, Some(Mode::Exclusive));
    let error = second.convert(Mode::Exclusive).await.unwrap_err();
    assert!(matches!(error, Error::Deadlock), "{error}");
    assert_eq!(second.mode(), Mode::ProtectedRead);
    second.release().await.unwrap();
    assert_eq!(converting.await.unwrap().unwrap().mode(), Mode::Exclusive);
}

#[tokio::test]
async fn the_value_block_goes_from_a_writer_to_readers() {
    let service = Service::start().await;
    let client = service.client().await;
    let mut writer = client.lock("a").acquire().await.unwrap();
    assert!(writer.value().unwrap().block.is_empty());
    writer.convert(Mode::ProtectedRead).write_value(value("one")).await.unwrap();
    let reader = client.lock("a").mode(Mode::ProtectedRead).acquire().await.unwrap();
    let read = reader.value().unwrap();
    assert_eq!((read.block.bytes().as_ref(), read.valid), (b"one".as_ref(), true));
    reader.release().await.unwrap();

    writer.convert(Mode::Exclusive).await.unwrap();
    writer.release_with_value(value("two")).await.unwrap();
    let writer = client.lock("a").acquire().await.unwrap();
    assert_eq!(writer.value().unwrap().block.bytes().as_ref(), b"two");
    writer.release_with(ValueUpdate::Invalidate).await.unwrap();
    let reader = client.lock("a").mode(Mode::ConcurrentRead).acquire().await.unwrap();
    let read = reader.value().unwrap();
    assert_eq!((read.block.bytes().as_ref(), read.valid), (b"two".as_ref(), false));

    let error = reader.release_with_value(value("three")).await.unwrap_err();
    assert!(matches!(error, ReleaseError::ValueNotWritten { held: Mode::ConcurrentRead }), "{error}");
    assert!(client.lock("a").try_acquire().await.unwrap().is_some(), "released all the same");
}

#[tokio::test]
async fn a_holder_is_told_what_it_keeps_from_others_and_can_make_way() {
    let service = Service::start().await;
    let (first, second) = (service.client().await, service.client().await);
    let mut guard = first.lock("a").acquire().await.unwrap();
    let mut wanted = guard.blocking();
    let waiting = tokio::spawn(async move { second.lock("a").mode(Mode::ProtectedRead).acquire().await });
    assert_eq!(wanted.next().await, Some(Mode::ProtectedRead));
    guard.convert(Mode::ConcurrentRead).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().mode(), Mode::ProtectedRead);
    guard.release().await.unwrap();
    assert_eq!(wanted.next().await, None, "the stream ends with the lock");
}

#[tokio::test]
async fn a_waiter_is_told_its_place_and_its_progress() {
    let service = Service::start().await;
    let client = service.client().await;
    let holder = client.lock("a").acquire().await.unwrap();
    let (sender, mut places) = mpsc::unbounded_channel();
    let place = |number: u32| {
        let sender = sender.clone();
        move |place: dlock_client::Place| sender.send((number, place.ahead)).unwrap()
    };
    let first = tokio::spawn(client.lock("a").on_queued(place(1)).acquire());
    assert_eq!(places.recv().await, Some((1, 0)));
    let second = tokio::spawn(client.lock("a").on_queued(place(2)).acquire());
    assert_eq!(places.recv().await, Some((2, 1)));
    holder.release().await.unwrap();
    let first = first.await.unwrap().unwrap();
    assert_eq!(places.recv().await, Some((2, 0)));
    first.release().await.unwrap();
    second.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_wait_ends_in_time_and_leaves_the_queue() {
    let service = Service::start().await;
    let client = service.client().await;
    let holder = client.lock("a").mode(Mode::ProtectedRead).acquire().await.unwrap();
    let error = client.lock("a").wait(Duration::from_millis(50)).acquire().await.unwrap_err();
    assert!(matches!(error, Error::WaitTimeout), "{error}");
    // A reader would wait behind the writer, if that still waited.
    assert!(client.lock("a").mode(Mode::ProtectedRead).try_acquire().await.unwrap().is_some());
    drop(holder);
}

#[tokio::test]
async fn a_reentrant_acquire_shares_the_lock_until_its_last_release() {
    let service = Service::start().await;
    let (client, other) = (service.client().await, service.client().await);
    let mut outer = client.lock("a").acquire().await.unwrap();
    let inner = client.lock("a").reentrant().acquire().await.unwrap();
    assert_eq!((inner.holds(), inner.token()), (2, outer.token()));
    outer.convert(Mode::ProtectedWrite).await.unwrap();
    assert_eq!(inner.mode(), Mode::ProtectedWrite, "it is one lock");
    let error = client.lock("a").reentrant().mode(Mode::Exclusive).acquire().await.unwrap_err();
    assert!(matches!(error, Error::NotCovered { held: Some(Mode::ProtectedWrite) }), "{error}");
    outer.release().await.unwrap();
    assert!(other.lock("a").try_acquire().await.unwrap().is_none(), "still held by the inner one");

    let mut wanted = inner.blocking();
    let waiting = tokio::spawn(async move { other.lock("a").acquire().await });
    assert_eq!(wanted.next().await, Some(Mode::Exclusive));
    inner.release().await.unwrap();
    waiting.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn without_reentrance_a_session_waits_for_itself() {
    let service = Service::start().await;
    let client = service.client().await;
    let guard = client.lock("a").acquire().await.unwrap();
    assert!(client.lock("a").try_acquire().await.unwrap().is_none());
    drop(guard);
    assert!(client.lock("a").wait(Duration::from_secs(10)).acquire().await.is_ok());
}

#[tokio::test]
async fn bad_names_and_settings_are_refused_with_the_field_that_is_wrong() {
    let service = Service::start().await;
    let client = service.client().await;
    let field = |error| match error {
        Error::InvalidArgument { field, .. } => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(client.lock("").acquire().await.unwrap_err()), "resource");
    assert_eq!(field(client.lock("a\nb").acquire().await.unwrap_err()), "resource");
    assert_eq!(field(client.lock("x".repeat(1025)).acquire().await.unwrap_err()), "resource");
    assert_eq!(field(client.lock("a").namespace("a/b").acquire().await.unwrap_err()), "namespace");
    let short = service.builder().ttl(Duration::from_millis(999)).connect().await;
    assert_eq!(field(short.map(|_| ()).unwrap_err()), "ttl");
    let none = service.builder().endpoints(Vec::<String>::new()).connect().await;
    assert_eq!(field(none.map(|_| ()).unwrap_err()), "endpoints");
}

#[tokio::test]
async fn a_guards_lost_future_stays_pending_while_all_is_well() {
    let service = Service::start().await;
    let client = service.client().await;
    let guard = client.lock("a").acquire().await.unwrap();
    let (lost, token) = (guard.lost(), guard.cancellation_token());
    assert!(guard.is_valid() && guard.remaining() > Duration::ZERO);
    guard.release().await.unwrap();
    assert!(lost.now_or_never().is_none() && !token.is_cancelled());
}
