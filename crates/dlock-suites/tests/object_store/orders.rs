//! Holders whose requests cross: each reads a list, works, and writes it back with its own token added. Whoever was told
//! that this is done must be in the list in the end.

use crate::fenced::{AccessError, FencedObject};
use crate::{object, token};
use bytes::{Buf, Bytes, BytesMut};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long each request is on its way to the store, and how long the work takes.
const WAY: Duration = Duration::from_millis(10);
const WORK: Duration = Duration::from_millis(15);

fn numbers(mut list: Bytes) -> Vec<u64> {
    std::iter::from_fn(|| list.try_get_u64().ok()).collect()
}

fn with(list: &[u8], number: u64) -> Bytes {
    let mut longer = BytesMut::from(list);
    longer.extend_from_slice(&number.to_be_bytes());
    longer.freeze()
}

/// Whether the update was done; else its token was refused.
async fn update(object: &FencedObject, number: u64, work: Duration) -> bool {
    let access = async {
        let list = object.read(token(number)).await?;
        sleep(work).await;
        object.write(token(number), with(&list, number)).await
    };
    match access.await {
        Ok(()) => true,
        Err(AccessError::Stale(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// The same, with nothing checked.
async fn update_unchecked(object: &FencedObject, number: u64, work: Duration) -> bool {
    let list = match object.store.get(&object.path).await {
        Ok(found) => found.bytes().await.unwrap(),
        Err(object_store::Error::NotFound { .. }) => Bytes::new(),
        Err(error) => panic!("{error}"),
    };
    sleep(work).await;
    object.store.put(&object.path, with(&list, number).into()).await.unwrap();
    true
}

fn slow_store() -> Arc<dyn ObjectStore> {
    let config =
        ThrottleConfig { wait_get_per_call: WAY, wait_put_per_call: WAY, ..ThrottleConfig::default() };
    Arc::new(ThrottledStore::new(InMemory::new(), config))
}

/// Two holders that begin one after the other, in each order and at each distance: how many updates were done, refused,
/// and lost.
async fn tally(checked: bool) -> [usize; 3] {
    let [mut done, mut refused, mut lost] = [0; 3];
    for (first, second) in [(1, 2), (2, 1)] {
        for distance in 0..100 {
            let object = object(slow_store());
            let holder = async |number: u64, delay: u64| {
                sleep(Duration::from_millis(delay)).await;
                match checked {
                    true => update(&object, number, WORK).await,
                    false => update_unchecked(&object, number, WORK).await,
                }
            };
            let told = tokio::join!(holder(first, 0), holder(second, distance));
            let list = match checked {
                true => object.read(token(9)).await.unwrap(),
                false => object.store.get(&object.path).await.unwrap().bytes().await.unwrap(),
            };
            for (number, was_done) in [(first, told.0), (second, told.1)] {
                done += usize::from(was_done);
                refused += usize::from(!was_done);
                lost += usize::from(was_done != numbers(list.clone()).contains(&number));
            }
        }
    }
    [done, refused, lost]
}

#[tokio::test(start_paused = true)]
async fn that_two_holders_requests_can_have_lose_no_update() {
    let [done, refused, lost] = tally(true).await;
    assert_eq!(lost, 0);
    assert!(done > 200 && refused > 50, "{done} done, {refused} refused: were there no late ones?");
}

#[tokio::test(start_paused = true)]
async fn that_two_holders_requests_can_have_lose_updates_unchecked() {
    let [done, refused, lost] = tally(false).await;
    assert_eq!((done, refused), (400, 0));
    assert!(lost > 40, "{lost}");
}

/// Many at a time: with whatever store.
pub(crate) async fn of_many_lose_no_update(object: FencedObject) {
    const HOLDERS: u64 = 24;
    let mut holders = JoinSet::new();
    for number in 1..=HOLDERS {
        let object = object.clone();
        holders.spawn(async move {
            let work = Duration::from_millis(rand::random_range(0..20));
            (number, update(&object, number, work).await)
        });
    }
    let mut told = holders.join_all().await;
    told.retain(|(_, was_done)| *was_done);
    let mut done: Vec<u64> = told.into_iter().map(|(number, _)| number).collect();
    done.sort_unstable();
    let list = numbers(object.read(token(HOLDERS)).await.unwrap());
    assert_eq!(list, done, "what is in the list, and what its writers were told");
    assert_eq!(done.last(), Some(&HOLDERS), "nobody refuses the highest token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_in_memory_lose_no_update() {
    for _ in 0..20 {
        of_many_lose_no_update(object(Arc::new(InMemory::new()))).await;
    }
}
