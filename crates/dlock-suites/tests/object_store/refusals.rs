//! Who is refused, step by step.

use crate::fenced::{AccessError, FencedObject};
use crate::{object, token};
use dlock_client::{StaleToken, Token};
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutPayload};
use std::sync::Arc;

fn assert_stale<T: std::fmt::Debug>(result: Result<T, AccessError>, highest: Token) {
    match result {
        Err(AccessError::Stale(StaleToken { highest: seen, .. })) => assert_eq!(seen, highest),
        other => panic!("{other:?}"),
    }
}

/// All of it, with whatever store.
pub(crate) async fn are_as_they_should_be(object: FencedObject) {
    assert_eq!(object.read(token(1)).await.unwrap(), "");
    object.write(token(1), "first".into()).await.unwrap();
    object.write(token(1), "second".into()).await.unwrap();
    assert_eq!(object.read(token(1)).await.unwrap(), "second");
    // The next holder has read, and not written yet.
    assert_eq!(object.read(token(5)).await.unwrap(), "second");
    assert_stale(object.write(token(1), "late".into()).await, token(5));
    assert_stale(object.read(token(4)).await, token(5));
    assert_eq!(object.read(token(5)).await.unwrap(), "second");
    // One that writes without reading.
    object.write(token(6), "third".into()).await.unwrap();
    assert_stale(object.write(token(5), "late".into()).await, token(6));
    assert_eq!(object.read(token(6)).await.unwrap(), "third");
}

#[tokio::test]
async fn of_late_accesses() {
    are_as_they_should_be(object(Arc::new(InMemory::new()))).await;
}

#[tokio::test]
async fn of_an_object_that_has_no_token() {
    let object = object(Arc::new(InMemory::new()));
    object.store.put(&object.path, PutPayload::from_static(b"short")).await.unwrap();
    assert!(matches!(object.write(token(1), "new".into()).await, Err(AccessError::NoToken(_))));
    object.store.put(&object.path, PutPayload::from_static(&[0xff; 9])).await.unwrap();
    assert!(matches!(object.read(token(1)).await, Err(AccessError::NoToken(_))));
}
