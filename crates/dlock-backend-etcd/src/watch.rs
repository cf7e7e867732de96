//! Watches: wake-ups that come from the moment at which they are established, and say so when some may be missing.

use crate::endpoints::{Endpoints, REQUEST_TIMEOUT};
use crate::error::{Failure, Kind};
use crate::layout::{self, Layout};
use dlock_store::{Content, Record, Scope, StoreError, Watch, WatchEvent};
use etcd_client::{Client, Error, Event, EventType, WatchOptions, WatchResponse, WatchStream};
use futures::{StreamExt, stream};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long to wait before a broken watch is begun anew.
const RETRY: Duration = Duration::from_millis(200);
/// After so long without news the member is asked how far it is; after as long again without an answer it is left.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);
/// The longest answer that is taken. etcd divides those that are longer than its own limit for requests.
const ANSWER_BYTES_MAX: usize = 64 << 20;

struct State {
    endpoints: Arc<Endpoints>,
    layout: Layout,
    scope: Scope,
    /// `None` while it is broken.
    established: Option<Established>,
    ready: VecDeque<WatchEvent>,
}

struct Established {
    /// The member that serves it.
    member: usize,
    stream: WatchStream,
    /// Whether the member has been asked how far it is, and has not answered.
    asked: bool,
}

pub(crate) async fn watch(
    endpoints: Arc<Endpoints>,
    layout: Layout,
    scope: Scope,
) -> Result<Watch, StoreError> {
    let established = establish(&endpoints, &layout, &scope).await.map_err(Failure::of_read)?;
    let state = State { endpoints, layout, scope, established: Some(established), ready: VecDeque::new() };
    Ok(stream::unfold(state, |mut state| async move {
        let event = state.next().await;
        Some((event, state))
    })
    .boxed())
}

async fn establish(endpoints: &Endpoints, layout: &Layout, scope: &Scope) -> Result<Established, Failure> {
    let (member, client) = endpoints.current_client().await?;
    let failure = match timeout(REQUEST_TIMEOUT, create(&client, layout, scope)).await {
        Ok(Ok(stream)) => return Ok(Established { member, stream, asked: false }),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::late(REQUEST_TIMEOUT),
    };
    if failure.elsewhere {
        endpoints.leave(member, &failure);
    }
    Err(failure)
}

/// Begins now: a watch from the past is served by a slow loop of etcd's, and what lies between is read anyway.
async fn create(client: &Client, layout: &Layout, scope: &Scope) -> Result<WatchStream, Failure> {
    let options = WatchOptions::new().with_fragment();
    let (key, options) = match scope {
        Scope::Key(key) => (layout.record(key), options),
        Scope::Prefix(prefix) => {
            let (from, to) = layout.range(prefix, None);
            (from, options.with_range(to))
        }
    };
    let failed = |error: Error| Failure::of(&error);
    let mut client = client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
    let mut stream = client.watch(key, Some(options)).await.map_err(failed)?;
    while let Some(answer) = stream.message().await.map_err(failed)? {
        if answer.canceled() {
            // The user may not read this, or the token is too old, which the next request finds and renews.
            let reason = format!("etcd starts no watch: {}", answer.cancel_reason());
            return Err(Failure::new(Kind::Refused, reason, false));
        }
        if answer.created() {
            return Ok(stream);
        }
    }
    Err(Failure::new(Kind::Unknown, "the watch ended at once", true))
}

impl Established {
    /// The next answer.
    ///
    /// # Errors
    /// When the watch has ended or its member has fallen silent: events may be missing.
    async fn answer(&mut self) -> Result<WatchResponse, Failure> {
        loop {
            match timeout(PROGRESS_INTERVAL, self.stream.message()).await {
                // Compaction has overtaken it, or the member goes.
                Ok(Ok(Some(answer))) if answer.canceled() => {
                    let reason = format!("etcd has ended a watch: {}", answer.cancel_reason());
                    return Err(Failure::new(Kind::Unknown, reason, false));
                }
                Ok(Ok(Some(answer))) => {
                    self.asked = false;
                    return Ok(answer);
                }
                Ok(Ok(None)) => return Err(Failure::new(Kind::Unknown, "etcd has ended a watch", true)),
                Ok(Err(error)) => return Err(Failure::of(&error)),
                Err(_) if self.asked => return Err(Failure::late(PROGRESS_INTERVAL)),
                Err(_) => {
                    self.asked = true;
                    self.stream.request_progress().await.map_err(|error| Failure::of(&error))?;
                }
            }
        }
    }
}

impl State {
    async fn next(&mut self) -> WatchEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            let Some(established) = &mut self.established else {
                match establish(&self.endpoints, &self.layout, &self.scope).await {
                    Ok(established) => {
                        self.established = Some(established);
                        return WatchEvent::Resync;
                    }
                    Err(failure) => {
                        tracing::debug!(reason = failure.reason, "a watch can't be begun anew yet");
                        sleep(RETRY).await;
                        continue;
                    }
                }
            };
            match established.answer().await {
                Ok(answer) => {
                    let events = answer.events().iter().filter_map(|event| changed(&self.layout, event));
                    self.ready.extend(events);
                }
                Err(failure) => {
                    tracing::debug!(reason = failure.reason, "a watch is begun anew");
                    if failure.elsewhere {
                        self.endpoints.leave(established.member, &failure);
                    }
                    self.established = None;
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
