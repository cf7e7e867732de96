//! What is said when the store can't be opened.

use super::*;
use async_nats::jetstream::{self, stream};
use dlock_backend_nats::OpenError;
use dlock_test_stores::{NatsServer, Port};

async fn refusal(config: &NatsConfig) -> String {
    NatsStore::connect(config).await.expect_err("the bucket must not be opened").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_the_endpoints_is_said_with_what_was_tried() {
    let port = Port::reserve();
    let error = refusal(&config(&format!("nats://{}", port.address()))).await;
    assert!(error.contains(&port.address()) && error.contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_can_not_be_are_named() {
    let nats = NatsServer::start();
    let right = config(&nats.url());
    let wrong = |change: fn(&mut NatsConfig)| {
        let mut config = right.clone();
        change(&mut config);
        config
    };
    let dots = wrong(|config| config.bucket = Some("locks.one".to_owned()));
    assert_eq!(refusal(&dots).await, "jetstream.bucket = \"locks.one\": use letters, digits, - and _");
    let nobody = NatsConfig::default();
    assert!(refusal(&nobody).await.contains("jetstream.endpoint"));
    let both = wrong(|config| {
        config.user = Some("dlock".to_owned());
        config.token = Some(dlock_backend_nats::Secret::from("secret"));
    });
    assert!(refusal(&both).await.contains("keep one of them"));
    let alone = wrong(|config| config.user = Some("dlock".to_owned()));
    assert!(refusal(&alone).await.contains("password_file"));
    let file = wrong(|config| config.credentials_file = Some("/nowhere/dlock.creds".into()));
    let error = refusal(&file).await;
    assert!(error.contains("jetstream.credentials_file") && error.contains("/nowhere"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_jetstream_is_refused() {
    let nats = NatsServer::start_without_jetstream();
    let error = refusal(&config(&nats.url())).await;
    assert!(error.contains("JetStream"), "{error}");
}

/// Records that expire, or are thrown away to make room, are locks that two have. A server that keeps several messages of a record
/// is slow, and so is one that keeps one if there are several.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_forgets_or_is_slow_is_refused() {
    let nats = NatsServer::start();
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let like = |name: &str| stream::Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        discard: stream::DiscardPolicy::New,
        ..stream::Config::default()
    };
    let expires = stream::Config { max_age: Duration::from_secs(3600), ..like("expires") };
    let lossy = stream::Config { max_bytes: 1 << 20, discard: stream::DiscardPolicy::Old, ..like("lossy") };
    let long = stream::Config { max_messages_per_subject: 64, ..like("long") };
    for (bucket, stream, what) in
        [("expires", expires, "maximum age"), ("lossy", lossy, "discard policy"), ("long", long, "history")]
    {
        context.create_stream(stream).await.unwrap();
        let config = NatsConfig { bucket: Some(bucket.to_owned()), ..config(&nats.url()) };
        let error = NatsStore::connect(&config).await.err();
        assert!(matches!(error, Some(OpenError::Bucket { .. })), "{bucket}: {error:?}");
        let error = error.unwrap().to_string();
        assert!(error.contains(what) && error.contains("jetstream.bucket"), "{error}");
    }
    let replicated = NatsConfig { replicas: Some(3), ..config(&nats.url()) };
    let error = refusal(&replicated).await;
    assert!(error.contains("replicas"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_buckets_are_two_stores() {
    let nats = NatsServer::start();
    let of = async |bucket: &str| {
        let config = NatsConfig { bucket: Some(bucket.to_owned()), ..config(&nats.url()) };
        NatsStore::connect(&config).await.unwrap()
    };
    let (one, two) = (of("one").await, of("two").await);
    let version = put_at_last(&one, "a", "value").await;
    assert_eq!(two.get(&key("a")).await.unwrap().value(), None);
    put_at_last(&two, "a", "another").await;
    assert_eq!(one.get(&key("a")).await.unwrap().version, version);
    assert_eq!(one.list("", None, 10).await.unwrap().records.len(), 1);
}
