//! Each lock is given back, once: by a release, by dropping its guard, or by dropping the acquire that it was granted to.

use super::planted::Bug;
use super::sync::oneshot;
use super::world::World;
use super::{a_while, acquire, explore, finds, nothing_is_left};
use crate::{LossReason, ReleaseError};
use shuttle::rand::Rng;
use shuttle::{future::block_on, thread};
use std::sync::Arc;

/// An acquire whose caller goes away at any moment: before it is asked for, while it waits, while its grant is on the
/// way, or when it has the guard.
fn an_acquire_is_dropped_at_any_moment(world: &Arc<World>) {
    let client = world.client();
    let name = if shuttle::rand::thread_rng().gen_bool(0.5) { "a" } else { "slow" };
    let acquire = client.lock(name).acquire();
    let (stop, stopped) = oneshot::channel();
    let caller = thread::spawn(move || {
        block_on(async {
            tokio::select! {
                biased;
                _ = stopped => None,
                guard = acquire => Some(guard.expect("a lock")),
            }
        })
    });
    a_while();
    stop.send(()).ok();
    drop(caller.join().expect("a caller"));
    nothing_is_left(world, &client);
}

#[test]
fn an_acquire_dropped_at_any_moment_leaves_nothing() {
    explore(an_acquire_is_dropped_at_any_moment);
}

#[test]
fn an_acquire_that_is_not_withdrawn_when_it_is_dropped_is_found() {
    finds(Bug::DropForgetsWithdrawal, an_acquire_is_dropped_at_any_moment);
}

#[test]
fn a_release_that_is_forgotten_when_a_guard_is_dropped_is_found() {
    finds(Bug::DropForgetsRelease, an_acquire_is_dropped_at_any_moment);
}

/// Guards that are released, dropped and kept, while the service takes the locks away.
fn guards_go_while_their_locks_are_revoked(world: &Arc<World>) {
    let client = world.client();
    let [released, dropped, kept] = ["a", "b", "a"].map(|name| acquire(&client, name));
    let releasing = thread::spawn(move || match block_on(released.release()) {
        Ok(()) | Err(ReleaseError::Lost(LossReason::Revoked)) => {}
        Err(error) => panic!("{error}"),
    });
    let dropping = thread::spawn(move || drop(dropped));
    world.revoke("a");
    world.revoke("b");
    assert_eq!(block_on(kept.lost()), LossReason::Revoked);
    assert!(!kept.is_valid() && kept.cancellation_token().is_cancelled());
    releasing.join().expect("a release");
    dropping.join().expect("a drop");
    drop(kept);
    nothing_is_left(world, &client);
}

#[test]
fn guards_that_go_while_their_locks_are_revoked_give_back_what_is_left() {
    explore(guards_go_while_their_locks_are_revoked);
}

/// Everything at once, while links break: each lock is given back once on each link.
fn links_break_while_locks_come_and_go(world: &Arc<World>) {
    let client = world.client();
    let [kept, dropped] = ["a", "b"].map(|name| acquire(&client, name));
    world.break_links(2);
    let looking = thread::spawn(move || {
        for _ in 0..5 {
            // Far less time goes by than the lease lasts.
            assert!(kept.is_valid(), "{:?}", kept.loss());
        }
        kept
    });
    let dropping = thread::spawn(move || drop(dropped));
    world.in_time(async {
        let guard = client.lock("c").acquire().await.expect("a lock");
        guard.release().await.expect("a release");
        let guard = client.lock("slow").acquire().await.expect("a lock");
        drop(guard);
    });
    dropping.join().expect("a drop");
    drop(looking.join().expect("no guard is lost"));
    nothing_is_left(world, &client);
}

#[test]
fn broken_links_lose_no_lock_and_no_release() {
    explore(links_break_while_locks_come_and_go);
}
