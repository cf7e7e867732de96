//! Several engines over one store are one lock service.

use crate::gated::{Gate, GatedStore, copy_of};
use crate::world::*;
use dlock_backend_embedded::EmbeddedStore;
use dlock_core::lease::LeaseTerms;
use dlock_core::session::EndReason;
use dlock_core::{Epoch, LockId, Mode};
use dlock_engine::{
    AttachSession, Caller, Claim, ClaimState, Engine, Event, RequestError, RequestId, SessionError,
};
use dlock_store::WatchEvent;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn the_queue_is_one_across_servers() {
    let [a, b, c] = engines().await;
    let (one, two, three) = (Client::open(&a).await, Client::open(&b).await, Client::open(&c).await);
    let alive = [one.keep_alive(), two.keep_alive(), three.keep_alive()];
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    let second = two.start(1, "r", Mode::Exclusive);
    settle().await;
    let third = three.start(1, "r", Mode::Exclusive);
    assert_eq!(one.next().await, blocking("r", Mode::Exclusive));
    one.release(1).await.unwrap();
    let second = second.await.unwrap().unwrap();
    settle().await;
    assert!(!third.is_finished());
    two.release(1).await.unwrap();
    let third = third.await.unwrap().unwrap();
    assert!(third.token > second.token);
    alive.iter().for_each(|task| task.abort());
}

#[tokio::test(start_paused = true)]
async fn a_try_is_not_refused_by_what_another_server_has_ended() {
    let [a, b] = engines().await;
    let (one, two) = (Client::open(&a).await, Client::open(&b).await);
    one.lock(1, "r", Mode::Exclusive).await.unwrap();
    assert!(two.try_lock(1, "r", Mode::Exclusive).await.is_err());
    one.session.close().await.unwrap();
    two.try_lock(2, "r", Mode::Exclusive).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_moves_with_its_locks_its_waits_and_their_places() {
    let [a, b] = engines().await;
    let (mover, holder, later) = (Client::open(&a).await, Client::open(&a).await, Client::open(&a).await);
    let alive = [holder.keep_alive(), later.keep_alive()];
    let held = mover.lock(1, "mine", Mode::Exclusive).await.unwrap();
    holder.lock(1, "r", Mode::Exclusive).await.unwrap();
    let _waits = mover.start(2, "r", Mode::Exclusive);
    settle().await;
    let after = later.start(1, "r", Mode::Exclusive);
    settle().await;
    let claims = vec![
        Claim {
            lock: LockId(1),
            resource: name("mine"),
            token: Some(held.token),
            mode: Some(held.mode),
            waiting: None,
        },
        Claim { lock: LockId(2), resource: name("r"), token: None, mode: None, waiting: Some(RequestId(1)) },
    ];
    let caller = Caller::new();
    let (session, secret) = (mover.session.id(), mover.secret.clone());
    let attach = AttachSession { session, secret, attempt: 0, claims };
    let (session, states) = b.attach_session(attach, caller.clone()).await.unwrap();
    let moved = Client { session, caller, secret: mover.secret.clone() };
    assert!(matches!(&states[0], ClaimState::Granted(grant) if grant.token == held.token));
    assert!(matches!(&states[1], ClaimState::Queued(place) if place.ahead == 0));
    settle().await;
    assert_eq!(mover.next().await, Event::Detached);
    assert_eq!(mover.session.heartbeat(mover.session.epoch()), Err(SessionError::Moved));
    holder.release(1).await.unwrap();
    settle().await;
    assert!(!after.is_finished());
    assert!(moved.query(2).await.is_ok());
    moved.release(2).await.unwrap();
    after.await.unwrap().unwrap();
    alive.iter().for_each(|task| task.abort());
}

#[tokio::test(start_paused = true)]
async fn a_dead_servers_sessions_end_after_their_time_and_their_locks_pass_on() {
    let [a, b] = engines().await;
    let (orphan, heir) = (Client::open(&a).await, Client::open(&b).await);
    let alive = heir.keep_alive();
    tokio::time::sleep(Duration::from_secs(3)).await;
    orphan.session.heartbeat(orphan.session.epoch()).unwrap();
    orphan.lock(1, "r", Mode::Exclusive).await.unwrap();
    drop((a, orphan)); // without a word
    let since = Instant::now();
    heir.lock(1, "r", Mode::Exclusive).await.unwrap();
    let waited = since.elapsed();
    assert!(waited >= TTL && waited <= Duration::from_secs(6) + TTL + Duration::from_secs(3), "{waited:?}");
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_left_is_not_waited_for_as_a_silent_one() {
    let [a, b] = engines().await;
    let terms = LeaseTerms::new(Duration::from_secs(2), Duration::ZERO).unwrap();
    let (orphan, heir) = (Client::open_with(&a, terms).await, Client::open(&b).await);
    let alive = heir.keep_alive();
    orphan.lock(1, "r", Mode::Exclusive).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    orphan.session.heartbeat(orphan.session.epoch()).unwrap();
    a.shutdown().await;
    assert!(orphan.session.heartbeat(orphan.session.epoch()).is_err());
    let since = Instant::now();
    heir.lock(1, "r", Mode::Exclusive).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn many_clients_of_three_servers_exclude_each_other() {
    let servers: [_; 3] = engines().await;
    let counter = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut tasks = Vec::new();
    for index in 0..12 {
        let client = Client::open(&servers[index % 3]).await;
        let counter = counter.clone();
        tasks.push(tokio::spawn(async move {
            let alive = client.keep_alive();
            let mut last = None;
            for round in 0..10 {
                let grant = client.lock(round, "counter", Mode::Exclusive).await.unwrap();
                assert!(Some(grant.token) > last);
                last = Some(grant.token);
                let read = counter.load(std::sync::atomic::Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(3)).await;
                counter.store(read + 1, std::sync::atomic::Ordering::SeqCst);
                client.release(round).await.unwrap();
            }
            alive.abort();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(counter.load(std::sync::atomic::Ordering::SeqCst), 120);
}

/// Two engines over one store, and the gates on their ways to it.
async fn gated_engines() -> ([Engine; 2], [Arc<GatedStore>; 2]) {
    let store = EmbeddedStore::in_memory_shared();
    let gates = [(); 2].map(|()| GatedStore::new(Arc::new(store.clone())));
    let a = engine_on(gates[0].clone(), 0).await;
    let b = engine_on(gates[1].clone(), 1).await;
    ([a, b], gates)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_can_not_see_the_others_ends_none_of_their_sessions() {
    let ([a, b], [_, gate]) = gated_engines().await;
    let (holder, other) = (Client::open(&a).await, Client::open(&b).await);
    let alive = [holder.keep_alive(), other.keep_alive()];
    holder.lock(1, "r", Mode::Exclusive).await.unwrap();
    other.try_lock(1, "r", Mode::Exclusive).await.unwrap_err();
    gate.set(Gate::NoListings);
    tokio::time::sleep(Duration::from_secs(60)).await;
    gate.set(Gate::Open);
    tokio::time::sleep(Duration::from_secs(10)).await;
    holder.session.heartbeat(holder.session.epoch()).unwrap();
    other.try_lock(2, "r", Mode::Exclusive).await.unwrap_err();
    alive.iter().for_each(|task| task.abort());
}

#[tokio::test(start_paused = true)]
async fn after_a_long_lapse_a_server_has_its_clients_attach_anew() {
    let ([a, b], gates) = gated_engines().await;
    let (holder, other) = (Client::open(&a).await, Client::open(&b).await);
    holder.lock(1, "r", Mode::Exclusive).await.unwrap();
    gates.iter().for_each(|gate| gate.set(Gate::Shut));
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let _fenced = holder.session.heartbeat(holder.session.epoch());
        let _fenced = other.session.heartbeat(other.session.epoch());
    }
    assert!(matches!(holder.session.heartbeat(holder.session.epoch()), Err(SessionError::Fenced { .. })));
    gates.iter().for_each(|gate| gate.set(Gate::Open));
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The peer may be ending the session at this moment: only the store can say.
    assert_eq!(holder.session.heartbeat(holder.session.epoch()), Err(SessionError::Moved));
    let claim = Claim { lock: LockId(1), resource: name("r"), token: None, mode: None, waiting: None };
    let attach = AttachSession {
        session: holder.session.id(),
        secret: holder.secret.clone(),
        attempt: 0,
        claims: vec![claim],
    };
    let (session, states) = a.attach_session(attach, Caller::new()).await.unwrap();
    assert!(matches!(states[..], [ClaimState::Granted(_)]), "{states:?}");
    session.heartbeat(session.epoch()).unwrap();
}

/// Found by model checking: others may take this server for dead meanwhile, and end the session.
#[tokio::test(start_paused = true)]
async fn an_attachment_whose_answer_comes_too_late_is_made_once_more() {
    let ([a, b], [gate, _]) = gated_engines().await;
    let ttl = Duration::from_secs(2);
    for (answer_takes, epoch) in [(ttl / 2, Epoch(2)), (ttl, Epoch(3))] {
        let client = Client::open_with(&b, LeaseTerms::new(ttl, Duration::ZERO).unwrap()).await;
        gate.set(Gate::HeldAnswers);
        let attach = AttachSession {
            session: client.session.id(),
            secret: client.secret,
            attempt: 0,
            claims: Vec::new(),
        };
        let opens = async {
            tokio::time::sleep(answer_takes).await;
            gate.set(Gate::Open);
        };
        let (attached, ()) = tokio::join!(a.attach_session(attach, Caller::new()), opens);
        assert_eq!(attached.unwrap().0.epoch(), epoch, "after {answer_takes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_attachment_was_said_to_have_failed_but_took_effect_ends_if_nobody_attaches_it() {
    let ([a, b], [gate, _]) = gated_engines().await;
    let client = Client::open(&b).await;
    client.lock(1, "r", Mode::Exclusive).await.unwrap();
    let attach = AttachSession {
        session: client.session.id(),
        secret: client.secret.clone(),
        attempt: 0,
        claims: vec![],
    };
    gate.set(Gate::HeldAnswers);
    let lost = async {
        settle().await;
        gate.set(Gate::LostAnswers);
    };
    let (attached, ()) = tokio::join!(a.attach_session(attach, Caller::new()), lost);
    assert!(matches!(attached, Err(SessionError::StoreUnavailable { .. })), "{:?}", attached.err());
    gate.set(Gate::Open);
    let other = Client::open(&b).await;
    let _alive = other.keep_alive();
    let granted = other.lock(1, "r", Mode::Exclusive);
    tokio::time::timeout(Duration::from_secs(25), granted).await.unwrap().unwrap();
}

/// Found by simulation: its home went on acknowledging heartbeats, and could not commit anything for it any more.
#[tokio::test(start_paused = true)]
async fn a_home_that_its_own_servers_failed_attachment_has_replaced_lets_the_session_go() {
    let ([a, _b], [gate, _]) = gated_engines().await;
    let client = Client::open(&a).await;
    let attach = || AttachSession {
        session: client.session.id(),
        secret: client.secret.clone(),
        attempt: 0,
        claims: vec![],
    };
    gate.set(Gate::HeldAnswers);
    let lost = async {
        settle().await;
        gate.set(Gate::LostAnswers);
    };
    let (attached, ()) = tokio::join!(a.attach_session(attach(), Caller::new()), lost);
    assert!(matches!(attached, Err(SessionError::StoreUnavailable { .. })), "{:?}", attached.err());
    gate.set(Gate::Open);
    let refused = client.lock(1, "r", Mode::Exclusive).await;
    assert_eq!(refused, Err(RequestError::Session(SessionError::Moved)));
    let told = tokio::time::timeout(Duration::from_secs(1), client.next()).await;
    assert_eq!(told, Ok(Event::Detached));
    assert_eq!(client.session.heartbeat(client.session.epoch()), Err(SessionError::Moved));
    let (again, _) = a.attach_session(attach(), Caller::new()).await.unwrap();
    assert_eq!(again.epoch(), Epoch(3));
}

/// Else a client that had gone on to another server would lose the home that it knows to one that never hears of it.
#[tokio::test(start_paused = true)]
async fn an_attempt_to_attach_that_comes_after_a_later_one_changes_nothing() {
    let ([a, b], [_, gate]) = gated_engines().await;
    let client = Client::open(&a).await;
    let (session, secret) = (client.session.id(), client.secret.clone());
    let attach = |attempt| AttachSession { session, secret: secret.clone(), attempt, claims: vec![] };
    gate.set(Gate::HeldWrites);
    let later = async {
        settle().await;
        let (later, _) = a.attach_session(attach(2), Caller::new()).await.unwrap();
        gate.set(Gate::Open);
        later
    };
    let (late, later) = tokio::join!(b.attach_session(attach(1), Caller::new()), later);
    assert_eq!(late.err(), Some(SessionError::Moved));
    settle().await;
    assert_eq!(later.heartbeat(later.epoch()), Ok(()));
    let (again, _) = b.attach_session(attach(3), Caller::new()).await.unwrap();
    assert_eq!(again.epoch(), Epoch(3));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_revoked_while_it_is_attached_is_served_no_longer() {
    let ([a, b], [gate, _]) = gated_engines().await;
    let client = Client::open(&b).await;
    gate.set(Gate::HeldAnswers);
    let session = client.session.id();
    let attach = AttachSession { session, secret: client.secret, attempt: 0, claims: Vec::new() };
    let revoked = async {
        settle().await;
        b.end_session(session, EndReason::Revoked).await.unwrap();
        settle().await;
        gate.set(Gate::Open);
    };
    let (attached, ()) = tokio::join!(a.attach_session(attach, Caller::new()), revoked);
    settle().await;
    let (session, _) = attached.unwrap();
    let refused = session.heartbeat(session.epoch()).unwrap_err();
    assert!(matches!(refused, SessionError::Ended(_)), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn after_the_store_went_back_in_time_nothing_is_granted_that_may_be_counted_on_and_tokens_grow() {
    let ([a, b], gates) = gated_engines().await;
    let (one, two) = (Client::open(&a).await, Client::open(&b).await);
    let kept = one.lock(1, "kept", Mode::Exclusive).await.unwrap();
    let backup = copy_of(&*gates[0]).await;
    // What comes now is forgotten.
    for _ in 0..5 {
        two.lock(1, "forgotten", Mode::Exclusive).await.unwrap();
        two.release(1).await.unwrap();
    }
    let forgotten = two.lock(1, "forgotten", Mode::Exclusive).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    two.session.heartbeat(two.session.epoch()).unwrap();
    one.session.heartbeat(one.session.epoch()).unwrap();
    gates.iter().for_each(|gate| gate.replace(backup.clone()));
    let restored = Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for client in [&one, &two] {
        let refused = client.session.heartbeat(client.session.epoch());
        assert!(matches!(refused, Err(SessionError::Moved | SessionError::Fenced { .. })), "{refused:?}");
    }
    // A newcomer gets nothing until the last client can't count on its lock any more.
    let next = loop {
        let open = a.open_session(open_with(LeaseTerms::default()), Caller::new()).await;
        match open {
            Err(SessionError::Fenced { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
            Ok(_) => break Client::open(&a).await,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(restored.elapsed() > TTL, "{:?}", restored.elapsed());
    let token = next.lock(1, "forgotten", Mode::Exclusive).await.unwrap().token;
    assert!(token > forgotten.token, "{token:?} after {:?}", forgotten.token);
    // What the store still knows goes on.
    let claim =
        Claim { lock: LockId(1), resource: name("kept"), token: Some(kept.token), mode: None, waiting: None };
    let (session, secret) = (one.session.id(), one.secret.clone());
    let attach = AttachSession { session, secret, attempt: 0, claims: vec![claim] };
    let (_, states) = b.attach_session(attach, Caller::new()).await.unwrap();
    assert!(matches!(&states[..], [ClaimState::Granted(grant)] if grant.token == kept.token), "{states:?}");
}

/// What it misses may be what nobody but a client remembers.
#[tokio::test(start_paused = true)]
async fn a_store_that_says_that_it_went_back_in_time_is_believed() {
    let ([a, b], [gate, _]) = gated_engines().await;
    let (one, two) = (Client::open(&a).await, Client::open(&b).await);
    let before = two.lock(1, "r", Mode::Exclusive).await.unwrap().token;
    two.release(1).await.unwrap();
    settle().await;
    gate.say(WatchEvent::WentBack);
    settle().await;
    let refused = one.try_lock(1, "r", Mode::Exclusive).await;
    assert!(refused.is_err(), "{refused:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let refused = two.try_lock(2, "r", Mode::Exclusive).await;
    assert!(refused.is_err(), "the other server stands still, too: {refused:?}");
    tokio::time::sleep(TTL * 2).await;
    let token = Client::open(&b).await.lock(1, "r", Mode::Exclusive).await.unwrap().token;
    assert!(token.generation() > before.generation(), "{token:?} after {before:?}");
}
