//! Watches: wake-ups that are never lost.

use super::world::World;
use crate::{Content, Key, Record, Scope, Watch, WatchEvent};
use futures::StreamExt;
use std::time::Duration;

/// How long an event is waited for before it counts as lost. No store takes as long; nothing waits if it is there.
const LOST_AFTER: Duration = Duration::from_secs(20);

async fn next(watch: &mut Watch) -> WatchEvent {
    tokio::time::timeout(LOST_AFTER, watch.next())
        .await
        .expect("an event was lost")
        .expect("the watch has ended")
}

/// Waits until the watch has told of the key, or has asked to read again.
async fn told_of(watch: &mut Watch, expected: &Key) {
    loop {
        match next(watch).await {
            WatchEvent::Changed { key, .. } if key == *expected => return,
            WatchEvent::Resync | WatchEvent::WentBack => return,
            WatchEvent::Changed { .. } => {}
        }
    }
}

pub(super) async fn a_watch_tells_of_writes_and_deletions(world: World) {
    let key = world.key("a");
    for scope in [Scope::Key(key.clone()), Scope::Prefix(world.prefix().to_owned())] {
        let mut watch = world.store().watch(scope).await.expect("a watch");
        world.put(&key, "one").await;
        told_of(&mut watch, &key).await;
        world.put(&key, "two").await;
        told_of(&mut watch, &key).await;
        world.delete(&key, 0).await;
        told_of(&mut watch, &key).await;
    }
}

pub(super) async fn a_watch_is_about_its_own_keys_only(world: World) {
    let (mine, other) = (world.key("mine"), world.key("mine too"));
    let mut watch = world.store().watch(Scope::Key(mine.clone())).await.expect("a watch");
    world.put(&other, "one").await;
    world.put(&mine, "one").await;
    loop {
        match next(&mut watch).await {
            WatchEvent::Changed { key, .. } => {
                assert_eq!(key, mine);
                return;
            }
            WatchEvent::Resync | WatchEvent::WentBack => {}
        }
    }
}

pub(super) async fn the_last_change_is_always_announced(world: World) {
    const KEYS: usize = 8;
    const WRITES: usize = 400;
    let writers = (0..KEYS).map(|number| {
        let world = world.clone();
        tokio::spawn(async move {
            let key = world.key(&number.to_string());
            for write in 0..WRITES / KEYS {
                world.put(&key, &write.to_string()).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut watch = world.store().watch(Scope::Prefix(world.prefix().to_owned())).await.expect("a watch");
    for writer in writers {
        writer.await.expect("no panic");
    }
    // From here on nothing changes but the last key, whose news must come after all others'.
    let last = world.key("last");
    world.put(&last, "done").await;
    told_of(&mut watch, &last).await;
    let slow = world.store().watch(Scope::Prefix(world.prefix().to_owned())).await.expect("a watch");
    for number in 0..2000 {
        world.put(&world.key("flood"), &number.to_string()).await;
    }
    world.put(&last, "again").await;
    let mut slow = slow;
    told_of(&mut slow, &last).await;
}

pub(super) async fn announced_records_are_real(world: World) {
    let key = world.key("a");
    let mut watch = world.store().watch(Scope::Key(key.clone())).await.expect("a watch");
    let version = world.put(&key, "one").await;
    let absence = world.delete(&key, 7).await;
    let mut seen_absent = false;
    while !seen_absent {
        match next(&mut watch).await {
            WatchEvent::Changed {
                record: Some(Record { version: seen, content: Content::Present(value) }),
                ..
            } => {
                assert_eq!((seen, value.as_ref()), (version, &b"one"[..]));
            }
            WatchEvent::Changed {
                record: Some(Record { version: seen, content: Content::Absent { floor } }),
                ..
            } => {
                assert!(seen >= absence && floor >= 7);
                seen_absent = true;
            }
            WatchEvent::Changed { record: None, .. } | WatchEvent::Resync | WatchEvent::WentBack => {
                seen_absent = world.get(&key).await.value().is_none();
            }
        }
    }
}
