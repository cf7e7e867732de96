//! The life of a session: heartbeats, silence, attachment, end.

use crate::gated::{Gate, GatedStore};
use crate::world::*;
use dlock_backend_embedded::EmbeddedStore;
use dlock_core::lease::LeaseTerms;
use dlock_core::session::EndReason;
use dlock_core::{LockId, Mode, SessionId, Timestamp};
use dlock_engine::{
    AttachSession, Caller, Claim, ClaimState, Engine, EngineConfig, Event, RequestError, Secret, SessionError,
};
use dlock_runtime::{Clock, Entropy, Environment, SimulatedClock};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

async fn attach(
    engine: &Engine,
    client: &Client,
    claims: Vec<Claim>,
) -> Result<(Client, Vec<ClaimState>), SessionError> {
    attach_as(engine, client.session.id(), client.secret.clone(), claims).await
}

async fn attach_as(
    engine: &Engine,
    session: SessionId,
    secret: Secret,
    claims: Vec<Claim>,
) -> Result<(Client, Vec<ClaimState>), SessionError> {
    let caller = Caller::new();
    let attach = AttachSession { session, secret: secret.clone(), attempt: 0, claims };
    let (session, states) = engine.attach_session(attach, caller.clone()).await?;
    Ok((Client { session, caller, secret }, states))
}

fn claim(lock: u64, resource: &str) -> Claim {
    Claim { lock: LockId(lock), resource: name(resource), token: None, mode: None, waiting: None }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_loses_its_locks_after_its_time_to_live_and_not_before() {
    let engine = engine().await;
    let (silent, other) = (Client::open(&engine).await, Client::open(&engine).await);
    let alive = other.keep_alive();
    silent.lock(1, "r", Mode::Exclusive).await.unwrap();
    let since = Instant::now();
    other.lock(1, "r", Mode::Exclusive).await.unwrap();
    assert!(since.elapsed() >= TTL && since.elapsed() < TTL + Duration::from_secs(1));
    assert!(matches!(silent.next().await, Event::Blocking { .. }));
    assert_eq!(silent.next().await, Event::Ended { reason: EndReason::Expired });
    let ended = SessionError::Ended(EndReason::Expired);
    assert_eq!(silent.session.heartbeat(silent.session.epoch()), Err(ended.clone()));
    assert_eq!(silent.lock(2, "x", Mode::Exclusive).await, Err(RequestError::Session(ended.clone())));
    assert_eq!(attach(&engine, &silent, vec![]).await.err(), Some(ended));
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn a_lock_delay_keeps_a_dead_holders_lock_for_longer() {
    let engine = engine().await;
    let terms = LeaseTerms::new(TTL, Duration::from_secs(15)).unwrap();
    let (silent, other) = (Client::open_with(&engine, terms).await, Client::open(&engine).await);
    let alive = other.keep_alive();
    silent.lock(1, "r", Mode::Exclusive).await.unwrap();
    let since = Instant::now();
    other.lock(1, "r", Mode::Exclusive).await.unwrap();
    assert!(since.elapsed() >= TTL + Duration::from_secs(15));
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_session_for_ever() {
    let engine = engine().await;
    let one = Client::open(&engine).await;
    let alive = one.keep_alive();
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    tokio::time::sleep(TTL * 50).await;
    assert!(one.query(1).await.is_ok());
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn a_closed_session_frees_its_locks_at_once() {
    let engine = engine().await;
    let (one, two) = (Client::open(&engine).await, Client::open(&engine).await);
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    let waiting = two.start(1, "r", Mode::Exclusive);
    settle().await;
    one.session.close().await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(one.session.close().await, Err(SessionError::Ended(EndReason::Closed)));
}

#[tokio::test(start_paused = true)]
async fn an_attachment_takes_over_with_the_same_locks_and_tokens() {
    let engine = engine().await;
    let (one, other) = (Client::open(&engine).await, Client::open(&engine).await);
    let held = one.lock(1, "held", Mode::Exclusive).await.unwrap();
    other.lock(1, "busy", Mode::Exclusive).await.unwrap();
    let waiting = one.start(2, "busy", Mode::Exclusive);
    settle().await;
    let mut wait = claim(2, "busy");
    wait.waiting = Some(dlock_engine::RequestId(77));
    let claims = vec![claim(1, "held"), wait, claim(3, "never")];
    let (again, states) = attach(&engine, &one, claims).await.unwrap();
    assert_eq!(again.session.epoch().0, one.session.epoch().0 + 1);
    assert!(matches!(&states[0], ClaimState::Granted(grant) if grant.token == held.token));
    assert!(matches!(&states[1], ClaimState::Queued(place) if place.ahead == 0));
    assert_eq!(states[2], ClaimState::Absent);
    assert_eq!(one.next().await, Event::Detached);
    assert_eq!(waiting.await.unwrap(), Err(RequestError::Session(SessionError::Moved)));
    assert_eq!(one.session.heartbeat(one.session.epoch()), Err(SessionError::Moved));
    again.release(1).await.unwrap();
    other.release(1).await.unwrap();
    settle().await;
    again.release(2).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_the_secret_attaches_a_session() {
    let engine = engine().await;
    let one = Client::open(&engine).await;
    let thief = Client { secret: Secret([7; 16]), ..one.clone() };
    assert_eq!(attach(&engine, &thief, vec![]).await.err(), Some(SessionError::WrongSecret));
    assert_eq!(engine.session(one.session.id(), &thief.secret).err(), Some(SessionError::WrongSecret));
    one.session.heartbeat(one.session.epoch()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_is_told_and_its_locks_are_free() {
    let engine = engine().await;
    let one = Client::open(&engine).await;
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    engine.end_session(one.session.id(), EndReason::Revoked).await.unwrap();
    assert_eq!(one.next().await, Event::Ended { reason: EndReason::Revoked });
    assert!(engine.resource(&name("r")).await.unwrap().holders.is_empty());
    let missing = engine.end_session(dlock_core::SessionId(5), EndReason::Revoked).await;
    assert_eq!(missing, Err(SessionError::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_tells_its_sessions_and_takes_no_new_ones() {
    let engine = engine().await;
    let one = Client::open(&engine).await;
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    engine.drain();
    assert_eq!(one.next().await, Event::Draining);
    let refused = engine.open_session(open_with(LeaseTerms::default()), Caller::new()).await;
    assert_eq!(refused.err(), Some(SessionError::Draining));
    one.session.heartbeat(one.session.epoch()).unwrap();
    one.release(1).await.unwrap();
    assert!(engine.health().borrow().draining);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_keeps_the_locks_of_those_who_resume_and_frees_the_others() {
    let store = Arc::new(dlock_backend_embedded::EmbeddedStore::in_memory());
    let before = engine_on(store.clone(), 1).await;
    let (resumes, gone) = (Client::open(&before).await, Client::open(&before).await);
    let held = resumes.lock(1, "kept", Mode::Exclusive).await.unwrap();
    gone.lock(1, "freed", Mode::Exclusive).await.unwrap();
    let (id, secret) = (resumes.session.id(), resumes.secret.clone());
    drop((before, resumes, gone)); // the last handles: the server is gone without a word
    let after = engine_on(store, 2).await;
    let (resumed, states) = attach_as(&after, id, secret, vec![claim(1, "kept")]).await.unwrap();
    assert!(matches!(&states[0], ClaimState::Granted(grant) if grant.token == held.token));
    let alive = resumed.keep_alive();
    let other = Client::open(&after).await;
    let other_alive = other.keep_alive();
    other.lock(1, "freed", Mode::Exclusive).await.unwrap();
    assert!(other.try_lock(2, "kept", Mode::Exclusive).await.is_err());
    resumed.release(1).await.unwrap();
    let next = other.try_lock(3, "kept", Mode::Exclusive).await.unwrap();
    assert!(next.token > held.token);
    alive.abort();
    other_alive.abort();
}

/// More than an idle engine reads its clock in a minute.
const READS_MAX: u64 = 10_000;

/// A clock that counts how often it is read, and stops a task that does nothing else.
struct CountingClock {
    inner: SimulatedClock,
    reads: Arc<AtomicU64>,
}

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        assert!(self.reads.fetch_add(1, Ordering::Relaxed) < READS_MAX, "the clock is read without a pause");
        self.inner.now()
    }

    fn unix_ms(&self) -> u64 {
        self.inner.unix_ms()
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        self.inner.sleep_until(deadline)
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_end_can_not_be_written_yet_is_not_looked_at_without_a_pause() {
    let gate = GatedStore::new(Arc::new(EmbeddedStore::in_memory()));
    let reads = Arc::new(AtomicU64::new(0));
    let clock = Arc::new(CountingClock { inner: SimulatedClock::new(1.0), reads: reads.clone() });
    let environment = Environment { clock, entropy: Entropy::from_seed(1) };
    let engine = Engine::start(gate.clone(), environment, EngineConfig::default()).await.unwrap();
    let client = Client::open(&engine).await;
    // Each attachment has a timer.
    let (_attached, _) = attach(&engine, &client, vec![]).await.unwrap();
    gate.set(Gate::Shut);
    // In steps that are no pause of the process.
    let step = Duration::from_millis(500);
    for _ in 0..(TTL + 2 * step).div_duration_f64(step) as u32 {
        tokio::time::advance(step).await;
        settle_by_yields().await;
    }
    assert!(reads.load(Ordering::Relaxed) < READS_MAX, "the clock was read without a pause");
}

/// Lets tasks run without letting time pass.
async fn settle_by_yields() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_end_is_not_written_yet_is_not_called_ended_and_may_still_be_attached() {
    let gate = GatedStore::new(Arc::new(EmbeddedStore::in_memory()));
    let engine = engine_on(gate.clone(), 1).await;
    let client = Client::open(&engine).await;
    client.lock(1, "r", Mode::Exclusive).await.unwrap();
    tokio::time::sleep(TTL - Duration::from_secs(1)).await;
    gate.set(Gate::Shut);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(client.session.heartbeat(client.session.epoch()), Err(SessionError::Moved));
    assert_eq!(client.release(1).await.err(), Some(RequestError::Session(SessionError::Moved)));
    gate.set(Gate::Open);
    let (attached, states) = attach(&engine, &client, vec![claim(1, "r")]).await.unwrap();
    assert!(matches!(&states[..], [ClaimState::Granted(_)]), "{states:?}");
    let alive = attached.keep_alive();
    tokio::time::sleep(TTL * 2).await;
    attached.release(1).await.unwrap();
    alive.abort();
}
