//! The suite that proves that a backend keeps the contract: every behaviour is tested against the real store.
//!
//! A backend's tests call [`conformance_suite!`](crate::conformance_suite), which makes one test of each behaviour;
//! [`run_all`] runs them all and reports, for a table of several backends.

mod absence;
mod basics;
pub mod calls;
mod guards;
mod listing;
mod watching;
mod world;

use crate::Store;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

pub use world::World;

/// One thing that a store must do.
#[derive(Clone, Copy)]
pub struct Behaviour {
    /// What it does, as a sentence.
    pub name: &'static str,
    /// Panics if the store does not.
    pub run: fn(World) -> BoxFuture<'static, ()>,
}

macro_rules! behaviours {
    ($($module:ident :: $name:ident),* $(,)?) => {
        /// Every behaviour, in the order of the contract's rules.
        pub const BEHAVIOURS: &[Behaviour] = &[
            $(Behaviour { name: stringify!($name), run: |world| Box::pin($module::$name(world)) }),*
        ];

        /// Makes one test of each behaviour. The argument is an async closure that returns the handles onto one fresh
        /// store, as `Vec<Arc<dyn Store>>`: several where it can be shared.
        #[macro_export]
        macro_rules! conformance_suite {
            ($factory:expr) => {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $name() {
                        $crate::conformance::run_one(stringify!($name), ($factory)().await).await;
                    }
                )*
            };
        }
    };
}

behaviours! {
    basics::what_was_never_written_is_absent,
    basics::a_write_is_read_back_with_its_version,
    basics::a_stale_version_conflicts_and_changes_nothing,
    basics::values_of_every_kind_come_back_as_they_were,
    basics::odd_keys_are_told_apart,
    basics::each_write_of_a_batch_has_its_own_verdict,
    basics::concurrent_increments_lose_nothing,
    basics::handles_see_each_others_writes_at_once,
    absence::a_deleted_record_is_absent,
    absence::versions_grow_across_deletions,
    absence::an_old_absence_is_not_taken_for_a_new_one,
    absence::absence_remembers_the_greatest_floor,
    absence::deleting_what_is_absent_changes_its_version,
    guards::a_guard_that_holds_lets_the_write_through,
    guards::a_guard_that_fails_stops_the_write,
    guards::a_failed_guard_is_said_before_a_conflict,
    guards::absence_can_be_guarded,
    guards::as_many_guards_as_are_allowed_hold_or_fail,
    guards::no_two_writes_slip_past_each_others_guards,
    listing::a_listing_is_in_order_and_in_pages,
    listing::a_prefix_is_taken_literally,
    watching::a_watch_tells_of_writes_and_deletions,
    watching::a_watch_is_about_its_own_keys_only,
    watching::the_last_change_is_always_announced,
    watching::announced_records_are_real,
}

/// What became of a behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub behaviour: &'static str,
    /// Whether the store has it.
    pub passed: bool,
}

/// Runs the behaviour of this name.
///
/// # Panics
/// When the store does not have it, or there is no such behaviour.
pub async fn run_one(name: &str, handles: Vec<Arc<dyn Store>>) {
    let behaviour =
        BEHAVIOURS.iter().find(|behaviour| behaviour.name == name).expect("a behaviour of that name");
    (behaviour.run)(World::new(behaviour.name, handles)).await;
}

/// Runs all behaviours on the handles of one store, each under keys of its own, and says which passed.
pub async fn run_all(handles: &[Arc<dyn Store>]) -> Vec<Report> {
    let mut reports = Vec::with_capacity(BEHAVIOURS.len());
    for behaviour in BEHAVIOURS {
        let run = (behaviour.run)(World::new(behaviour.name, handles.to_vec()));
        let passed = AssertUnwindSafe(run).catch_unwind().await.is_ok();
        reports.push(Report { behaviour: behaviour.name, passed });
    }
    reports
}
