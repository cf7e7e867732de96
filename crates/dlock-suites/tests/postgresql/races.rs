//! Many holders at a time, as if no lease had kept them apart: each reads the list, and writes it back with its own number.

use crate::database::{Database, LEVELS, WAYS, Way, access};
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_postgres::IsolationLevel::{self, ReadCommitted};

const HOLDERS: i64 = 12;

/// What each was told, and the list in the end. With a barrier, all have read before anybody writes.
async fn race(
    database: &Database,
    way: Way,
    level: IsolationLevel,
    barrier: Option<Arc<Barrier>>,
) -> (Vec<i64>, Vec<i64>) {
    let mut holders = JoinSet::new();
    for token in 1..=HOLDERS {
        let (mut client, barrier) = (database.client().await, barrier.clone());
        holders.spawn(async move {
            let read = access(&mut client, level, way, token, None).await;
            if let Some(barrier) = barrier {
                barrier.wait().await;
            }
            let longer = format!("{} {token}", read?);
            access(&mut client, level, way, token, Some(&longer)).await.map(|_| token)
        });
    }
    let mut done: Vec<i64> = holders.join_all().await.into_iter().flatten().collect();
    done.sort_unstable();
    let mut client = database.client().await;
    let list = access(&mut client, level, Way::NotAtAll, 0, None).await.unwrap();
    (done, list.split_whitespace().map(|number| number.parse().unwrap()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn lose_no_update() {
    let database = Database::start().await;
    for (way, level) in WAYS.into_iter().flat_map(|way| LEVELS.map(|level| (way, level))) {
        database.reset().await;
        let (done, list) = race(&database, way, level, None).await;
        assert_eq!(list, done, "{way:?}, {level:?}: in the list, and what its writers were told");
        assert_eq!(done.last(), Some(&HOLDERS), "nobody refuses the highest token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn let_only_the_newest_write_when_all_have_read() {
    let database = Database::start().await;
    let barrier = Arc::new(Barrier::new(HOLDERS as usize));
    for way in WAYS {
        database.reset().await;
        let (done, list) = race(&database, way, ReadCommitted, Some(barrier.clone())).await;
        assert_eq!((done, list), (vec![HOLDERS], vec![HOLDERS]), "{way:?}");
    }
    database.reset().await;
    let (done, list) = race(&database, Way::NotAtAll, ReadCommitted, Some(barrier)).await;
    assert_eq!((done.len(), list.len()), (HOLDERS as usize, 1), "without a check, all but one are lost");
}
