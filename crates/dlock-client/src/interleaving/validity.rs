//! A guard that was seen invalid never is valid again, whoever looks, and whatever becomes of the lease.

use super::server::TTL;
use super::world::World;
use super::{acquire, explore, nothing_is_left};
use crate::{Guard, LossReason};
use shuttle::rand::Rng;
use shuttle::{future::block_on, thread};
use std::sync::Arc;

/// Looks at the guard several times; whether it was valid at the end.
fn look(guard: &Guard) -> bool {
    let mut valid = true;
    for _ in 0..4 {
        let seen = guard.is_valid();
        assert!(valid || !seen, "a guard that was invalid is valid again");
        valid = seen;
    }
    valid
}

/// Time goes on faster than the driver, or the service is deaf for a while, so that the deadline passes or is moved on
/// in time, or both at once.
fn the_deadline_passes_while_guards_are_looked_at(world: &Arc<World>) {
    let client = world.client();
    let guard = Arc::new(acquire(&client, "a"));
    let deaf = shuttle::rand::thread_rng().gen_bool(0.5);
    world.server(|server| server.deaf = deaf);
    let looking = [(); 2].map(|()| {
        let guard = guard.clone();
        thread::spawn(move || look(&guard))
    });
    let time = {
        let world = world.clone();
        thread::spawn(move || (0..4).for_each(|_| world.clock.advance(TTL / 3)))
    };
    time.join().expect("time goes on");
    if deaf {
        assert_eq!(block_on(guard.lost()), LossReason::Jeopardy);
        assert!(!guard.is_valid() && guard.cancellation_token().is_cancelled());
        world.server(|server| server.deaf = false);
    }
    let valid = looking.map(|thread| thread.join().expect("a look"));
    let valid = look(&guard) && valid.into_iter().all(|valid| valid);

    // The session lives on, and what is acquired from now on is valid.
    let fresh = (0..5).find_map(|_| {
        let fresh = world.in_time(client.lock("b").acquire()).expect("a lock");
        fresh.is_valid().then_some(fresh)
    });
    assert!(fresh.is_some(), "a lock that was granted after jeopardy is lost by it");
    assert!(valid || !guard.is_valid(), "a guard that was invalid is valid again");
    drop((guard, fresh));
    nothing_is_left(world, &client);
}

#[test]
fn a_guard_that_was_seen_invalid_is_never_valid_again() {
    explore(the_deadline_passes_while_guards_are_looked_at);
}
