//! Nodes, handles onto a quorum of them, and short words for its calls.

use dlock_backend_redis::{OpenError, QuorumStore, RedisConfig, Settings};
use dlock_store::Store;
pub(crate) use dlock_store::conformance::calls::*;
use dlock_test_stores::RedisQuorum;
use std::time::Duration;

/// The settings of a quorum of these nodes.
pub(crate) fn settings(addresses: &[String], timeout: &str) -> Settings {
    let config = RedisConfig {
        mode: Some("quorum".to_owned()),
        addrs: Some(addresses.to_vec()),
        timeout: Some(timeout.to_owned()),
        ..RedisConfig::default()
    };
    Settings::try_from(&config).unwrap()
}

pub(crate) async fn try_open(quorum: &RedisQuorum) -> Result<QuorumStore, OpenError> {
    QuorumStore::open(&settings(&quorum.addresses(), "2s")).await
}

pub(crate) async fn open(quorum: &RedisQuorum) -> QuorumStore {
    try_open(quorum).await.unwrap()
}

/// The codes of what is wrong, in order.
pub(crate) async fn codes(store: &QuorumStore) -> Vec<&'static str> {
    let mut codes: Vec<_> = store.health().await.iter().map(|condition| condition.code).collect();
    codes.sort_unstable();
    codes
}

/// Waits until these are the codes of what is wrong.
pub(crate) async fn until_codes(store: &QuorumStore, wanted: &[&str]) {
    for _ in 0..600 {
        if codes(store).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("after half a minute: {:?}, not {wanted:?}", store.health().await);
}
