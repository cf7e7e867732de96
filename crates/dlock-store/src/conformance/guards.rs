//! Guards: other records that must be unchanged. A store that has none refuses them.

use super::world::{World, committed, guarded, put};
use crate::{Key, StoreError, Verdict, Version, Write};

/// Tries a write with guards; `None` where the store can't and has said so.
async fn try_guarded(world: &World, write: Write) -> Option<Verdict> {
    match world.try_write(write).await {
        Ok(verdict) => {
            assert!(world.store().capabilities().guards, "an undeclared guard was accepted");
            Some(verdict)
        }
        Err(StoreError::Invalid { .. }) if !world.store().capabilities().guards => None,
        Err(error) => panic!("{error}"),
    }
}

async fn session_and_resource(world: &World) -> (Key, Version, Key, Version) {
    let (session, resource) = (world.key("session"), world.key("resource"));
    let guard = world.put(&session, "epoch 1").await;
    let expected = world.get(&resource).await.version;
    (session, guard, resource, expected)
}

pub(super) async fn a_guard_that_holds_lets_the_write_through(world: World) {
    let (session, guard, resource, expected) = session_and_resource(&world).await;
    let Some(verdict) = try_guarded(&world, guarded(put(&resource, expected, "held"), &session, guard)).await
    else {
        return;
    };
    assert_eq!(world.get(&resource).await.version, committed(verdict));
    assert_eq!(world.get(&session).await.version, guard, "a guard was changed");
}

pub(super) async fn a_guard_that_fails_stops_the_write(world: World) {
    let (session, guard, resource, expected) = session_and_resource(&world).await;
    world.put(&session, "epoch 2").await;
    let late = guarded(put(&resource, expected, "late"), &session, guard);
    if let Some(verdict) = try_guarded(&world, late).await {
        assert_eq!(verdict, Verdict::GuardFailed { key: session });
    }
    assert_eq!(world.get(&resource).await.value(), None);
}

pub(super) async fn a_failed_guard_is_said_before_a_conflict(world: World) {
    let (session, guard, resource, stale) = session_and_resource(&world).await;
    world.put(&session, "epoch 2").await;
    world.put(&resource, "newer").await;
    if let Some(verdict) = try_guarded(&world, guarded(put(&resource, stale, "late"), &session, guard)).await
    {
        assert_eq!(verdict, Verdict::GuardFailed { key: session });
    }
}

pub(super) async fn absence_can_be_guarded(world: World) {
    let (session, _, resource, expected) = session_and_resource(&world).await;
    let absent = world.delete(&session, 0).await;
    let write = guarded(put(&resource, expected, "while absent"), &session, absent);
    let Some(verdict) = try_guarded(&world, write).await else { return };
    let version = committed(verdict);
    world.put(&session, "back").await;
    let late = guarded(put(&resource, version, "late"), &session, absent);
    assert_eq!(try_guarded(&world, late).await, Some(Verdict::GuardFailed { key: session }));
}
