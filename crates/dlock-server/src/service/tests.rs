//! Calls that end, and stores that go away, at the worst moment: under paused time, on a store that can be stopped.

use super::held::{Held, held};
use super::own_session::OwnSession;
use super::*;
use crate::convert;
use async_trait::async_trait;
use dlock_backend_embedded::EmbeddedStore;
use dlock_core::lease::TTL_DEFAULT;
use dlock_core::session::SessionState;
use dlock_engine::EngineConfig;
use dlock_proto::v1::client_message::Body as Say;
use dlock_proto::v1::server_message::Body as Hear;
use dlock_runtime::Environment;
use dlock_store::*;
use futures::{FutureExt, StreamExt};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;

/// What a [`Gate`] does with those who come.
#[derive(Clone, Copy, PartialEq)]
enum Gatekeeping {
    Open,
    /// Writes wait before it.
    Shut,
    /// Everybody is refused.
    Broken,
}

/// An embedded store behind a gate.
struct Gate {
    store: EmbeddedStore,
    gatekeeping: watch::Receiver<Gatekeeping>,
}

impl Gate {
    async fn pass(&self) -> Result<(), StoreError> {
        let mut gatekeeping = self.gatekeeping.clone();
        let now = *gatekeeping.wait_for(|now| *now != Gatekeeping::Shut).await.unwrap();
        if now == Gatekeeping::Broken {
            return Err(StoreError::Unavailable { reason: "broken".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Gate {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn info(&self) -> StoreInfo {
        self.store.info()
    }
    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.store.get(key).await
    }
    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        match self.pass().await {
            Ok(()) => self.store.commit(writes).await,
            Err(error) => writes.iter().map(|_| Err(error.clone())).collect(),
        }
    }
    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.store.list(prefix, after, limit).await
    }
    async fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        self.store.watch(scope).await
    }
    async fn health(&self) -> Vec<Condition> {
        self.store.health().await
    }
}

struct World {
    api: LockApi,
    gate: watch::Sender<Gatekeeping>,
}

impl World {
    async fn new() -> World {
        let (gate, gatekeeping) = watch::channel(Gatekeeping::Open);
        let store = Arc::new(Gate { store: EmbeddedStore::in_memory(), gatekeeping });
        let environment = Environment::simulated(1, 1.0);
        let engine = Engine::start(store, environment.clone(), EngineConfig::default()).await.unwrap();
        World { api: LockApi::new(engine, environment.clock), gate }
    }

    async fn held(&self) -> impl futures::Stream<Item = Result<Held, dlock_engine::RequestError>> + Unpin {
        let request = HoldRequest {
            resource: Some(Resource { name: "r".into(), ..Default::default() }),
            ..Default::default()
        };
        let (acquire, client) = convert::hold(request).unwrap();
        let own = OwnSession::open(&self.api.engine, self.api.clock.clone(), client).await.unwrap();
        Box::pin(held(own, acquire))
    }

    fn stream(
        &self,
    ) -> (mpsc::UnboundedSender<Result<SessionRequest, Status>>, AnswerStream<SessionResponse>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, self.api.serve_session(UnboundedReceiverStream::new(receiver)))
    }

    async fn active_sessions(&self) -> usize {
        let page = self.api.engine.sessions(None, 100).await.unwrap();
        page.items.iter().filter(|session| session.state == SessionState::Active).count()
    }
}

fn say(body: Say) -> Result<SessionRequest, Status> {
    let messages = vec![ClientMessage { sequence: 0, body: Some(body) }];
    Ok(SessionRequest { received_frames: 0, messages })
}

/// Until all that can happen without time going on has happened.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_lock_outlives_a_short_outage_of_the_store_and_is_given_up_in_a_long_one() {
    let world = World::new().await;
    let mut held = world.held().await;
    assert!(matches!(held.next().await, Some(Ok(Held::Granted(_)))));
    tokio::time::sleep(TTL_DEFAULT * 10).await;
    world.gate.send_replace(Gatekeeping::Broken);
    tokio::time::sleep(TTL_DEFAULT / 2).await;
    world.gate.send_replace(Gatekeeping::Open);
    tokio::time::sleep(TTL_DEFAULT * 10).await;
    assert!(held.next().now_or_never().is_none(), "the lock is still held");
    assert_eq!(world.active_sessions().await, 1);

    world.gate.send_replace(Gatekeeping::Broken);
    // The server may acknowledge for 5.4 s after its last write; from then the session's lease runs out.
    let lost = tokio::time::timeout(Duration::from_secs(6) + TTL_DEFAULT, held.next()).await;
    assert!(matches!(lost, Ok(Some(Ok(Held::Lost(LossReason::Expired))))));
    assert!(held.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_opening_is_cut_off_expires_all_the_same() {
    let world = World::new().await;
    world.gate.send_replace(Gatekeeping::Shut);
    let (sender, frames) = world.stream();
    sender.send(say(Say::Open(OpenSession::default()))).unwrap();
    settle().await; // the write waits at the gate
    drop(frames);
    settle().await;
    world.gate.send_replace(Gatekeeping::Open);
    settle().await;
    assert_eq!(world.active_sessions().await, 1, "what was begun is done");
    tokio::time::sleep(TTL_DEFAULT * 2).await;
    assert_eq!((world.active_sessions().await, world.api.engine.sessions_at_home()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_resumption_that_is_cut_off_is_one_all_the_same() {
    let world = World::new().await;
    let (sender, mut frames) = world.stream();
    sender.send(say(Say::Open(OpenSession::default()))).unwrap();
    let mut first = frames.next().await.unwrap().unwrap();
    let Some(Hear::Opened(opened)) = first.messages.remove(0).body else { panic!("{first:?}") };
    let SessionOpened { session_id, resume_secret, .. } = opened;
    let secret = convert::secret(&resume_secret, "").unwrap();
    let id = convert::session_id(&session_id, "").unwrap();

    world.gate.send_replace(Gatekeeping::Shut);
    let (again, cut_off) = world.stream();
    again.send(say(Say::Resume(ResumeSession { session_id, resume_secret, ..Default::default() }))).unwrap();
    settle().await;
    drop(cut_off);
    settle().await;
    world.gate.send_replace(Gatekeeping::Open);
    settle().await;
    // The record has a new epoch, and this server must know: it would expire the session at the old one, in vain.
    assert_eq!(world.api.engine.session(id, &secret).unwrap().epoch().0, 2);
    let last = frames.next().await.unwrap().unwrap().messages.remove(0).body;
    assert!(matches!(last, Some(Hear::Moved(_))), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_held_call_that_ends_while_it_waits_leaves_nothing_behind() {
    let world = World::new().await;
    let mut first = world.held().await;
    assert!(matches!(first.next().await, Some(Ok(Held::Granted(_)))));
    let mut second = world.held().await;
    assert!(matches!(second.next().await, Some(Ok(Held::Queued(_)))));
    drop(second);
    settle().await;
    assert_eq!(world.active_sessions().await, 1);
    let view = world.api.engine.resource(&dlock_core::ResourceId::new("", "r").unwrap()).await.unwrap();
    assert!(view.queue.is_empty());
}
