//! Servers that grant and release from memory, over a store that they share.

use crate::world::*;
use async_trait::async_trait;
use dlock_backend_embedded::EmbeddedStore;
use dlock_core::lease::LeaseTerms;
use dlock_core::resource::{Grant, ValueUpdate};
use dlock_core::{LockId, Mode, Namespace, SessionId, ValueBlock};
use dlock_engine::{AttachSession, Caller, Claim, ClaimState, Engine, EngineConfig, Mastering, Secret};
use dlock_store::{
    Capabilities, Condition, Key, Page, Record, Scope, Store, StoreError, StoreInfo, Verdict, Watch, Write,
};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// So many pairs of a new client make its server the master of any resource.
const WARM_UP: u64 = 4;
/// Lock ids of those begin here.
const FIRST: u64 = 1000;

async fn masters<const N: usize>() -> [Engine; N] {
    engines_with(EngineConfig { mastering: Some(Mastering::All), ..EngineConfig::default() }).await
}

/// Has the client's server master the resource.
pub async fn warm_up(client: &Client, resource: &str) {
    for lock in FIRST..FIRST + WARM_UP {
        client.lock(lock, resource, Mode::Exclusive).await.unwrap();
        client.release(lock).await.unwrap();
    }
}

pub fn claim(lock: u64, resource: &str, grant: &Grant) -> Claim {
    let (token, mode) = (Some(grant.token), Some(grant.mode));
    Claim { lock: LockId(lock), resource: name(resource), token, mode, waiting: None }
}

/// What a client needs to attach its session. It does not keep the engine running, as a session's handle does.
pub struct Mover(SessionId, Secret);

impl Mover {
    pub fn of(client: &Client) -> Mover {
        Mover(client.session.id(), client.secret.clone())
    }

    pub async fn attach(&self, engine: &Engine, claims: Vec<Claim>) -> (Client, Vec<ClaimState>) {
        let caller = Caller::new();
        let attach = AttachSession { session: self.0, secret: self.1.clone(), attempt: 0, claims };
        let (session, states) = engine.attach_session(attach, caller.clone()).await.unwrap();
        (Client { session, caller, secret: self.1.clone() }, states)
    }
}

/// Servers and clients stop without a word; what they were in the middle of ends.
pub async fn die<T>(all: T) {
    drop(all);
    settle().await;
}

pub async fn commits(engine: &Engine) -> u64 {
    engine.statistics().commits
}

#[tokio::test(start_paused = true)]
async fn who_is_alone_writes_nothing_any_more() {
    let [a, _b] = masters().await;
    let client = Client::open(&a).await;
    let alive = client.keep_alive();
    warm_up(&client, "r").await;
    let before = commits(&a).await;
    let mut last = None;
    for lock in 1..=500 {
        let grant = client.lock(lock, "r", Mode::Exclusive).await.unwrap();
        assert!(Some(grant.token) > last);
        last = Some(grant.token);
        client.release(lock).await.unwrap();
    }
    assert_eq!(commits(&a).await, before);
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_not_named_is_written_as_ever() {
    let only = Mastering::Namespaces([Namespace::new("fast").unwrap()].into());
    let [a, _b] = engines_with(EngineConfig { mastering: Some(only), ..EngineConfig::default() }).await;
    let client = Client::open(&a).await;
    warm_up(&client, "r").await;
    let before = commits(&a).await;
    warm_up(&client, "r").await;
    assert_eq!(commits(&a).await, before + 2 * WARM_UP);
}

#[tokio::test(start_paused = true)]
async fn another_server_gets_its_turn_in_the_queue() {
    let [a, b] = masters().await;
    let (one, two, local) = (Client::open(&a).await, Client::open(&b).await, Client::open(&a).await);
    let alive = [one.keep_alive(), two.keep_alive(), local.keep_alive()];
    warm_up(&one, "r").await;
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    let first = local.start(1, "r", Mode::Exclusive);
    settle().await;
    let second = two.start(1, "r", Mode::Exclusive);
    settle().await;
    let third = local.start(2, "r", Mode::Exclusive);
    settle().await;
    one.release(1).await.unwrap();
    first.await.unwrap().unwrap();
    settle().await;
    assert!(!second.is_finished());
    local.release(1).await.unwrap();
    second.await.unwrap().unwrap();
    settle().await;
    assert!(!third.is_finished());
    two.release(1).await.unwrap();
    third.await.unwrap().unwrap();
    alive.iter().for_each(|task| task.abort());
}

#[tokio::test(start_paused = true)]
async fn a_try_elsewhere_is_answered_as_the_master_knows_it() {
    let [a, b] = masters().await;
    let (one, two) = (Client::open(&a).await, Client::open(&b).await);
    let alive = [one.keep_alive(), two.keep_alive()];
    warm_up(&one, "r").await;
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    assert!(two.try_lock(1, "r", Mode::Exclusive).await.is_err());
    warm_up(&one, "s").await;
    one.lock(2, "s", Mode::Exclusive).await.unwrap();
    one.release(2).await.unwrap();
    two.try_lock(2, "s", Mode::Exclusive).await.unwrap();
    alive.iter().for_each(|task| task.abort());
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_written_is_read_elsewhere() {
    let [a, b] = masters().await;
    let (one, two) = (Client::open(&a).await, Client::open(&b).await);
    warm_up(&one, "r").await;
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    one.release_with(1, ValueUpdate::Write(ValueBlock::new("7").unwrap())).await.unwrap();
    die((a, one)).await;
    let read = two.lock(1, "r", Mode::ProtectedRead).await.unwrap().value.unwrap();
    assert_eq!((read.block.bytes().as_ref(), read.valid), (&b"7"[..], true));
}

#[tokio::test(start_paused = true)]
async fn a_session_takes_its_locks_along_from_a_living_master() {
    let [a, b] = masters().await;
    let (mover, other) = (Client::open(&a).await, Client::open(&a).await);
    let alive = other.keep_alive();
    warm_up(&mover, "r").await;
    let held = mover.lock(1, "r", Mode::Exclusive).await.unwrap();
    let waits = other.start(1, "r", Mode::Exclusive);
    settle().await;
    let (moved, states) = Mover::of(&mover).attach(&b, vec![claim(1, "r", &held)]).await;
    assert!(matches!(&states[0], ClaimState::Granted(grant) if grant.token == held.token));
    settle().await;
    assert!(!waits.is_finished());
    moved.release(1).await.unwrap();
    assert!(waits.await.unwrap().unwrap().token > held.token);
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn what_clients_claim_of_a_dead_master_they_keep() {
    let [a, b, c] = masters().await;
    let (mover, waiter) = (Client::open(&a).await, Client::open(&c).await);
    let alive = waiter.keep_alive();
    tokio::time::sleep(Duration::from_secs(3)).await;
    mover.session.heartbeat(mover.session.epoch()).unwrap();
    warm_up(&mover, "r").await;
    let held = mover.lock(1, "r", Mode::Exclusive).await.unwrap();
    let left = Mover::of(&mover);
    die((a, mover)).await;
    let waits = waiter.start(1, "r", Mode::Exclusive);
    let (moved, states) = left.attach(&b, vec![claim(1, "r", &held)]).await;
    let moved_alive = moved.keep_alive();
    // Nobody knows yet that the master is dead.
    assert!(matches!(&states[0], ClaimState::Unknown(_)), "{states:?}");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!waits.is_finished());
    let found = granted_of(moved.query(1).await.unwrap());
    assert_eq!((found.token, found.mode), (held.token, Mode::Exclusive));
    moved.release(1).await.unwrap();
    let next = waits.await.unwrap().unwrap();
    assert!(next.token > held.token);
    [alive, moved_alive].iter().for_each(|task| task.abort());
}

pub fn granted_of(reply: dlock_engine::Reply) -> Grant {
    match reply {
        dlock_engine::Reply::Granted(grant) => grant,
        other => panic!("not a grant: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_claims_of_a_dead_master_waits_for_its_sessions_to_end() {
    let [a, b] = masters().await;
    let (orphan, heir) = (Client::open(&a).await, Client::open(&b).await);
    let alive = heir.keep_alive();
    tokio::time::sleep(Duration::from_secs(3)).await;
    orphan.session.heartbeat(orphan.session.epoch()).unwrap();
    warm_up(&orphan, "r").await;
    orphan.lock(1, "r", Mode::Exclusive).await.unwrap();
    die((a, orphan)).await;
    let since = Instant::now();
    heir.lock(1, "r", Mode::Exclusive).await.unwrap();
    let waited = since.elapsed();
    assert!(waited >= TTL && waited <= Duration::from_secs(6) + TTL + Duration::from_secs(5), "{waited:?}");
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn a_dead_master_is_recovered_when_all_its_sessions_have_come() {
    let [a, b, c] = masters().await;
    let terms = LeaseTerms::new(Duration::from_secs(60), Duration::ZERO).unwrap();
    let (holder, idle) = (Client::open_with(&a, terms).await, Client::open_with(&a, terms).await);
    let waiter = Client::open(&c).await;
    let alive = waiter.keep_alive();
    warm_up(&holder, "r").await;
    let shared = holder.lock(1, "r", Mode::ProtectedRead).await.unwrap();
    let other = idle.lock(1, "r", Mode::ProtectedRead).await.unwrap();
    let (left, slow) = (Mover::of(&holder), Mover::of(&idle));
    die((a, holder, idle)).await;
    let waits = waiter.start(1, "r", Mode::ProtectedRead);
    let (_holder, _) = left.attach(&b, vec![claim(1, "r", &shared)]).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!waits.is_finished(), "another one may still come");
    let (idle, states) = slow.attach(&b, vec![claim(1, "r", &other)]).await;
    let late = Instant::now();
    waits.await.unwrap().unwrap();
    assert!(late.elapsed() < Duration::from_secs(3));
    assert!(matches!(&states[0], ClaimState::Granted(_) | ClaimState::Unknown(_)));
    assert!(idle.query(1).await.is_ok());
    alive.abort();
}

/// The new home of a session dies before it has claimed anything.
#[tokio::test(start_paused = true)]
async fn a_session_that_moves_twice_is_still_waited_for() {
    let [a, b, c] = masters().await;
    let terms = LeaseTerms::new(Duration::from_secs(60), Duration::ZERO).unwrap();
    let (mover, waiter) = (Client::open_with(&a, terms).await, Client::open(&c).await);
    let alive = waiter.keep_alive();
    warm_up(&mover, "r").await;
    let held = mover.lock(1, "r", Mode::Exclusive).await.unwrap();
    let left = Mover::of(&mover);
    die((a, mover)).await;
    let waits = waiter.start(1, "r", Mode::Exclusive);
    let (_, states) = left.attach(&b, vec![claim(1, "r", &held)]).await;
    assert!(matches!(&states[0], ClaimState::Unknown(_)));
    die(b).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!waits.is_finished());
    let (moved, _) = left.attach(&c, vec![claim(1, "r", &held)]).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!waits.is_finished());
    assert_eq!(granted_of(moved.query(1).await.unwrap()).token, held.token);
    moved.release(1).await.unwrap();
    waits.await.unwrap().unwrap();
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_gives_everything_back() {
    let [a, b] = masters().await;
    let (one, two) = (Client::open(&a).await, Client::open(&b).await);
    let alive = two.keep_alive();
    warm_up(&one, "r").await;
    warm_up(&one, "kept").await;
    let held = one.lock(1, "kept", Mode::Exclusive).await.unwrap();
    a.shutdown().await;
    two.try_lock(1, "r", Mode::Exclusive).await.unwrap();
    let (moved, states) = Mover::of(&one).attach(&b, vec![claim(1, "kept", &held)]).await;
    assert!(matches!(&states[0], ClaimState::Granted(grant) if grant.token == held.token));
    assert!(two.try_lock(2, "kept", Mode::Exclusive).await.is_err());
    moved.release(1).await.unwrap();
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_unused_is_given_back_after_a_while() {
    let [a, b] = masters().await;
    let (one, two) = (Client::open(&a).await, Client::open(&b).await);
    let alive = [one.keep_alive(), two.keep_alive()];
    for resource in ["unused", "held"] {
        warm_up(&one, resource).await;
    }
    one.lock(1, "held", Mode::Exclusive).await.unwrap();
    tokio::time::sleep(Duration::from_secs(130)).await;
    let listed = b.resources(&Namespace::default(), "", None, 10).await.unwrap().items;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].mastered_by, listed[0].holders.len()), (None, 1));
    die(a).await;
    two.try_lock(1, "unused", Mode::Exclusive).await.unwrap();
    alive.iter().for_each(|task| task.abort());
}

#[tokio::test(start_paused = true)]
async fn people_see_who_holds_what_is_mastered() {
    let [a, b] = masters().await;
    let one = Client::open(&a).await;
    let alive = one.keep_alive();
    warm_up(&one, "r").await;
    let held = one.lock(1, "r", Mode::Exclusive).await.unwrap();
    let own = a.resource(&name("r")).await.unwrap();
    assert_eq!((own.mastered_by, own.holders.len()), (None, 1));
    let listed = b.resources(&Namespace::default(), "", None, 10).await.unwrap().items;
    assert_eq!((listed[0].mastered_by, listed[0].holders.len()), (Some(a.member()), 0));
    let check = b.check_token(&name("r"), held.token).await.unwrap();
    assert!(check.held && check.highest == held.token);
    let asked = b.resource(&name("r")).await.unwrap();
    assert_eq!((asked.mastered_by, asked.holders.len()), (None, 1));
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn an_administrator_takes_a_lock_from_a_master() {
    let [a, b] = masters().await;
    let (one, two) = (Client::open(&a).await, Client::open(&b).await);
    let alive = [one.keep_alive(), two.keep_alive()];
    warm_up(&one, "r").await;
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    let key = dlock_core::LockKey { session: one.session.id(), lock: LockId(1) };
    b.force_release(&name("r"), key, None).await.unwrap();
    two.try_lock(1, "r", Mode::Exclusive).await.unwrap();
    alive.iter().for_each(|task| task.abort());
}

/// More locks than a client can claim at once are all in the store.
#[tokio::test(start_paused = true)]
async fn a_session_of_many_locks_has_them_in_the_store() {
    let [a, b] = masters().await;
    let one = Client::open(&a).await;
    let alive = one.keep_alive();
    for lock in 1..=1001 {
        one.lock(lock, &format!("many/{lock}"), Mode::Exclusive).await.unwrap();
    }
    for round in 0..3 {
        for lock in 2000..2010 {
            one.lock(lock, &format!("more/{lock}"), Mode::Exclusive).await.unwrap();
            if round < 2 {
                one.release(lock).await.unwrap();
            }
        }
    }
    let listed = b.resources(&Namespace::default(), "more", None, 20).await.unwrap().items;
    assert_eq!(listed.iter().filter(|view| view.holders.len() == 1).count(), 10);
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn many_clients_of_three_masters_exclude_each_other() {
    let servers: [_; 3] = masters().await;
    let counter = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut tasks = Vec::new();
    for index in 0..12 {
        let client = Client::open(&servers[index % 3]).await;
        let counter = counter.clone();
        tasks.push(tokio::spawn(async move {
            let alive = client.keep_alive();
            let mut last = None;
            for round in 0..30 {
                let grant = client.lock(round, "counter", Mode::Exclusive).await.unwrap();
                assert!(Some(grant.token) > last);
                last = Some(grant.token);
                let read = counter.load(std::sync::atomic::Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(3)).await;
                counter.store(read + 1, std::sync::atomic::Ordering::SeqCst);
                client.release(round).await.unwrap();
                if round % 10 == 9 {
                    tokio::time::sleep(Duration::from_millis(500 * (index as u64 % 3))).await;
                }
            }
            alive.abort();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(counter.load(std::sync::atomic::Ordering::SeqCst), 360);
}

/// Hears nothing of what others write.
struct Deaf(EmbeddedStore);

#[async_trait]
impl Store for Deaf {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn info(&self) -> StoreInfo {
        self.0.info()
    }

    async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.0.get(key).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<Verdict, StoreError>> {
        self.0.commit(writes).await
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.0.list(prefix, after, limit).await
    }

    async fn watch(&self, _: Scope) -> Result<Watch, StoreError> {
        Ok(futures::stream::pending().boxed())
    }

    async fn health(&self) -> Vec<Condition> {
        self.0.health().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_master_that_hears_nothing_looks_for_itself() {
    let config = EngineConfig { mastering: Some(Mastering::All), ..EngineConfig::default() };
    let store = EmbeddedStore::in_memory_shared();
    let a = engine_with(Arc::new(Deaf(store.clone())), 1, config.clone()).await;
    let b = engine_with(Arc::new(store), 2, config).await;
    let (one, two) = (Client::open(&a).await, Client::open(&b).await);
    let alive = [one.keep_alive(), two.keep_alive()];
    warm_up(&one, "r").await;
    let asked = Instant::now();
    two.lock(1, "r", Mode::Exclusive).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    alive.iter().for_each(|task| task.abort());
}
