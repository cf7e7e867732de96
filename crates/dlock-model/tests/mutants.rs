//! Each rule of the protocol is needed: without it, the checker finds a violation.

use dlock_model::Service;
use dlock_model::mutants::{self, Mutant};
use stateright::{Checker, Model};
use std::collections::BTreeSet;

fn is_refuted(name: &str) {
    let mutant = find(name);
    let checker = mutant.checker().spawn_dfs().join();
    let Some(path) = checker.discovery(mutant.violates) else {
        panic!("{name} does not violate: {}", mutant.violates);
    };
    assert!(!path.into_actions().is_empty(), "not violated by doing nothing");
}

fn find(name: &str) -> Mutant {
    let found = mutants::all().into_iter().find(|mutant| mutant.config.name == name);
    found.unwrap_or_else(|| panic!("there is no mutant {name}"))
}

macro_rules! mutants {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { is_refuted($name) })*

        #[test]
        fn each_mutant_has_a_test() {
            let tested = BTreeSet::from([$($name),*]);
            assert_eq!(tested, mutants::all().iter().map(|mutant| mutant.config.name).collect());
        }
    };
}

mutants! {
    an_expiry_is_bound_to_the_epoch: "expiry-not-bound-to-epoch",
    a_commit_is_guarded_by_its_sessions: "commit-not-guarded",
    a_commit_is_tried_after_its_sessions_were_verified: "commit-not-verified",
    sessions_are_verified_after_the_resource_was_read: "verify-before-read",
    a_release_names_its_lock: "release-names-only-session",
    requests_have_sequence_numbers: "no-sequence",
    a_server_past_its_deadline_does_not_act: "no-member-deadline",
    a_server_gives_its_sessions_up_after_a_long_lapse: "no-lapse",
    an_attachment_that_took_too_long_is_made_again: "late-attachment",
    an_attempt_to_attach_is_refused_after_a_later_one: "attempts-not-numbered",
    orphans_are_given_their_time: "orphans-do-not-wait",
    a_deadline_counts_from_the_sending: "deadline-from-acknowledgement",
    a_deadline_has_a_margin: "no-margin",
    an_ambiguous_commit_has_not_failed: "ambiguity-is-failure",
    a_floor_outlives_its_record: "floor-lost",
    what_was_not_found_is_written: "absence-not-written",
    answers_are_fresh: "stale-answers",
    waiters_are_looked_at: "no-recheck",
    a_try_keeps_its_place: "try-loses-its-place",
    a_lapse_ends_what_a_master_answers_from_memory: "lapse-overlooked",
    a_lapse_ends_it_though_nobody_is_verified: "lapse-overlooked-unverified",
    a_master_verifies_whom_it_answers_from_memory: "not-verified-by-master",
    a_recovery_waits_for_those_at_home_at_the_dead: "recovery-ignores-homes",
    a_recovery_waits_for_those_that_are_moving: "recovery-ignores-moving",
    a_session_is_noted_to_be_moving_first: "moving-is-not-noted",
    a_note_outlives_its_claims: "note-deleted-early",
    a_recovery_is_bound_to_what_was_read_before: "recovery-not-bound-to-record",
    a_grant_that_comes_after_the_claims_does_not_count: "grant-after-claims",
    a_lock_is_claimed_in_the_lower_mode: "claimed-too-high",
}

/// What refutes a mutant is that it lacks the rule: with all rules the same configurations have no fault. The others than
/// these are checked as such.
#[test]
fn with_the_rules_nothing_is_violated() {
    let timed = [
        "expiry-not-bound-to-epoch",
        "attempts-not-numbered",
        "orphans-do-not-wait",
        "deadline-from-acknowledgement",
        "no-margin",
    ];
    for name in timed {
        let mut config = find(name).config;
        config.without.clear();
        let checker = Service { config }.checker().spawn_dfs().join();
        for property in checker.model().properties() {
            if property.expectation.discovery_is_failure() {
                checker.assert_no_discovery(property.name);
            }
        }
    }
}
