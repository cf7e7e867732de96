//! Users, passwords, tokens, keys and certificates.

use super::*;
use crate::users::operated;
use dlock_backend_nats::{Secret, TlsConfig};
use dlock_test_stores::{Authority, NatsServer};
use nkeys::KeyPair;
use std::path::PathBuf;
use tempfile::TempDir;

struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn with(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

async fn works(config: &NatsConfig) {
    let store = NatsStore::connect(config).await.unwrap();
    put_at_last(&store, "a", "value").await;
    assert_eq!(store.health().await, []);
}

async fn refusal(config: &NatsConfig) -> String {
    NatsStore::connect(config).await.expect_err("this must not be let in").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_known_by_the_password_also_of_a_file_and_after_a_restart() {
    let mut nats = NatsServer::start_with(&["--user", "dlock", "--pass", "secret"]);
    let (files, right) = (Files::new(), NatsConfig { user: Some("dlock".to_owned()), ..config(&nats.url()) });
    let with = |password: &str| NatsConfig { password: Some(Secret::from(password)), ..right.clone() };
    works(&with("secret")).await;
    let file = files.with("password", "secret\n");
    let store = NatsStore::connect(&NatsConfig { password_file: Some(file), ..right.clone() }).await.unwrap();
    let version = put_at_last(&store, "a", "before").await;
    nats.restart();
    assert!(put_at_last(&store, "a", "after").await > version);
    for wrong in [with("wrong"), config(&nats.url())] {
        let error = refusal(&wrong).await;
        assert!(error.to_lowercase().contains("authorization violation"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_lets_in() {
    let nats = NatsServer::start_with(&["--auth", "a-token"]);
    let with = |token: &str| NatsConfig { token: Some(Secret::from(token)), ..config(&nats.url()) };
    works(&with("a-token")).await;
    let error = refusal(&with("another")).await;
    assert!(error.to_lowercase().contains("authorization violation"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_known_by_its_nkey() {
    let (files, user) = (Files::new(), KeyPair::new_user());
    let public = user.public_key();
    let configuration =
        files.with("nats.conf", &format!("authorization {{ users = [ {{ nkey: {public} }} ] }}\n"));
    let nats = NatsServer::start_with(&["--config", configuration.to_str().unwrap()]);
    let with = |name: &str, user: &KeyPair| {
        let seed = files.with(name, &format!("{}\n", user.seed().unwrap()));
        NatsConfig { nkey_seed_file: Some(seed), ..config(&nats.url()) }
    };
    works(&with("seed", &user)).await;
    let error = refusal(&with("another", &KeyPair::new_user())).await;
    assert!(error.to_lowercase().contains("authorization violation"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_known_by_its_credentials() {
    let (files, operated) = (Files::new(), operated());
    let configuration = files.with("nats.conf", &operated.configuration);
    let nats = NatsServer::start_with(&["--config", configuration.to_str().unwrap()]);
    let with = |name: &str, credentials: &str| {
        let file = files.with(name, credentials);
        NatsConfig { credentials_file: Some(file), ..config(&nats.url()) }
    };
    works(&with("right.creds", &operated.credentials)).await;
    let foreign = self::operated().credentials;
    let error = refusal(&with("foreign.creds", &foreign)).await;
    assert!(error.to_lowercase().contains("authorization violation"), "{error}");
    let error = refusal(&with("none.creds", "nothing of the kind")).await;
    assert!(error.contains("jetstream.credentials_file"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked_on_both_sides() {
    let (authority, other, files) = (Authority::new(), Authority::new(), Files::new());
    let (cert, key) = authority.certificate("127.0.0.1");
    let (ca, cert, key) = (
        files.with("ca.pem", authority.pem()),
        files.with("server.pem", &cert),
        files.with("server.key", &key),
    );
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (ca_option, cert, key) = (path(&ca), path(&cert), path(&key));
    let nats = NatsServer::start_with(&[
        "--tls",
        "--tlsverify",
        "--tlscacert",
        &ca_option,
        "--tlscert",
        &cert,
        "--tlskey",
        &key,
    ]);
    let (cert, key) = authority.certificate("dlock");
    let right = TlsConfig {
        ca_file: Some(ca),
        cert_file: Some(files.with("client.pem", &cert)),
        key_file: Some(files.with("client.key", &key)),
    };
    let with = |tls: TlsConfig| NatsConfig {
        tls: Some(tls),
        connect_timeout: Some(Duration::from_secs(3)),
        ..config(&nats.url())
    };
    works(&NatsConfig { connect_timeout: None, ..with(right.clone()) }).await;
    let foreign = TlsConfig { ca_file: Some(files.with("other.pem", other.pem())), ..right.clone() };
    let error = refusal(&with(foreign)).await;
    assert!(error.contains("UnknownIssuer") || error.contains("BadSignature"), "{error}");
    refusal(&with(TlsConfig { cert_file: None, key_file: None, ..right.clone() })).await;
    let error = refusal(&with(TlsConfig { key_file: None, ..right })).await;
    assert!(error.contains("jetstream.tls") && error.contains("give both cert_file and key_file"), "{error}");
}
