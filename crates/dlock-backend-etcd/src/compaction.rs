//! Compaction of the history, where etcd is not told to do it by itself.

use crate::config::EtcdConfig;
use crate::error::OpenError;
use etcd_client::Client;
use std::time::Duration;
use tokio::task::AbortHandle;

const RETENTION_MIN: Duration = Duration::from_secs(10);

/// The task that compacts; it ends with this.
pub(crate) struct Compaction(AbortHandle);

impl Drop for Compaction {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) fn check(config: &EtcdConfig) -> Result<(), OpenError> {
    match &config.compaction {
        Some(compaction) if compaction.retention < RETENTION_MIN => Err(OpenError::Setting {
            field: "compaction.retention",
            value: format!("{:?}", compaction.retention),
            way_out: "keep at least 10s".to_owned(),
        }),
        _ => Ok(()),
    }
}

pub(crate) fn start(config: &EtcdConfig, client: Client) -> Option<Compaction> {
    let retention = config.compaction.as_ref()?.retention;
    Some(Compaction(tokio::spawn(run(client, retention)).abort_handle()))
}

/// Each time the retention has passed, compacts to where the store was when it began.
async fn run(client: Client, retention: Duration) {
    let mut before = None;
    loop {
        let now = match client.kv_client().get("\0", None).await {
            Ok(answer) => answer.header().map(|header| header.revision()),
            Err(error) => {
                tracing::warn!(%error, "etcd's revision can't be read, and so its history is not compacted");
                None
            }
        };
        // Another server may have been quicker: then there is nothing to do.
        if let Some(revision) = before
            && let Err(error) = client.kv_client().compact(revision, None).await
            && !error.to_string().contains("compacted")
        {
            tracing::warn!(%error, "etcd's history was not compacted");
        }
        before = now;
        tokio::time::sleep(retention).await;
    }
}
