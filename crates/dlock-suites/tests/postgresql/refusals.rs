//! Who is refused, one transaction after the other.

use crate::database::{Database, LEVELS, WAYS, access, begin};
use tokio_postgres::IsolationLevel::ReadCommitted;

#[tokio::test(flavor = "multi_thread")]
async fn a_late_writer_is_refused_and_changes_nothing() {
    let database = Database::start().await;
    let mut client = database.client().await;
    for (way, level) in WAYS.into_iter().flat_map(|way| LEVELS.map(|level| (way, level))) {
        database.reset().await;
        let mut access = async |token, new| access(&mut client, level, way, token, new).await;
        assert_eq!(access(1, None).await.as_deref(), Some(""), "{way:?}");
        assert_eq!(access(1, Some("first")).await.as_deref(), Some("first"));
        assert_eq!(access(1, Some("second")).await.as_deref(), Some("second"), "one holder, two writes");
        assert_eq!(access(5, None).await.as_deref(), Some("second"));
        assert_eq!(access(1, Some("late")).await, None, "the next holder has read, and not written yet");
        assert_eq!(access(4, None).await, None);
        assert_eq!(access(5, None).await.as_deref(), Some("second"));
        assert_eq!(access(6, Some("third")).await.as_deref(), Some("third"), "one that has not read");
        assert_eq!(access(5, Some("late")).await, None);
        assert_eq!(access(i64::MAX, None).await.as_deref(), Some("third"), "the highest that there can be");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_has_shown_no_token() {
    let database = Database::start().await;
    let mut client = database.client().await;
    for way in WAYS {
        database.reset().await;
        access(&mut client, ReadCommitted, way, 1, Some("first")).await.unwrap();
        let transaction = begin(&mut client, ReadCommitted).await;
        way.access(&transaction, 5, Some("taken back")).await.unwrap().unwrap();
        transaction.rollback().await.unwrap();
        let read = access(&mut client, ReadCommitted, way, 1, None).await;
        assert_eq!(read.as_deref(), Some("first"), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_resource_has_a_fence_of_its_own() {
    let database = Database::start().await;
    let client = database.client().await;
    let show = async |resource: &str, token: i64| {
        client.query("SELECT dlock_fence($1, $2)", &[&resource, &token]).await.map(drop)
    };
    show("orders/1", 7).await.unwrap();
    show("orders/2", 3).await.unwrap();
    let refused = show("orders/1", 6).await.unwrap_err();
    let message = refused.as_db_error().expect("an answer").message();
    assert_eq!(message, "token 6 of orders/1 is stale: the lock has passed on");
}
