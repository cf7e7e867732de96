//! Locks of one server's sessions.

use crate::world::*;
use dlock_backend_embedded::EmbeddedStore;
use dlock_core::resource::{Refusal, ValueUpdate};
use dlock_core::{LockId, LockKey, Mode, ValueBlock};
use dlock_engine::{Engine, EngineConfig, Event, Patience, Reply, Request, RequestError, RequestId};
use dlock_runtime::Environment;
use dlock_store::Store;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn six_by_six_modes_are_compatible_as_the_table_says() {
    let engine = engine().await;
    let (one, two) = (Client::open(&engine).await, Client::open(&engine).await);
    let mut lock = 0;
    for held in Mode::ALL {
        for asked in Mode::ALL {
            lock += 1;
            let resource = format!("{held}{asked}");
            one.lock(lock, &resource, held).await.unwrap();
            let got = two.try_lock(lock, &resource, asked).await;
            match got {
                Ok(grant) => assert!(held.compatible(asked) && grant.mode == asked),
                Err(error) => {
                    assert_eq!(error, RequestError::Refused(Refusal::WouldBlock));
                    assert!(!held.compatible(asked), "{held} {asked}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_the_order_in_which_they_came() {
    let engine = engine().await;
    let first = Client::open(&engine).await;
    let mut token = first.lock(1, "r", Mode::Exclusive).await.unwrap().token;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let client = Client::open(&engine).await;
        let grant = client.start(1, "r", Mode::Exclusive);
        settle().await;
        waiting.push((client, grant));
    }
    let mut holder = first;
    for (client, grant) in waiting {
        assert!(!grant.is_finished());
        holder.release(1).await.unwrap();
        let grant = grant.await.unwrap().unwrap();
        assert!(grant.token > token);
        (token, holder) = (grant.token, client);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_its_deadline_and_leaves_no_trace() {
    let engine = engine().await;
    let (holder, waiter) = (Client::open(&engine).await, Client::open(&engine).await);
    let alive = [holder.keep_alive(), waiter.keep_alive()];
    holder.lock(1, "r", Mode::Exclusive).await.unwrap();
    let started = tokio::time::Instant::now();
    let refused = waiter.lock_with(1, "r", Mode::Exclusive, Patience::For(Duration::from_secs(3))).await;
    assert_eq!(refused, Err(RequestError::WaitTimeout));
    assert!(started.elapsed() >= Duration::from_secs(3));
    assert!(engine.resource(&name("r")).await.unwrap().queue.is_empty());
    assert_eq!(engine.statistics().waiting, 0);
    alive.iter().for_each(|task| task.abort());
}

#[tokio::test(start_paused = true)]
async fn a_conversion_that_times_out_keeps_its_mode() {
    let engine = engine().await;
    let (one, two) = (Client::open(&engine).await, Client::open(&engine).await);
    one.lock(1, "r", Mode::ProtectedRead).await.unwrap();
    two.lock(1, "r", Mode::ProtectedRead).await.unwrap();
    let late = one.convert(1, Mode::Exclusive, Patience::For(Duration::from_secs(1))).await;
    assert_eq!(late, Err(RequestError::WaitTimeout));
    assert!(matches!(one.query(1).await, Ok(Reply::Granted(grant)) if grant.mode == Mode::ProtectedRead));
    assert!(engine.resource(&name("r")).await.unwrap().queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_conversion_is_granted_when_the_others_go() {
    let engine = engine().await;
    let (one, two) = (Client::open(&engine).await, Client::open(&engine).await);
    let token = one.lock(1, "r", Mode::ProtectedRead).await.unwrap().token;
    two.lock(1, "r", Mode::ProtectedRead).await.unwrap();
    let converting = {
        let one = one.clone();
        tokio::spawn(async move { one.convert(1, Mode::Exclusive, Patience::Forever).await })
    };
    assert_eq!(two.next().await, blocking("r", Mode::Exclusive));
    let refused = two.convert(1, Mode::Exclusive, Patience::Forever).await;
    assert_eq!(refused, Err(RequestError::Refused(Refusal::Deadlock)));
    two.release(1).await.unwrap();
    let grant = converting.await.unwrap().unwrap();
    assert!(grant.mode == Mode::Exclusive && grant.token > token);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_acquire_is_withdrawn_and_never_leaks_a_lock() {
    let engine = engine().await;
    let (holder, waiter) = (Client::open(&engine).await, Client::open(&engine).await);
    holder.lock(1, "r", Mode::Exclusive).await.unwrap();
    let waiting = waiter.start(1, "r", Mode::Exclusive);
    settle().await;
    assert_eq!(engine.resource(&name("r")).await.unwrap().queue.len(), 1);
    waiting.abort();
    settle().await;
    assert!(engine.resource(&name("r")).await.unwrap().queue.is_empty());
    holder.release(1).await.unwrap();
    assert!(engine.resource(&name("r")).await.unwrap().holders.is_empty());
}

/// Found by model checking: the try is sent once more after the look at who stands in its way.
#[tokio::test(start_paused = true)]
async fn a_try_that_is_withdrawn_does_not_come_after_its_withdrawal() {
    let engine = engine().await;
    let client = Client::open(&engine).await;
    client.lock(1, "r", Mode::Exclusive).await.unwrap();
    let (mode, patience, reentrant, report_position) = (Mode::Exclusive, Patience::Try, false, false);
    let resource = name("r");
    let tries = Request::Acquire { lock: LockId(2), resource, mode, patience, reentrant, report_position };
    let releases = Request::Release { lock: lock_ref(1), value: ValueUpdate::Keep };
    let withdraws = Request::Cancel { lock: lock_ref(2), release_if_granted: true };
    let requests = [tries, releases, withdraws].into_iter().zip(100..);
    client.session.submit(requests.map(|(request, id)| (RequestId(id), request)).collect());
    settle().await;
    let seen = engine.resource(&name("r")).await.unwrap();
    assert!(seen.holders.is_empty(), "nobody knows of it, so nobody would release it: {:?}", seen.holders);
}

#[tokio::test(start_paused = true)]
async fn a_blocking_notification_comes_once_and_again_for_a_stronger_mode() {
    let engine = engine().await;
    let clients = [(); 4].map(|()| Client::open(&engine));
    let [holder, a, b, c] = futures::future::join_all(clients).await.try_into().ok().unwrap();
    holder.lock(1, "r", Mode::ConcurrentWrite).await.unwrap();
    let _reader = a.start(1, "r", Mode::ProtectedRead);
    assert_eq!(holder.next().await, blocking("r", Mode::ProtectedRead));
    let _same = b.start(1, "r", Mode::ProtectedRead);
    settle().await;
    let _stronger = c.start(1, "r", Mode::Exclusive);
    assert_eq!(holder.next().await, blocking("r", Mode::Exclusive));
}

#[tokio::test(start_paused = true)]
async fn a_value_travels_with_the_lock_and_dies_with_its_writer() {
    let engine = engine().await;
    let (one, two) = (Client::open(&engine).await, Client::open(&engine).await);
    let alive = two.keep_alive();
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    let value = ValueBlock::new(&b"v1"[..]).unwrap();
    one.release_with(1, ValueUpdate::Write(value.clone())).await.unwrap();
    let read = two.lock(1, "r", Mode::ProtectedRead).await.unwrap().value.unwrap();
    assert_eq!((read.block, read.valid), (value.clone(), true));
    two.release(1).await.unwrap();
    one.lock(2, "r", Mode::ProtectedWrite).await.unwrap();
    tokio::time::sleep(TTL * 2).await; // its client is silent
    let read = two.lock(2, "r", Mode::ProtectedRead).await.unwrap().value.unwrap();
    assert_eq!((read.block, read.valid), (value, false));
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn limits_are_said_and_cost_nobody_else_anything() {
    use dlock_backend_embedded::EmbeddedStore;
    use dlock_engine::{Engine, EngineConfig};
    let config = EngineConfig {
        waiters_max: 2,
        locks_per_session_max: 3,
        requests_in_flight_max: 2,
        ..EngineConfig::default()
    };
    let store = std::sync::Arc::new(EmbeddedStore::in_memory());
    let environment = dlock_runtime::Environment::simulated(1, 1.0);
    let engine = Engine::start(store, environment, config).await.unwrap();
    let (holder, other) = (Client::open(&engine).await, Client::open(&engine).await);
    for lock in 1..=3 {
        holder.lock(lock, &format!("r{lock}"), Mode::Exclusive).await.unwrap();
    }
    assert_eq!(holder.lock(4, "r4", Mode::Exclusive).await, Err(RequestError::TooManyLocks { limit: 3 }));
    let _waiting = [other.start(1, "r1", Mode::Exclusive), other.start(2, "r1", Mode::Exclusive)];
    settle().await;
    assert_eq!(other.lock(3, "r9", Mode::Exclusive).await, Err(RequestError::TooManyRequests { limit: 2 }));
    let third = Client::open(&engine).await;
    let full = third.lock(1, "r1", Mode::Exclusive).await;
    assert_eq!(full, Err(RequestError::Refused(Refusal::QueueFull { limit: 2 })));
    holder.release(1).await.unwrap();
    settle().await;
    assert!(matches!(other.query(1).await, Ok(Reply::Granted(_))));
}

#[tokio::test(start_paused = true)]
async fn bad_requests_change_nothing() {
    let engine = engine().await;
    let (one, two) = (Client::open(&engine).await, Client::open(&engine).await);
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    let not_found = Err(RequestError::Refused(Refusal::NotFound));
    assert_eq!(one.release(7).await, not_found);
    let in_use = one.lock(1, "other", Mode::Exclusive).await;
    assert_eq!(in_use, Err(RequestError::LockIdInUse { resource: "r".into() }));
    let _waiting = two.start(1, "r", Mode::Exclusive);
    settle().await;
    let waits = two.convert(1, Mode::ProtectedRead, Patience::Forever).await;
    assert_eq!(waits, Err(RequestError::Refused(Refusal::StillWaiting)));
    one.release(1).await.unwrap();
    assert_eq!(one.release(1).await, not_found);
    settle().await;
    assert!(matches!(two.query(1).await, Ok(Reply::Granted(_))));
}

#[tokio::test(start_paused = true)]
async fn the_same_acquire_again_is_the_same_lock() {
    let engine = engine().await;
    let one = Client::open(&engine).await;
    let first = one.lock(1, "r", Mode::Exclusive).await.unwrap();
    let again = one.lock(1, "r", Mode::Exclusive).await.unwrap();
    assert_eq!(first, again);
    one.release(1).await.unwrap();
    assert!(engine.resource(&name("r")).await.unwrap().holders.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_forced_release_names_the_token_and_tells_the_holder() {
    let engine = engine().await;
    let one = Client::open(&engine).await;
    let grant = one.lock(1, "r", Mode::Exclusive).await.unwrap();
    let wrong = engine.force_release(&name("r"), grant.key, dlock_core::Token::new(0, 99)).await;
    assert!(
        matches!(wrong, Err(RequestError::Refused(Refusal::TokenMismatch { current })) if current == grant.token)
    );
    engine.force_release(&name("r"), grant.key, Some(grant.token)).await.unwrap();
    assert_eq!(one.next().await, Event::Revoked { lock: LockId(1) });
    assert_eq!(one.release(1).await, Err(RequestError::Refused(Refusal::NotFound)));
    assert!(!engine.check_token(&name("r"), grant.token).await.unwrap().held);
}

/// An event for the lock as well would end, at a client that has asked again meanwhile, what it may yet get.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_sent_away_is_told_by_its_request_alone() {
    let engine = engine().await;
    let (holder, waiter) = (Client::open(&engine).await, Client::open(&engine).await);
    holder.lock(1, "r", Mode::Exclusive).await.unwrap();
    let waiting = waiter.start(1, "r", Mode::Exclusive);
    settle().await;
    let key = LockKey { session: waiter.session.id(), lock: LockId(1) };
    engine.force_release(&name("r"), key, None).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Err(RequestError::Revoked));
    let told = tokio::time::timeout(Duration::from_secs(1), waiter.next()).await;
    assert!(told.is_err(), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn unused_resources_are_forgotten_and_their_tokens_go_on() {
    let engine = engine().await;
    let one = Client::open(&engine).await;
    let alive = one.keep_alive();
    let mut last = one.lock(1, "r", Mode::Exclusive).await.unwrap().token;
    one.release(1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(engine.statistics().resources, 0);
    let listed = engine.resources(&dlock_core::Namespace::default(), "", None, 10).await.unwrap();
    assert!(listed.items.is_empty());
    let next = one.lock(2, "r", Mode::Exclusive).await.unwrap().token;
    assert!(next > last);
    last = next;
    assert_eq!(engine.resource(&name("r")).await.unwrap().last_token, last);
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn places_in_the_queue_are_told_as_they_change() {
    let engine = engine().await;
    let clients = [(); 3].map(|()| Client::open(&engine));
    let [holder, a, b] = futures::future::join_all(clients).await.try_into().ok().unwrap();
    holder.lock(1, "r", Mode::Exclusive).await.unwrap();
    let _a = a.start(1, "r", Mode::Exclusive);
    settle().await;
    let _b = b.start(1, "r", Mode::Exclusive);
    let ahead = |event| match event {
        Event::Queued { place, .. } => place.ahead,
        other => panic!("{other:?}"),
    };
    assert_eq!(ahead(b.caller.next().await), 1);
    holder.release(1).await.unwrap();
    assert_eq!(ahead(b.caller.next().await), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reentrant_acquire_shares_the_lock_until_the_last_release() {
    let engine = engine().await;
    let (one, two) = (Client::open(&engine).await, Client::open(&engine).await);
    let first = one.lock(1, "r", Mode::Exclusive).await.unwrap();
    let (mode, patience) = (Mode::ProtectedRead, Patience::Forever);
    let (reentrant, report_position) = (true, false);
    let resource = name("r");
    let again = Request::Acquire { lock: LockId(2), resource, mode, patience, reentrant, report_position };
    match one.call(again).await {
        Ok(Reply::Granted(grant)) => assert_eq!((grant.token, grant.holds), (first.token, 2)),
        other => panic!("{other:?}"),
    }
    one.release(1).await.unwrap();
    assert!(two.try_lock(1, "r", Mode::ProtectedRead).await.is_err());
    one.release(2).await.unwrap();
    two.try_lock(2, "r", Mode::ProtectedRead).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_held_for_long_needs_no_memory_and_is_found_again() {
    let engine = engine().await;
    let (holder, other) = (Client::open(&engine).await, Client::open(&engine).await);
    let _alive = (holder.keep_alive(), other.keep_alive());
    let held = holder.lock(1, "a", Mode::Exclusive).await.unwrap();
    holder.lock(2, "b", Mode::Exclusive).await.unwrap();
    let waiting = other.start(2, "b", Mode::Exclusive);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(engine.statistics().resources, 1, "somebody waits for b");
    assert_eq!(other.try_lock(1, "a", Mode::ConcurrentRead).await, Err(Refusal::WouldBlock.into()));
    tokio::time::sleep(Duration::from_secs(90)).await;
    holder.release(1).await.unwrap();
    holder.release(2).await.unwrap();
    let next = other.lock(3, "a", Mode::Exclusive).await.unwrap();
    assert!(next.token > held.token);
    waiting.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_too_many_held_resources_the_oldest_are_forgotten_however_young() {
    let config = EngineConfig { shards: 1, idle_resources_max: 40, ..EngineConfig::default() };
    let store = Arc::new(EmbeddedStore::in_memory());
    let engine = Engine::start(store, Environment::simulated(1, 1.0), config).await.unwrap();
    let client = Client::open(&engine).await;
    for lock in 1..=100 {
        client.lock(lock, &lock.to_string(), Mode::Exclusive).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(engine.statistics().resources <= 4, "{:?}", engine.statistics());
    let other = Client::open(&engine).await;
    for lock in 1..=100 {
        let name = lock.to_string();
        assert_eq!(other.try_lock(lock, &name, Mode::Exclusive).await, Err(Refusal::WouldBlock.into()));
        client.release(lock).await.unwrap();
        other.try_lock(lock, &name, Mode::Exclusive).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_in_use_does_not_keep_others_from_being_collected() {
    let store = Arc::new(EmbeddedStore::in_memory());
    let config = EngineConfig {
        shards: 1,
        idle_resource_age: Duration::from_secs(5),
        sweep_interval: Duration::from_secs(3600),
        ..EngineConfig::default()
    };
    let environment = Environment::simulated(1, 1.0);
    let engine = Engine::start(store.clone(), environment, config).await.unwrap();
    let client = Client::open(&engine).await;
    client.keep_alive();
    for (lock, resource) in ["used", "once", "once more"].into_iter().enumerate() {
        client.lock(lock as u64 + 1, resource, Mode::Exclusive).await.unwrap();
        client.release(lock as u64 + 1).await.unwrap();
    }
    for lock in 10..50 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.lock(lock, "used", Mode::Exclusive).await.unwrap();
        client.release(lock).await.unwrap();
    }
    let records = store.list("r/", None, 10).await.unwrap().records;
    let left: Vec<&str> = records.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(left, ["r/default/used"]);
}
