//! Deletion: absence has a version and remembers a floor.

use super::world::{World, committed, delete, floor, is_conflict, put};

pub(super) async fn a_deleted_record_is_absent(world: World) {
    let key = world.key("a");
    world.put(&key, "one").await;
    let absence = world.delete(&key, 0).await;
    let record = world.get(&key).await;
    assert_eq!((record.value(), record.version), (None, absence));
    world.put(&key, "again").await;
    assert!(world.get(&key).await.value().is_some());
}

pub(super) async fn versions_grow_across_deletions(world: World) {
    let key = world.key("a");
    let mut last = world.get(&key).await.version;
    for _ in 0..5 {
        let present = world.put(&key, "value").await;
        let absent = world.delete(&key, 0).await;
        assert!(present > last && absent > present, "{last:?} {present:?} {absent:?}");
        last = absent;
    }
}

pub(super) async fn an_old_absence_is_not_taken_for_a_new_one(world: World) {
    let key = world.key("a");
    let old = world.get(&key).await.version;
    world.put(&key, "in between").await;
    world.delete(&key, 0).await;
    let verdict = world.write(put(&key, old, "late")).await;
    assert!(is_conflict(&verdict), "{verdict:?}");
    assert_eq!(world.get(&key).await.value(), None);
}

pub(super) async fn absence_remembers_the_greatest_floor(world: World) {
    let key = world.key("a");
    for (given, least) in [(7, 7), (3, 7), (9, 9)] {
        world.put(&key, "value").await;
        world.delete(&key, given).await;
        assert!(floor(&world.get(&key).await) >= least);
    }
    world.put(&key, "value").await;
    world.delete(&key, u64::MAX >> 1).await;
    assert_eq!(floor(&world.get(&key).await), u64::MAX >> 1);
}

pub(super) async fn deleting_what_is_absent_changes_its_version(world: World) {
    let key = world.key("a");
    let before = world.get(&key).await.version;
    let after = committed(world.write(delete(&key, before, 5)).await);
    assert!(after > before);
    let record = world.get(&key).await;
    assert_eq!((record.version, floor(&record) >= 5), (after, true));
    assert!(is_conflict(&world.write(put(&key, before, "late")).await));
}
