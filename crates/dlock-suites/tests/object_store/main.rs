//! Tokens checked by an object store's conditional writes, as `docs/fencing.md` shows it.
#![allow(clippy::unwrap_used)] // in what the tests share, too

#[path = "../../../../docs/fencing/object_store.rs"]
#[allow(missing_docs, unreachable_pub)] // users copy it
mod fenced;
mod orders;
mod real;
mod refusals;

use dlock_client::Token;
use fenced::FencedObject;
use object_store::ObjectStore;
use std::sync::Arc;

fn token(counter: u64) -> Token {
    Token::new(0, counter).expect("a small number")
}

fn object(store: Arc<dyn ObjectStore>) -> FencedObject {
    FencedObject { store, path: "orders/42".into() }
}

#[test]
fn the_documentation_shows_what_is_tested() {
    let shown = include_str!("../../../../docs/fencing.md");
    assert!(shown.contains(include_str!("../../../../docs/fencing/object_store.rs")));
}
