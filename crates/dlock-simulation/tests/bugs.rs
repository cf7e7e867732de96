//! Each planted bug is found: else nothing would follow from finding nothing.
//!
//! `cargo xtask simulate --bug NAME` shows one of them. Those that take more than some dozens of seeds are left to that.

use dlock_simulation::{Bug, Keep, Options, run};

/// Several times as many as it took when this was written.
const SEEDS_MAX: u64 = 300;

fn is_found(bug: Bug) {
    let options = Options { bug: Some(bug), ..Options::default() };
    let good = |seed: &u64| run(*seed, options, Keep::Hash).expect("a harness without defects").is_good();
    let seeds = (0..SEEDS_MAX).take_while(good).count() as u64;
    assert!(seeds < SEEDS_MAX, "{bug:?} was not found in {SEEDS_MAX} seeds");
}

macro_rules! found {
    ($($name:ident => $bug:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                is_found(Bug::$bug);
            }
        )*
    };
}

found! {
    a_store_that_loses_writes_is_found => StoreLosesWrites,
    a_store_that_ignores_versions_is_found => StoreIgnoresVersions,
    a_store_that_reads_stale_is_found => StoreReadsStale,
    an_expiry_that_is_not_bound_to_the_epoch_is_found => ExpiryNotBoundToEpoch,
    a_members_lease_that_never_ends_is_found => MemberLeaseNeverEnds,
    a_lost_wake_up_without_a_recheck_is_found => LostWakeupNoRecheck,
    a_client_that_ignores_its_deadline_is_found => ClientIgnoresDeadline,
    a_client_whose_clock_is_too_slow_is_found => ClientClockSlow,
    a_client_that_reuses_tokens_is_found => ClientReusesTokens,
    a_client_that_forgets_a_release_is_found => ClientForgetsRelease,
    a_client_that_forgets_a_value_is_found => ClientForgetsValue,
    a_client_that_guesses_a_refusal_is_found => ClientGuessesWouldBlock,
    a_client_that_confuses_modes_is_found => ClientConfusesModes,
}
