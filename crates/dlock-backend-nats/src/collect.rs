//! Collects deletions that nobody can have in mind any more.

use crate::client::Connected;
use crate::copy::{OldDeletions, SharedCopy};
use dlock_store::StoreError;
use std::sync::Arc;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(600);
/// So many intervals, of which the first may be short: no write is under way for an hour after it was decided.
const AGE: u64 = 7;

/// Collects until the task is aborted.
pub(crate) async fn run(connected: Connected, copy: Arc<SharedCopy>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if let Some(old) = copy.begin_round(AGE)
            && let Err(error) = collect(&connected, &old).await
        {
            tracing::debug!(%error, "old deletions were not collected: another server may have been quicker");
        }
    }
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
