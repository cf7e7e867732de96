//! The configurations that are checked in seconds. `cargo run --release -p dlock-model -- all` checks them all.

use dlock_model::{Config, Service, catalogue};
use stateright::{Checker, Model};

/// Explores all of it.
fn holds(config: Config) {
    Service { config }.checker().spawn_dfs().join().assert_properties();
}

macro_rules! configurations {
    ($($test:ident: $config:expr,)*) => { $(#[test] fn $test() { holds($config) })* };
}

configurations! {
    two_clients_share_a_lock: catalogue::base(true),
    two_clients_share_a_lock_in_a_store_that_does_not_guard: catalogue::base(false),
    a_try_moves: catalogue::trying(),
    a_store_is_silent: catalogue::silent(true),
    a_store_that_does_not_guard_is_silent: catalogue::silent(false),
    a_session_with_locks_on_two_resources_moves: catalogue::two_resources(true),
    a_session_with_locks_on_two_resources_moves_in_a_store_that_does_not_guard: catalogue::two_resources(false),
    requests_come_twice: catalogue::repeating(true),
    requests_come_twice_to_a_store_that_does_not_guard: catalogue::repeating(false),
    records_come_and_go: catalogue::collecting(true),
    records_come_and_go_in_a_store_that_does_not_guard: catalogue::collecting(false),
    a_master_is_asked_for_its_resource: catalogue::recalled(true),
    a_master_is_asked_for_its_resource_in_a_store_that_does_not_guard: catalogue::recalled(false),
    a_master_is_asked_while_the_store_is_silent: catalogue::recalled_silent(true),
    a_master_is_asked_while_a_store_that_does_not_guard_is_silent: catalogue::recalled_silent(false),
    a_master_dies_and_is_recovered: catalogue::recovered(true),
    a_master_dies_and_all_are_served: catalogue::served_after_masters_death(true),
}
