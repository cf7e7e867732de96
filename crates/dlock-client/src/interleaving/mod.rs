//! The SDK's threads, interleaved in many ways: callers, guards and the driver as they are, on [shuttle]'s threads; what
//! guards share with the driver, under all orders that a machine's memory allows, on [loom]'s (`memory`).
//!
//! Replaced are the types of `crate::sync` (`sync`), which let another thread go on before each operation; the links
//! (`link`), which lead to a service in the same process (`server`); and the clock (`world`). An exploration runs a
//! *scenario* again and again, each time with another schedule: half of them random, half by PCT, which preempts
//! seldom and so finds orders that chance does not. The schedules are the same each time;
//! `DLOCK_TEST_INTERLEAVINGS=100000` explores so many with each scheduler, and `SHUTTLE_RANDOM_SEED` others.

mod converting;
mod ending;
mod giving_back;
pub(crate) mod link;
mod memory;
mod planted;
mod server;
pub(crate) mod sync;
mod validity;
mod world;

use crate::{Client, Guard};
use planted::Bug;
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use sync::point;
use world::World;

/// How many schedules of each kind are tried unless the environment says so.
const SCHEDULES: usize = 400;
/// How many schedules may be needed to find a planted bug: several times as many as it took when this was written.
const SCHEDULES_TO_FIND: usize = 2000;
/// How many preemptions PCT makes in a schedule.
const PREEMPTIONS: usize = 3;
/// A future of the SDK in a debug build needs more than shuttle's threads have.
const STACK_BYTES: usize = 256 << 10;
/// More steps are made only by threads that wait for each other for ever.
const STEPS_MAX: usize = 50_000;

/// How long one thread lets the others go on before it disturbs them: about as long as an acquire takes.
const POINTS_MAX: usize = 50;

/// One execution.
type Scenario = fn(&Arc<World>);

/// Runs the scenario under many schedules, none of which may fail.
fn explore(scenario: Scenario) {
    let schedules = from_environment("DLOCK_TEST_INTERLEAVINGS").unwrap_or(SCHEDULES as u64) as usize;
    let seed = from_environment("SHUTTLE_RANDOM_SEED").unwrap_or(1);
    run(RandomScheduler::new_from_seed(seed, schedules), scenario, FailurePersistence::Print);
    run(PctScheduler::new_from_seed(seed, PREEMPTIONS, schedules), scenario, FailurePersistence::Print);
}

/// Runs the scenario until the planted bug is found.
fn finds(bug: Bug, scenario: Scenario) {
    planted::plant(Some(bug));
    let explored = catch_unwind(AssertUnwindSafe(|| {
        run(RandomScheduler::new_from_seed(1, SCHEDULES_TO_FIND), scenario, FailurePersistence::None);
    }));
    planted::plant(None);
    World::end();
    assert!(explored.is_err(), "{bug:?} was not found in {SCHEDULES_TO_FIND} schedules");
}

fn run(scheduler: impl Scheduler + 'static, scenario: Scenario, persistence: FailurePersistence) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.failure_persistence = persistence;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || scenario(&World::begin()));
    World::end();
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// A lock that is granted at once.
fn acquire(client: &Client, name: &str) -> Guard {
    shuttle::future::block_on(client.lock(name).acquire()).expect("a lock")
}

/// Lets others go on for a while.
fn a_while() {
    for _ in 0..shuttle::rand::thread_rng().gen_range(0..POINTS_MAX) {
        point();
    }
}

/// Waits until the service has nothing of the client's any more, which holds no guard. What the client said before is heard
/// before a lock that is asked for now.
fn nothing_is_left(world: &Arc<World>, client: &Client) {
    world.in_time(async {
        let last = client.lock("last").acquire().await.expect("a lock");
        world.until(|server| server.held.len() == 1 && server.holders("last") == 1).await;
        last.release().await.expect("a release");
        world.until(|server| server.is_idle()).await;
    });
}
