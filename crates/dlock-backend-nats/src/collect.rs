//! Collects deletions that nobody can have in mind any more.

use crate::client::Connected;
use crate::copy::SharedCopy;
use dlock_store::StoreError;
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(600);
/// So many intervals, of which the first may be short: no write is under way for an hour after it was decided.
const AGE: u64 = 7;

/// How many purges are under way at a time.
const PURGES_MAX: usize = 16;

/// Collects until the task is aborted.
pub(crate) async fn run(connected: Connected, copy: Arc<SharedCopy>) {
    let mut rounds = tokio::time::interval(INTERVAL);
    rounds.reset();
    loop {
        rounds.tick().await;
        if let Err(error) = collect(&connected, &copy).await {
            tracing::debug!(%error, "old deletions were not collected: another server may have been quicker");
        }
    }
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
    let stream =
        connected.context.get_stream(&connected.stream).await.map_err(|error| unavailable(&error))?;
    let purges = old.deletions.into_iter().map(async |(key, sequence)| {
        // Up to it and not beyond: a record that was written meanwhile stays.
        let purge = stream.purge().sequence(sequence + 1).filter(connected.subjects.record(&key));
        let purged = purge.await;
        copy.thrown_away(&key, sequence, purged.is_ok());
        purged.map(drop).map_err(|error| unavailable(&error))
    });
    let outcomes: Vec<_> = futures::stream::iter(purges).buffer_unordered(PURGES_MAX).collect().await;
    outcomes.into_iter().collect()
}

fn unavailable(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable { reason: error.to_string() }
}
