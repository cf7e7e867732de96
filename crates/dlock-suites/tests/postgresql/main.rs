//! Tokens checked by a real PostgreSQL, with the SQL that `docs/fencing.md` shows.
#![allow(clippy::unwrap_used)] // in what the tests share, too

mod database;
mod races;
mod refusals;
mod transactions;

#[test]
fn the_documentation_shows_what_is_tested() {
    let shown = include_str!("../../../../docs/fencing.md");
    assert!(shown.contains(include_str!("../../../../docs/fencing/postgresql.sql")));
    assert!(shown.contains(include_str!("../../../../docs/fencing/postgresql-column.sql")));
}
