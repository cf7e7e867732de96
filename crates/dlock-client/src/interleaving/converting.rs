//! A guard's mode is one that the service has granted for sure, also while conversions are given up.

use super::planted::Bug;
use super::sync::oneshot;
use super::world::World;
use super::{a_while, explore, finds, nothing_is_left};
use crate::{Guard, Mode};
use shuttle::rand::Rng;
use shuttle::{future::block_on, thread};
use std::sync::Arc;

const MODES: [Mode; 5] =
    [Mode::Exclusive, Mode::ProtectedWrite, Mode::ProtectedRead, Mode::ConcurrentWrite, Mode::Null];

/// Converts, until told to give it up.
fn convert(guard: &mut Guard, to: Mode, stopped: oneshot::Receiver<()>) {
    block_on(async {
        tokio::select! {
            biased;
            _ = stopped => {}
            result = guard.convert(to) => result.expect("a conversion"),
        }
    });
}

/// What the guard says of its mode is covered by a mode that the service had while it was asked.
fn check(world: &Arc<World>, guard: &Guard) {
    let lock = guard.lock_id().0;
    let before = world.server(|server| server.modes(lock).len());
    let mode = guard.mode();
    let covered = world.server(|server| {
        let modes = &server.modes(lock)[before - 1..];
        modes.iter().any(|actual| mode.at_or_below(*actual))
    });
    assert!(covered, "{mode} is not held");
}

/// Conversions of a lock with two guards are given up at any moment.
fn conversions_are_given_up_at_any_moment(world: &Arc<World>) {
    let client = world.client();
    let mut random = shuttle::rand::thread_rng();
    let name = if random.gen_bool(0.5) { "a" } else { "contended" };
    let modes = [(); 3].map(|()| MODES[random.gen_range(0..MODES.len())]);
    let mut guard = block_on(client.lock(name).mode(modes[0]).acquire()).expect("a lock");
    let sharing = block_on(client.lock(name).mode(Mode::Null).reentrant().acquire()).expect("a lock");
    let sharing = Arc::new(sharing);
    let looking = {
        let (world, sharing) = (world.clone(), sharing.clone());
        thread::spawn(move || (0..4).for_each(|_| check(&world, &sharing)))
    };
    for to in &modes[1..] {
        let to = *to;
        let (stop, stopped) = oneshot::channel();
        let converting = thread::spawn(move || {
            convert(&mut guard, to, stopped);
            guard
        });
        a_while();
        stop.send(()).ok();
        guard = converting.join().expect("it is converted or not");
        check(world, &guard);
    }
    looking.join().expect("a look");
    // What was asked before this is answered before it.
    let after = block_on(client.lock("after").acquire()).expect("a lock");
    for guard in [&guard, &*sharing] {
        let held = world.server(|server| server.held[&guard.lock_id().0].clone());
        assert_eq!(
            (guard.mode(), guard.token().get()),
            (held.mode, held.token),
            "it is known what came of them"
        );
    }
    drop((guard, sharing, after));
    nothing_is_left(world, &client);
}

#[test]
fn a_mode_is_held_for_sure_while_conversions_are_given_up() {
    explore(conversions_are_given_up_at_any_moment);
}

#[test]
fn a_given_up_conversion_that_the_driver_is_not_told_of_is_found() {
    finds(Bug::DropForgetsConversion, conversions_are_given_up_at_any_moment);
}
