//! Collects deletions that nobody can have in mind any more.

use crate::client::Connected;
use crate::copy::SharedCopy;
use async_nats::jetstream::stream::Stream;
use dlock_store::{Key, StoreError};
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(600);
/// So many intervals, of which the first may be short: no write is under way for an hour after it was decided.
const AGE: u64 = 7;

/// How long replaced messages are kept, at least: a write is known to count, or given up, long before.
const REPLACED_AGE: Duration = Duration::from_secs(30);
/// How many purges are under way at a time.
const PURGES_MAX: usize = 16;

/// Collects until the task is aborted.
pub(crate) async fn run(connected: Connected, copy: Arc<SharedCopy>) {
    let mut rounds = tokio::time::interval(INTERVAL);
    let mut replaced = tokio::time::interval(REPLACED_AGE);
    rounds.reset();
    loop {
        tokio::select! {
            _ = rounds.tick() => {
                if let Err(error) = collect(&connected, &copy).await {
                    tracing::debug!(%error, "old deletions were not collected: another server may have been quicker");
                }
            }
            _ = replaced.tick() => {
                if let Err(error) = throw_away(&connected, copy.outdated()).await {
                    tracing::warn!(%error, "replaced messages were not thrown away, and take room until their records are \
                                            written again");
                }
            }
        }
    }
}

/// Throws away the messages before these.
async fn throw_away(connected: &Connected, outdated: Vec<(Key, u64)>) -> Result<(), StoreError> {
    if outdated.is_empty() {
        return Ok(());
    }
    let stream = stream(connected).await?;
    let purges = outdated.into_iter().map(|(key, sequence)| purge(connected, &stream, key, sequence));
    futures::stream::iter(purges).buffer_unordered(PURGES_MAX).try_collect().await
}

/// First the marker, which makes all copies forget them, then the messages. Those that stay are for the next round, and for
/// whoever writes the record.
async fn collect(connected: &Connected, copy: &SharedCopy) -> Result<(), StoreError> {
    let old = copy.begin_round(AGE);
    if let Some((marker, previous)) = old.marker {
        let sent =
            connected.publish_expecting(connected.subjects.marker(), previous, marker.encode()).await?;
        sent.await.map_err(|error| unavailable(&error))?;
    }
    if old.deletions.is_empty() {
        return Ok(());
    }
    let stream = stream(connected).await?;
    let purges = old.deletions.into_iter().map(async |(key, sequence)| {
        // Up to it and not beyond: a record that was written meanwhile stays.
        let purged = purge(connected, &stream, key.clone(), sequence + 1).await;
        copy.thrown_away(&key, sequence, purged.is_ok());
        purged
    });
    let outcomes: Vec<_> = futures::stream::iter(purges).buffer_unordered(PURGES_MAX).collect().await;
    outcomes.into_iter().collect()
}

async fn stream(connected: &Connected) -> Result<Stream, StoreError> {
    connected.context.get_stream(&connected.stream).await.map_err(|error| unavailable(&error))
}

/// Throws away a record's messages before this sequence.
async fn purge(connected: &Connected, stream: &Stream, key: Key, sequence: u64) -> Result<(), StoreError> {
    let purge = stream.purge().sequence(sequence).filter(connected.subjects.record(&key));
    purge.await.map(drop).map_err(|error| unavailable(&error))
}

fn unavailable(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable { reason: error.to_string() }
}
