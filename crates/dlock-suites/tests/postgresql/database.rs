//! A database with an order that a lock protects, and the two ways of checking tokens.

use dlock_test_stores::PostgresServer;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, IsolationLevel, NoTls, Transaction};

/// A table of its own for the highest tokens.
const FUNCTION: &str = include_str!("../../../../docs/fencing/postgresql.sql");
/// A column beside the data.
const COLUMN: &str = include_str!("../../../../docs/fencing/postgresql-column.sql");
/// What the function says of a stale token.
const STALE: &str = "LK001";
const ORDER: i64 = 42;

pub(crate) const LEVELS: [IsolationLevel; 3] =
    [IsolationLevel::ReadCommitted, IsolationLevel::RepeatableRead, IsolationLevel::Serializable];

/// How tokens are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Function,
    Column,
    /// For comparison.
    NotAtAll,
}

pub(crate) const WAYS: [Way; 2] = [Way::Function, Way::Column];

impl Way {
    /// Reads the order's status under a token, or replaces it; `None` if the token is stale.
    pub(crate) async fn access(
        self,
        transaction: &Transaction<'_>,
        token: i64,
        new: Option<&str>,
    ) -> Result<Option<String>, Error> {
        match self {
            Way::Function => {
                let fence = transaction.query("SELECT dlock_fence('orders/42', $1)", &[&token]).await;
                match fence {
                    Err(error) if error.code().is_some_and(|code| code.code() == STALE) => return Ok(None),
                    fence => drop(fence?),
                }
                access_unchecked(transaction, new).await
            }
            Way::Column => {
                let [_, read, write] = statements();
                let rows = match new {
                    None => transaction.query(&read, &[&ORDER, &token]).await?,
                    Some(new) => transaction.query(&write, &[&ORDER, &token, &new]).await?,
                };
                Ok(rows.first().map(|row| row.get(0)))
            }
            Way::NotAtAll => access_unchecked(transaction, new).await,
        }
    }
}

async fn access_unchecked(transaction: &Transaction<'_>, new: Option<&str>) -> Result<Option<String>, Error> {
    let rows = match new {
        None => transaction.query("SELECT status FROM orders WHERE id = $1", &[&ORDER]).await?,
        Some(new) => {
            let update = "UPDATE orders SET status = $2 WHERE id = $1 RETURNING status";
            transaction.query(update, &[&ORDER, &new]).await?
        }
    };
    Ok(rows.first().map(|row| row.get(0)))
}

/// Those of the column's file.
fn statements() -> [String; 3] {
    let lines = COLUMN.lines().filter(|line| !line.starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let statements: Vec<String> = text
        .split(';')
        .map(|statement| statement.trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect();
    statements.try_into().expect("three statements")
}

/// A server with the order's database.
pub(crate) struct Database {
    server: PostgresServer,
}

impl Database {
    pub(crate) async fn start() -> Database {
        let database = Database { server: PostgresServer::start() };
        database.reset().await;
        database
    }

    /// An order without a history, and no token seen.
    pub(crate) async fn reset(&self) {
        let client = self.client().await;
        client.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
        client
            .batch_execute("CREATE TABLE orders (id bigint PRIMARY KEY, status text NOT NULL)")
            .await
            .unwrap();
        client.execute("INSERT INTO orders VALUES ($1, '')", &[&ORDER]).await.unwrap();
        client.batch_execute(FUNCTION).await.unwrap();
        client.batch_execute(&statements()[0]).await.unwrap();
    }

    /// A connection of its own.
    pub(crate) async fn client(&self) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.server.parameters(), NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client
    }

    /// Waits until somebody waits for another's row.
    pub(crate) async fn wait_until_one_is_blocked(&self) {
        let client = self.client().await;
        let blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        while client.query_one(blocked, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

/// One access in a transaction of its own, again as long as it could not be serialized.
pub(crate) async fn access(
    client: &mut Client,
    level: IsolationLevel,
    way: Way,
    token: i64,
    new: Option<&str>,
) -> Option<String> {
    loop {
        let attempt = async {
            let transaction = begin(client, level).await;
            let done = way.access(&transaction, token, new).await?;
            if done.is_some() {
                transaction.commit().await?;
            }
            Ok::<_, Error>(done)
        };
        match attempt.await {
            Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {}
            done => return done.unwrap(),
        }
    }
}

pub(crate) async fn begin(client: &mut Client, level: IsolationLevel) -> Transaction<'_> {
    client.build_transaction().isolation_level(level).start().await.unwrap()
}
