//! Watches: wake-ups that come from the moment at which they are established, and say so when some may be missing.

use crate::error;
use crate::layout::{self, Layout};
use dlock_store::{Content, Record, Scope, StoreError, Watch, WatchEvent};
use etcd_client::{Client, Event, EventType, WatchOptions, WatchStream};
use futures::{StreamExt, stream};
use std::collections::VecDeque;
use std::time::Duration;

/// How long to wait before a broken watch is begun anew.
const RETRY: Duration = Duration::from_millis(200);

struct State {
    client: Client,
    layout: Layout,
    scope: Scope,
    /// `None` while it is broken.
    stream: Option<WatchStream>,
    ready: VecDeque<WatchEvent>,
}

pub(crate) async fn watch(client: Client, layout: Layout, scope: Scope) -> Result<Watch, StoreError> {
    let stream = establish(&client, &layout, &scope).await?;
    let state = State { client, layout, scope, stream: Some(stream), ready: VecDeque::new() };
    Ok(stream::unfold(state, |mut state| async move {
        let event = state.next().await;
        Some((event, state))
    })
    .boxed())
}

/// Begins now: a watch from the past is served by a slow loop of etcd's, and what lies between is read anyway.
async fn establish(client: &Client, layout: &Layout, scope: &Scope) -> Result<WatchStream, StoreError> {
    let (key, options) = match scope {
        Scope::Key(key) => (layout.record(key), WatchOptions::new()),
        Scope::Prefix(prefix) => {
            let (from, to) = layout.range(prefix, None);
            (from, WatchOptions::new().with_range(to))
        }
    };
    let mut stream = client.watch_client().watch(key, Some(options)).await.map_err(error::of_read)?;
    loop {
        let answer = stream.message().await.map_err(error::of_read)?;
        match answer {
            Some(answer) if answer.created() && !answer.canceled() => return Ok(stream),
            Some(answer) if !answer.canceled() => {}
            Some(answer) => {
                return Err(StoreError::Unavailable {
                    reason: format!("no watch: {}", answer.cancel_reason()),
                });
            }
            None => return Err(StoreError::Unavailable { reason: "the watch ended at once".to_owned() }),
        }
    }
}

impl State {
    async fn next(&mut self) -> WatchEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            let Some(stream) = &mut self.stream else {
                match establish(&self.client, &self.layout, &self.scope).await {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        return WatchEvent::Resync;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a watch can't be begun anew yet");
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
            };
            match stream.message().await {
                Ok(Some(answer)) if !answer.canceled() => {
                    let events = answer.events().iter().filter_map(|event| changed(&self.layout, event));
                    self.ready.extend(events);
                }
                // Compaction has overtaken it, its server has gone, or has lost the leader.
                ended => {
                    tracing::debug!(?ended, "a watch has ended and is begun anew");
                    self.stream = None;
                }
            }
        }
    }
}

fn changed(layout: &Layout, event: &Event) -> Option<WatchEvent> {
    let found = event.kv()?;
    let key = layout.key_of(found.key()).ok()?;
    let record = match event.event_type() {
        EventType::Put => Some(Record {
            version: layout::present(found.mod_revision()),
            content: Content::Present(found.value().to_vec().into()),
        }),
        // Its floor is in the bucket.
        EventType::Delete => None,
    };
    Some(WatchEvent::Changed { key, record })
}
