//! Reading and compare-and-swap.

use super::world::{World, committed, delete, is_conflict, put};
use crate::{Change, Content, KEY_BYTES_MAX, Record, StoreError, Verdict, Write};
use bytes::Bytes;
use futures::future::join_all;

pub(super) async fn what_was_never_written_is_absent(world: World) {
    let record = world.get(&world.key("never")).await;
    assert_eq!(record.value(), None);
}

pub(super) async fn a_write_is_read_back_with_its_version(world: World) {
    let key = world.key("a");
    let before = world.get(&key).await.version;
    let first = committed(world.write(put(&key, before, "one")).await);
    let record = world.get(&key).await;
    assert_eq!((record.version, record.value().map(Bytes::as_ref)), (first, Some(&b"one"[..])));
    let second = committed(world.write(put(&key, first, "two")).await);
    assert!(second > first);
    assert_eq!(world.get(&key).await.value().map(Bytes::as_ref), Some(&b"two"[..]));
}

pub(super) async fn a_stale_version_conflicts_and_changes_nothing(world: World) {
    let key = world.key("a");
    let absent = world.get(&key).await.version;
    let first = world.put(&key, "one").await;
    let second = world.put(&key, "two").await;
    for stale in [absent, first] {
        for write in [put(&key, stale, "late"), delete(&key, stale, 0)] {
            match world.write(write).await {
                Verdict::Conflict { current: Some(current) } => assert_eq!(current.version, second),
                Verdict::Conflict { current: None } => {}
                other => panic!("a stale write was not refused: {other:?}"),
            }
        }
    }
    let record = world.get(&key).await;
    assert_eq!((record.version, record.value().map(Bytes::as_ref)), (second, Some(&b"two"[..])));
}

pub(super) async fn values_of_every_kind_come_back_as_they_were(world: World) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let long = every_byte.repeat(1024);
    for (number, value) in [Vec::new(), vec![0], every_byte, long].into_iter().enumerate() {
        let key = world.key(&format!("value {number}"));
        let value = Bytes::from(value);
        // The second in pieces, empty ones too: three writes of the same bytes.
        let cuts = [0..0, 0..value.len() / 3, value.len() / 3..value.len()];
        let pieces = cuts.map(|cut| value.slice(cut)).into_iter().collect();
        for change in [value.clone().into(), pieces, value.clone().into()].map(Change::Put) {
            let expected = world.get(&key).await.version;
            committed(
                world.write(Write { key: key.clone(), expected, change, guards: Default::default() }).await,
            );
            assert_eq!(world.get(&key).await.content, Content::Present(value.clone()));
        }
    }
}

pub(super) async fn odd_keys_are_told_apart(world: World) {
    let longest = "x".repeat(KEY_BYTES_MAX - world.prefix().len());
    let names = [
        " ", "  ", "/", "//", "%", "%2F", ":", "*", ">", ".", "..", "?", "[a]", "\\", "\"", "'", "$", "{b}",
        "größe", "📦", "a", "A", "a ", &longest,
    ];
    for name in names {
        world.put(&world.key(name), name).await;
    }
    for name in names {
        let record = world.get(&world.key(name)).await;
        assert_eq!(record.value().map(Bytes::as_ref), Some(name.as_bytes()), "{name:?}");
    }
}

pub(super) async fn each_write_of_a_batch_has_its_own_verdict(world: World) {
    let keys: Vec<_> = (0..100).map(|number| world.key(&number.to_string())).collect();
    let mut writes = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let expected = if number % 3 == 0 {
            let stale = world.get(key).await.version;
            world.put(key, "newer").await;
            stale
        } else {
            world.get(key).await.version
        };
        writes.push(put(key, expected, "batch"));
    }
    let answers = world.store().commit(writes).await;
    assert_eq!(answers.len(), keys.len());
    for (number, (key, answer)) in keys.iter().zip(answers).enumerate() {
        let verdict = answer.expect("a verdict");
        let value = world.get(key).await.value().cloned().expect("a value");
        if number % 3 == 0 {
            assert!(is_conflict(&verdict) && value.as_ref() == b"newer", "{number}: {verdict:?}");
        } else {
            assert!(matches!(verdict, Verdict::Committed { .. }) && value.as_ref() == b"batch", "{number}");
        }
    }
}

pub(super) async fn concurrent_increments_lose_nothing(world: World) {
    const WRITERS: usize = 64;
    let key = world.key("counter");
    let increments = (0..WRITERS).map(|number| {
        let (world, key) = (world.clone(), key.clone());
        async move {
            let store = world.handle(number).clone();
            loop {
                let record = store.get(&key).await.expect("a read");
                let mut counted = counted(&record);
                if counted.contains(&number) {
                    return; // by a write of unknown outcome
                }
                counted.push(number);
                let value = counted.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
                match store.commit(vec![put(&key, record.version, value)]).await.remove(0) {
                    Ok(Verdict::Committed { .. }) => return,
                    // Where nodes are away and the others slow, nobody may know in time; then it is looked for.
                    Ok(_) | Err(StoreError::Ambiguous { .. }) => {}
                    Err(error) => panic!("no verdict: {error}"),
                }
            }
        }
    });
    join_all(increments.map(tokio::spawn)).await.into_iter().for_each(|done| done.expect("no panic"));
    let mut counted = counted(&world.get(&key).await);
    counted.sort_unstable();
    assert_eq!(counted, (0..WRITERS).collect::<Vec<_>>(), "each counted, and once");
}

/// The numbers in the record.
fn counted(record: &Record) -> Vec<usize> {
    let text = std::str::from_utf8(record.value().map_or(&[], |value| value)).expect("text");
    text.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

pub(super) async fn handles_see_each_others_writes_at_once(world: World) {
    let key = world.key("a");
    for number in 0..20 {
        let version = world.handle(number).get(&key).await.expect("a read").version;
        let write = put(&key, version, number.to_string());
        let answer = world.handle(number).commit(vec![write]).await.remove(0).expect("a verdict");
        let written = committed(answer);
        let seen = world.handle(number + 1).get(&key).await.expect("a read");
        assert_eq!(seen.version, written);
    }
}
