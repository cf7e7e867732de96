//! Value blocks between servers.

use super::World;
use dlock_client::{Client, Mode, ValueBlock, ValueRead};
use std::time::Duration;

pub(super) async fn a_value_goes_from_a_writer_to_readers_elsewhere(world: World) {
    let (writer, reader) = (world.client(0).await, world.client(1).await);
    let value = ValueBlock::new(vec![7; 1024]).expect("1 KiB");
    let guard = world.lock(&writer, "r", Mode::Exclusive).await;
    guard.release_with_value(value.clone()).await.expect("a release");
    let guard = world.lock(&reader, "r", Mode::ConcurrentRead).await;
    let ValueRead { block, valid } = guard.value().expect("a value").clone();
    assert!(valid && block == value);
}

pub(super) async fn the_death_of_a_writer_marks_the_value(world: World) {
    let reader = world.client(1).await;
    let endpoint = world.deployment().servers[0].endpoint();
    let writer = Client::builder()
        .endpoints([endpoint])
        .ttl(Duration::from_secs(1))
        .connect()
        .await
        .expect("a client");
    let guard = world.lock(&writer, "r", Mode::ProtectedWrite).await;
    guard.release_with_value(ValueBlock::new("good").expect("short")).await.expect("a release");
    let guard = world.lock(&writer, "r", Mode::ProtectedWrite).await;
    let session = guard.session_id();
    reader.admin().end_session(session).await.expect("an administrator");
    let read = world.lock(&reader, "r", Mode::ProtectedRead).await;
    let ValueRead { block, valid } = read.value().expect("a value").clone();
    assert!(!valid && block.bytes() == "good", "{block:?}");
}
