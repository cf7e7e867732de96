//! Compaction of the history, where etcd is not told to do it by itself.
//!
//! Every commit leaves a revision in etcd, which dlock never reads again. It concerns the whole cluster, so that dlock
//! does it without being asked only where nobody else has keys.

use crate::config::{CompactionConfig, CompactionMode};
use crate::endpoints::Endpoints;
use crate::error::{Failure, OpenError};
use crate::layout::Layout;
use etcd_client::{Client, GetOptions};
use std::sync::Arc;
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

pub(crate) fn check(config: &CompactionConfig) -> Result<(), OpenError> {
    let retention = config.retention();
    if retention < RETENTION_MIN {
        let value = format!("{retention:?}");
        return Err(OpenError::setting("compaction.retention", value, "keep at least 10s"));
    }
    Ok(())
}

/// Starts the task, unless it is not wanted or not allowed; `shared` says whether others have keys in the cluster.
pub(crate) fn start(
    config: &CompactionConfig,
    shared: bool,
    endpoints: Arc<Endpoints>,
    layout: Layout,
) -> Option<Compaction> {
    let only_if_alone = match config.mode {
        CompactionMode::Off => return None,
        CompactionMode::Auto if shared => return None,
        CompactionMode::Auto => true,
        CompactionMode::On => false,
    };
    let run = run(endpoints, layout, config.retention(), only_if_alone);
    Some(Compaction(tokio::spawn(run).abort_handle()))
}

/// Whether others have keys in the cluster; also where this user may not look at them.
pub(crate) async fn is_shared(endpoints: &Endpoints, layout: &Layout) -> Result<bool, Failure> {
    for (from, to) in layout.foreign_ranges() {
        match crate::has_keys(endpoints, from, to).await {
            Ok(false) => {}
            Ok(true) => return Ok(true),
            Err(failure) if failure.is_certain() && !failure.elsewhere => return Ok(true),
            Err(failure) => return Err(failure),
        }
    }
    Ok(false)
}

/// Each time the retention has passed, compacts to where the store was when it began.
async fn run(endpoints: Arc<Endpoints>, layout: Layout, retention: Duration, only_if_alone: bool) {
    let mut before = None;
    loop {
        match compact(&endpoints, &layout, before, only_if_alone).await {
            Ok(now) => before = Some(now),
            Err(failure) => {
                tracing::warn!(reason = failure.reason, "etcd's history is not compacted");
                before = None;
            }
        }
        tokio::time::sleep(retention).await;
    }
}

/// Compacts to a revision; returns the present one.
async fn compact(
    endpoints: &Endpoints,
    layout: &Layout,
    to: Option<i64>,
    only_if_alone: bool,
) -> Result<i64, Failure> {
    let answer = crate::get(endpoints, b"\0".to_vec(), GetOptions::new()).await?;
    let now = answer.header().map_or(0, |header| header.revision());
    let Some(revision) = to else { return Ok(now) };
    if only_if_alone && is_shared(endpoints, layout).await? {
        tracing::warn!(
            "etcd's history is not compacted any more: others use this etcd, too; have it compacted \
             (etcd's --auto-compaction-retention), or set etcd.compaction.mode to \"on\""
        );
        return Ok(now);
    }
    // To compact twice changes nothing, so that this may be sent again.
    let compact = |client: Client| async move { crate::kv(&client).compact(revision, None).await };
    match endpoints.read(compact).await {
        // Another server was quicker.
        Err(failure) if failure.reason.contains("compacted") => Ok(now),
        Err(failure) => Err(failure),
        Ok(_) => {
            tracing::debug!(revision, "etcd's history is compacted");
            Ok(now)
        }
    }
}
