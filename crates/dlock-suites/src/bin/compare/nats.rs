//! NATS without dlock.

use crate::drive::{self, Held, Locker, Measured};
use crate::locks::CONNECTIONS;
use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{self, Context, stream};
use async_trait::async_trait;
use dlock_runtime::{BootClock, Clock};
use futures::StreamExt;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;

async fn connect(address: &str, bucket: &str) -> Vec<Context> {
    let mut contexts = Vec::new();
    for _ in 0..CONNECTIONS {
        contexts.push(jetstream::new(async_nats::connect(address).await.expect("a connection")));
    }
    let config = stream::Config {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        ..stream::Config::default()
    };
    contexts[0].get_or_create_stream(config).await.expect("a bucket");
    contexts
}

/// Publishes if the subject's last sequence is the expected one; the new one, or `None` if it is not.
async fn publish(context: &Context, subject: String, expected: u64, size: usize) -> Option<u64> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    let sent =
        context.publish_with_headers(subject, headers, vec![7; size].into()).await.expect("a publication");
    match sent.await {
        Ok(acknowledged) => Some(acknowledged.sequence),
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => None,
        Err(error) => panic!("{error}"),
    }
}

type Sequences = Arc<Mutex<HashMap<String, u64>>>;

/// Two publications that expect the last sequence.
pub(crate) struct Raw(Vec<Context>, Sequences);

impl Raw {
    pub(crate) async fn connect(address: &str) -> Raw {
        Raw(connect(address, "raw").await, Sequences::default())
    }
}

#[async_trait]
impl Locker for Raw {
    async fn acquire(&self, client: usize, name: &str) -> Held {
        let (context, sequences) = (self.0[client % self.0.len()].clone(), self.1.clone());
        let subject = format!("$KV.raw.{name}");
        let last = sequences.lock().get(&subject).copied().unwrap_or(0);
        let first = publish(&context, subject.clone(), last, 200).await.expect("nobody else writes it");
        Box::pin(async move {
            let second = publish(&context, subject.clone(), first, 200).await.expect("nobody else writes it");
            sequences.lock().insert(subject, second);
        })
    }
}

/// Creates a key if it isn't there, and deletes it.
pub(crate) struct Recipe(Vec<Context>, Sequences);

impl Recipe {
    pub(crate) async fn connect(address: &str) -> Recipe {
        Recipe(connect(address, "recipe").await, Sequences::default())
    }
}

#[async_trait]
impl Locker for Recipe {
    async fn acquire(&self, client: usize, name: &str) -> Held {
        let (context, sequences) = (self.0[client % self.0.len()].clone(), self.1.clone());
        let subject = format!("$KV.recipe.{name}");
        let created = loop {
            // The sequence of the deletion, which a client of the bucket would have read.
            let last = sequences.lock().get(&subject).copied().unwrap_or(0);
            if let Some(created) = publish(&context, subject.clone(), last, 20).await {
                break created;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        Box::pin(async move {
            let deleted = publish(&context, subject.clone(), created, 0).await.expect("it is ours");
            sequences.lock().insert(subject, deleted);
        })
    }
}

/// From a commit to the message of its subject at a subscriber of another connection.
pub(crate) async fn told(address: &str, turns: usize) -> Measured {
    let contexts = connect(address, "told").await;
    let client = async_nats::connect(address).await.expect("a connection");
    let subject = "$KV.told.one".to_owned();
    let subscriber = client.subscribe(subject.clone()).await.expect("a subscription");
    client.flush().await.expect("a connection");
    let turn = AsyncMutex::new((0, subscriber));
    drive::time(turns, || async {
        let mut turn = turn.lock().await;
        let begun = BootClock.now();
        turn.0 = publish(&contexts[0], subject.clone(), turn.0, 200).await.expect("nobody else writes it");
        turn.1.next().await.expect("a message");
        BootClock.now().since(begun)
    })
    .await
}
