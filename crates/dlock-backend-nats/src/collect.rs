//! Collects deletions that nobody can have in mind any more.

use crate::client::Connected;
use crate::copy::{OldDeletions, SharedCopy};
use dlock_store::{Key, StoreError};
use futures::{StreamExt, TryStreamExt};
use std::collections::HashMap;
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
                if let Some(old) = copy.begin_round(AGE)
                    && let Err(error) = collect(&connected, &old).await
                {
                    tracing::debug!(%error, "old deletions were not collected: another server may have been quicker");
                }
            }
            _ = replaced.tick(), if connected.keeps_history() => {
                if let Err(error) = throw_away(&connected, copy.replaced()).await {
                    tracing::warn!(%error, "replaced messages were not thrown away, and take room until their records are \
                                            written again");
                }
            }
        }
    }
}

/// Throws away the messages before these.
async fn throw_away(connected: &Connected, replaced: HashMap<Key, u64>) -> Result<(), StoreError> {
    if replaced.is_empty() {
        return Ok(());
    }
    let unavailable = |error: String| StoreError::Unavailable { reason: error };
    let stream = connected
        .context
        .get_stream(&connected.stream)
        .await
        .map_err(|error| unavailable(error.to_string()))?;
    let purges = replaced.into_iter().map(|(key, sequence)| {
        let purge = stream.purge().sequence(sequence).filter(connected.subjects.record(&key));
        async move { purge.await.map(drop).map_err(|error| unavailable(error.to_string())) }
    });
    futures::stream::iter(purges).buffer_unordered(PURGES_MAX).try_collect().await
}

/// First the marker, which makes all copies forget them, then the messages.
async fn collect(connected: &Connected, old: &OldDeletions) -> Result<(), StoreError> {
    let unavailable = |error: String| StoreError::Unavailable { reason: error };
    let sent =
        connected.publish_expecting(connected.subjects.marker(), old.previous, old.marker.encode()).await?;
    sent.await.map_err(|error| unavailable(error.to_string()))?;
    let stream = connected
        .context
        .get_stream(&connected.stream)
        .await
        .map_err(|error| unavailable(error.to_string()))?;
    for (key, sequence) in &old.deletions {
        // Up to it and not beyond: a record that was written meanwhile stays.
        let purge = stream.purge().sequence(sequence + 1).filter(connected.subjects.record(key));
        purge.await.map_err(|error| unavailable(error.to_string()))?;
    }
    Ok(())
}
