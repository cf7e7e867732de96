//! Guards: other records that must be unchanged. A store that has none refuses them.

use super::world::{World, committed, guarded, put};
use crate::{GUARDS_MAX, Key, StoreError, Verdict, Version, Write};

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

pub(super) async fn as_many_guards_as_are_allowed_hold_or_fail(world: World) {
    let resource = world.key("resource");
    let mut sessions = Vec::new();
    for number in 0..GUARDS_MAX {
        let session = world.key(&format!("session {number}"));
        let version = world.put(&session, "epoch 1").await;
        sessions.push((session, version));
    }
    let with_all = |expected| {
        let write = put(&resource, expected, "held");
        sessions.iter().fold(write, |write, (session, version)| guarded(write, session, *version))
    };
    let expected = world.get(&resource).await.version;
    let Some(verdict) = try_guarded(&world, with_all(expected)).await else { return };
    let version = committed(verdict);
    let (last, _) = &sessions[GUARDS_MAX - 1];
    world.put(last, "epoch 2").await;
    let verdict = try_guarded(&world, with_all(version)).await;
    assert_eq!(verdict, Some(Verdict::GuardFailed { key: last.clone() }));
}

/// Each of two writes guards what the other changes: whichever comes second must fail, though they come together.
pub(super) async fn no_two_writes_slip_past_each_others_guards(world: World) {
    if !world.store().capabilities().guards {
        return;
    }
    for round in 0..20 {
        let keys = [world.key(&format!("one {round}")), world.key(&format!("two {round}"))];
        let versions = [world.put(&keys[0], "old").await, world.put(&keys[1], "old").await];
        let write = |own: usize, value: &str| {
            let other = 1 - own;
            guarded(put(&keys[own], versions[own], value), &keys[other], versions[other])
        };
        let verdicts = world.store().commit(vec![write(0, "new"), write(1, "new")]).await;
        let of = |verdict: &Result<Verdict, StoreError>| verdict.clone().expect("a verdict");
        let committed =
            verdicts.iter().filter(|verdict| matches!(of(verdict), Verdict::Committed { .. })).count();
        assert_eq!(committed, 1, "{verdicts:?}");
    }
}
