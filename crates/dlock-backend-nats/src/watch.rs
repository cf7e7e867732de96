//! Watches: told from the copy, as it is brought up to date.

use crate::copy::SharedCopy;
use dlock_store::{Scope, Watch, WatchEvent};
use futures::StreamExt;
use std::future::ready;
use tokio_stream::wrappers::BroadcastStream;

pub(crate) fn watch(copy: &SharedCopy, scope: Scope) -> Watch {
    let changes = BroadcastStream::new(copy.subscribe());
    changes
        // A watch that fell too far behind has missed some.
        .map(|change| change.unwrap_or(WatchEvent::Resync))
        .filter(move |event| {
            ready(match event {
                WatchEvent::Changed { key, .. } => scope.contains(key),
                WatchEvent::Resync | WatchEvent::WentBack => true,
            })
        })
        .boxed()
}
