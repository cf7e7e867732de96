//! Modes, conversions and notifications among holders on different servers.

use super::{SOON, World};
use dlock_client::{Error, Mode};
use futures::StreamExt;
use futures::future::join_all;

const MODES: [Mode; 6] = [
    Mode::Null,
    Mode::ConcurrentRead,
    Mode::ConcurrentWrite,
    Mode::ProtectedRead,
    Mode::ProtectedWrite,
    Mode::Exclusive,
];

/// Held by one (row), asked by another (column).
const COMPATIBLE: [[u8; 6]; 6] = [
    [1, 1, 1, 1, 1, 1],
    [1, 1, 1, 1, 1, 0],
    [1, 1, 1, 0, 0, 0],
    [1, 1, 0, 1, 0, 0],
    [1, 1, 0, 0, 0, 0],
    [1, 0, 0, 0, 0, 0],
];

pub(super) async fn two_modes_are_held_at_once_exactly_if_the_table_says_so(world: World) {
    let (holder, other) = (world.client(0).await, world.client(1).await);
    for (held, row) in MODES.into_iter().zip(COMPATIBLE) {
        for (asked, compatible) in MODES.into_iter().zip(row) {
            let name = format!("{held}-{asked}");
            let guard = world.lock(&holder, &name, held).await;
            let granted = world.is_free(&other, &name, asked).await;
            assert_eq!(granted, compatible == 1, "{asked} beside {held}");
            guard.release().await.expect("a release");
        }
    }
}

pub(super) async fn many_readers_share_one_resource(world: World) {
    let clients = join_all((0..10).map(|number| world.client(number))).await;
    let readers = (0..200).map(|number| world.lock(&clients[number % 10], "r", Mode::ProtectedRead));
    let readers = join_all(readers).await;
    assert!(!world.is_free(&clients[0], "r", Mode::ConcurrentWrite).await);
    let resource = clients[1].query().get_resource(&world.name("r")).await.expect("a resource");
    assert_eq!(resource.holders.len(), 200);
    for reader in readers {
        reader.release().await.expect("a release");
    }
    assert!(world.is_free(&clients[2], "r", Mode::Exclusive).await);
}

pub(super) async fn a_conversion_waits_for_holders_elsewhere(world: World) {
    let (one, two) = (world.client(0).await, world.client(1).await);
    let mut reader = world.lock(&one, "r", Mode::ProtectedRead).await;
    let other = world.lock(&two, "r", Mode::ProtectedRead).await;
    let refused = reader.convert(Mode::Exclusive).try_only().await.expect_err("another holds it");
    assert!(matches!(refused, Error::WouldBlock), "{refused}");
    let before = reader.token();
    let converting = tokio::spawn(async move {
        reader.convert(Mode::Exclusive).wait(SOON).await.expect("a conversion");
        reader
    });
    world.until_queued(&two, "r", 1).await;
    other.release().await.expect("a release");
    let mut writer = converting.await.expect("the conversion");
    assert!(writer.mode() == Mode::Exclusive && writer.token() > before);
    writer.convert(Mode::ConcurrentRead).await.expect("a way down is always free");
    assert!(world.is_free(&two, "r", Mode::ProtectedWrite).await);
}

pub(super) async fn two_conversions_that_wait_for_each_other_are_a_deadlock(world: World) {
    let (one, two) = (world.client(0).await, world.client(1).await);
    let mut first = world.lock(&one, "r", Mode::ProtectedRead).await;
    let mut second = world.lock(&two, "r", Mode::ProtectedRead).await;
    let converting = tokio::spawn(async move {
        first.convert(Mode::Exclusive).wait(SOON).await.expect("a conversion");
        first
    });
    world.until_queued(&two, "r", 1).await;
    let refused = second.convert(Mode::Exclusive).wait(SOON).await.expect_err("a deadlock");
    assert!(matches!(refused, Error::Deadlock), "{refused}");
    assert!(second.mode() == Mode::ProtectedRead && second.is_valid(), "its mode is intact");
    second.release().await.expect("a release");
    assert_eq!(converting.await.expect("the conversion").mode(), Mode::Exclusive);
}

pub(super) async fn a_holder_is_told_whom_it_blocks_elsewhere(world: World) {
    let (one, two) = (world.client(0).await, world.client(1).await);
    let guard = world.lock(&one, "r", Mode::ProtectedRead).await;
    let mut blocking = guard.blocking();
    let waiting = {
        let (world, two) = (world.clone(), two.clone());
        tokio::spawn(async move { world.lock(&two, "r", Mode::Exclusive).await })
    };
    let told = tokio::time::timeout(SOON, blocking.next()).await.expect("a notification");
    assert_eq!(told, Some(Mode::Exclusive));
    guard.release().await.expect("a release");
    assert!(waiting.await.expect("the waiter").is_valid());
}

pub(super) async fn tokens_grow_from_holder_to_holder(world: World) {
    let clients = join_all((0..3).map(|number| world.client(number))).await;
    let mut last = None;
    for round in 0..30 {
        let mode = if round % 2 == 0 { Mode::Exclusive } else { Mode::ProtectedWrite };
        let guard = world.lock(&clients[round % 3], "r", mode).await;
        assert!(Some(guard.token()) > last);
        last = Some(guard.token());
        guard.release().await.expect("a release");
    }
}
