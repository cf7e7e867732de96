//! Two transactions at a time: one waits for the other's end, and is judged by what that one left.

use crate::database::{Database, LEVELS, WAYS, Way, access, begin};
use tokio_postgres::IsolationLevel;

/// The outcomes of the first transaction.
#[derive(Clone, Copy, Debug)]
enum End {
    Commit,
    Rollback,
}

/// One token's transaction is open when the other's comes, which waits for it: what the second then reads or writes.
async fn second_after(
    database: &Database,
    (way, level): (Way, IsolationLevel),
    first: (i64, Option<&str>),
    end: End,
    second: (i64, Option<&'static str>),
) -> Option<String> {
    let mut client = database.client().await;
    let open = begin(&mut client, level).await;
    way.access(&open, first.0, first.1).await.unwrap().expect("not stale");
    let mut other = database.client().await;
    let waiting = tokio::spawn(async move { access(&mut other, level, way, second.0, second.1).await });
    database.wait_until_one_is_blocked().await;
    match end {
        End::Commit => open.commit().await.unwrap(),
        End::Rollback => open.rollback().await.unwrap(),
    }
    waiting.await.unwrap()
}

fn all() -> impl Iterator<Item = (Way, IsolationLevel)> {
    WAYS.into_iter().flat_map(|way| LEVELS.map(|level| (way, level)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_token_that_waited_for_the_newer_is_refused() {
    let database = Database::start().await;
    for how in all() {
        for newer in [(2, None), (2, Some("newer"))] {
            database.reset().await;
            let late = second_after(&database, how, newer, End::Commit, (1, Some("late"))).await;
            assert_eq!(late, None, "{how:?}, on a resource without a token");
            let late = second_after(&database, how, (3, newer.1), End::Commit, (2, Some("late"))).await;
            assert_eq!(late, None, "{how:?}, on one with a token");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_token_that_waited_for_the_older_reads_what_that_one_wrote() {
    let database = Database::start().await;
    for how in all() {
        database.reset().await;
        let read = second_after(&database, how, (1, Some("first")), End::Commit, (2, None)).await;
        assert_eq!(read.as_deref(), Some("first"), "{how:?}, on a resource without a token");
        let read = second_after(&database, how, (2, Some("second")), End::Commit, (3, None)).await;
        assert_eq!(read.as_deref(), Some("second"), "{how:?}, on one with a token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_token_passes_when_the_newer_is_rolled_back() {
    let database = Database::start().await;
    for how in all() {
        database.reset().await;
        let written = second_after(&database, how, (2, Some("no")), End::Rollback, (1, Some("yes"))).await;
        assert_eq!(written.as_deref(), Some("yes"), "{how:?}");
    }
}
