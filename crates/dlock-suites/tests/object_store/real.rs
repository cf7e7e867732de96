//! The same over HTTP, with a server that the caller has started: `docs/fencing.md` says how.

use crate::fenced::FencedObject;
use crate::{orders, refusals};
use object_store::{ObjectStore, parse_url_opts};
use std::sync::Arc;

/// Where the objects go, such as `s3://bucket/prefix`; credentials and endpoints are in the variables that the crate
/// `object_store` knows.
const URL: &str = "DLOCK_TEST_OBJECT_STORE";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store's server"]
async fn a_real_store_refuses_late_writers_and_loses_no_update() {
    let url = std::env::var(URL).expect(URL).parse().expect("a URL");
    let options = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let (store, prefix) = parse_url_opts(&url, options).expect("a store");
    let store: Arc<dyn ObjectStore> = store.into();
    let object = |name: &str| FencedObject {
        store: store.clone(),
        path: prefix.clone().join(name).join(rand::random::<u64>().to_string()),
    };
    refusals::are_as_they_should_be(object("refusals")).await;
    for _ in 0..5 {
        orders::of_many_lose_no_update(object("orders")).await;
    }
}
