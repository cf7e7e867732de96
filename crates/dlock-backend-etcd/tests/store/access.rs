//! Users, passwords and certificates.

use super::*;
use dlock_backend_etcd::{OpenError, Secret, TlsConfig};
use dlock_store::{Scope, WatchEvent};
use dlock_test_stores::{Authority, EtcdServer, EtcdTls};
use etcd_client::{Client, Permission, PermissionType};
use futures::StreamExt;
use std::time::Duration;

/// Turns authentication on, with a user `dlock` that may do everything below `dlock/` and nothing else.
async fn with_users(etcd: &EtcdServer) {
    let client = Client::connect([etcd.endpoint()], None).await.unwrap();
    let mut auth = client.auth_client();
    auth.user_add("root", "root", None).await.unwrap();
    auth.role_add("root").await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.user_add("dlock", "secret", None).await.unwrap();
    auth.role_add("locks").await.unwrap();
    let below = Permission::new(PermissionType::Readwrite, "dlock/").with_prefix();
    auth.role_grant_permission("locks", below).await.unwrap();
    auth.user_grant_role("dlock", "locks").await.unwrap();
    auth.auth_enable().await.unwrap();
}

fn as_user(etcd: &EtcdServer, user: &str, password: &str) -> EtcdConfig {
    let password = Some(Secret::from(password));
    EtcdConfig { user: Some(user.to_owned()), password, ..config(&[etcd.endpoint()]) }
}

async fn refusal(config: &EtcdConfig) -> String {
    match EtcdStore::connect(config).await {
        Err(error @ OpenError::Refused { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_rights_to_the_prefix_can_do_all_that_dlock_does() {
    let mut etcd = EtcdServer::start();
    with_users(&etcd).await;
    let store = EtcdStore::connect(&as_user(&etcd, "dlock", "secret")).await.unwrap();
    let mut watch = store.watch(Scope::Prefix(String::new())).await.unwrap();
    put_at_last(&store, "a", "before").await;
    assert!(matches!(watch.next().await, Some(WatchEvent::Changed { .. })));
    // A restarted server has forgotten the token.
    etcd.restart();
    let version = put_at_last(&store, "a", "after").await;
    let told = async {
        loop {
            match watch.next().await.unwrap() {
                WatchEvent::Resync | WatchEvent::WentBack => {
                    return put_at_last(&store, "a", "at last").await;
                }
                WatchEvent::Changed { .. } => {}
            }
        }
    };
    assert!(tokio::time::timeout(LOST_AFTER, told).await.unwrap() > version);
    let event = tokio::time::timeout(LOST_AFTER, watch.next()).await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Changed { .. }), "{event:?}");
    assert_eq!(store.health().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_is_told_so_at_the_start() {
    let etcd = EtcdServer::start();
    with_users(&etcd).await;
    let error = refusal(&as_user(&etcd, "dlock", "wrong")).await;
    assert!(error.contains("invalid user ID or password") && error.contains("etcd.password"), "{error}");
    let error = refusal(&config(&[etcd.endpoint()])).await;
    assert!(error.contains("user name is empty") && error.contains("etcd.user"), "{error}");
    let elsewhere = EtcdConfig { prefix: Some("elsewhere/".to_owned()), ..as_user(&etcd, "dlock", "secret") };
    let error = refusal(&elsewhere).await;
    assert!(error.contains("permission denied"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_the_right_is_certainly_not_done() {
    let etcd = EtcdServer::start();
    let before = connect(&[etcd.endpoint()]).await;
    with_users(&etcd).await;
    let refused = commit(&before, put("a", Version(1), "value")).await;
    assert!(
        matches!(&refused, Err(StoreError::Unavailable { reason }) if reason.contains("user name")),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked_on_both_sides() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (cert, key) = authority.certificate("etcd.example.net");
    let etcd = EtcdServer::start_with_tls(EtcdTls { ca: authority.pem(), cert: &cert, key: &key });
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let (cert, key) = authority.certificate("dlock");
    let right = TlsConfig {
        ca_file: file("ca.pem", authority.pem()),
        cert_file: file("cert.pem", &cert),
        key_file: file("key.pem", &key),
        server_name: Some("etcd.example.net".to_owned()),
    };
    let with = |tls: TlsConfig| EtcdConfig {
        tls: Some(tls),
        connect_timeout: Some(Duration::from_secs(2)),
        ..config(&[etcd.endpoint()])
    };
    let store =
        EtcdStore::connect(&EtcdConfig { connect_timeout: None, ..with(right.clone()) }).await.unwrap();
    put_at_last(&store, "a", "value").await;

    let unreachable = async |tls: TlsConfig| match EtcdStore::connect(&with(tls)).await {
        Err(OpenError::Unreachable { why }) => why,
        other => panic!("{other:?}"),
    };
    let foreign = TlsConfig { ca_file: file("other.pem", other.pem()), ..right.clone() };
    let why = unreachable(foreign).await;
    assert!(why.contains("UnknownIssuer") || why.contains("BadSignature"), "{why}");
    let why = unreachable(TlsConfig { server_name: None, ..right.clone() }).await;
    assert!(why.contains("not valid for name"), "{why}");
    unreachable(TlsConfig { cert_file: None, key_file: None, ..right }).await;
}
