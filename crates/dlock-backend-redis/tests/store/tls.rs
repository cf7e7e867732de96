//! Encrypted connections.

use crate::world::*;
use dlock_store::{Scope, Store};
use dlock_test_stores::RedisTls;

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_shown_and_checked() {
    let redis = RedisTls::start();
    let [ca, cert, key_file] = redis.files();
    let addr = format!("addr = \"{}\"\ntimeout = \"2s\"\n[tls]\n", redis.address());
    let store = open(&format!("{addr}ca_file = {ca:?}\ncert_file = {cert:?}\nkey_file = {key_file:?}")).await;
    drop(store.watch(Scope::Key(key("a"))).await.unwrap());
    overwrite(&store, "a", "one").await;
    assert_eq!(value(&store, "a").await.as_deref(), Some("one"));
    // The system's authorities know nothing of ours, and the server wants to see our certificate.
    for incomplete in [addr.clone(), format!("{addr}ca_file = {ca:?}")] {
        let refused = try_open(&incomplete).await.unwrap_err().to_string();
        assert!(refused.contains(&redis.address()), "{refused}");
    }
    let missing = try_open(&format!("{addr}ca_file = \"/nowhere.pem\"")).await.unwrap_err().to_string();
    assert!(missing.contains("redis.tls.ca_file") && missing.contains("/nowhere.pem"), "{missing}");
}
