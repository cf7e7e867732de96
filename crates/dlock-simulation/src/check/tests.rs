//! The checker on histories that are written by hand: what is wrong is found, and what only looks so is not.

use super::*;
use crate::history::{Answer, Ask, Hold, OperationId};
use crate::world::Time;
use dlock_core::Mode;
use dlock_core::Mode::{ConcurrentRead, Exclusive, ProtectedRead, ProtectedWrite};

/// A history in the making; moments are in milliseconds.
#[derive(Default)]
struct Story(History);

fn at(milliseconds: u64) -> Time {
    Time::from_millis(milliseconds)
}

fn granted(mode: Mode, token: u64) -> Answer {
    Answer::Granted { mode, token, value: None }
}

fn read(mode: Mode, token: u64, value: u64) -> Answer {
    Answer::Granted { mode, token, value: Some((value, true)) }
}

impl Story {
    fn operation(
        &mut self,
        client: &str,
        lock: Option<OperationId>,
        ask: Ask,
        (invoked, completed): (u64, u64),
        answer: Answer,
    ) -> OperationId {
        let id = self.0.operations.len();
        self.0.operations.push(Operation {
            client: client.to_owned(),
            session: 1,
            resource: 0,
            lock: lock.unwrap_or(id),
            ask,
            invoked: at(invoked),
            completed: Some(at(completed)),
            answer,
        });
        id
    }

    fn acquire(&mut self, client: &str, mode: Mode, when: (u64, u64), answer: Answer) -> OperationId {
        self.operation(client, None, Ask::Acquire { mode, try_only: false, reentrant: false }, when, answer)
    }

    fn try_acquire(&mut self, client: &str, mode: Mode, when: (u64, u64), answer: Answer) {
        self.operation(client, None, Ask::Acquire { mode, try_only: true, reentrant: false }, when, answer);
    }

    fn convert(&mut self, lock: OperationId, mode: Mode, when: (u64, u64), answer: Answer) {
        let client = self.0.operations[lock].client.clone();
        self.operation(
            &client,
            Some(lock),
            Ask::Convert { mode, try_only: false, value: None },
            when,
            answer,
        );
    }

    fn release(&mut self, lock: OperationId, value: Option<u64>, when: (u64, u64), answer: Answer) {
        let client = self.0.operations[lock].client.clone();
        self.operation(&client, Some(lock), Ask::Release { value }, when, answer);
    }

    /// The client counted on the lock.
    fn held(&mut self, lock: OperationId, mode: Mode, token: u64, (from, to): (u64, u64)) {
        let client = self.0.operations[lock].client.clone();
        let (from, to) = (at(from), at(to));
        self.0.holds.push(Hold { client, session: 1, lock, resource: 0, mode, token, from, to });
    }

    fn broken(&self) -> Vec<Rule> {
        let findings = check(&self.0, 1, true, false);
        assert_eq!(findings.inconclusive, 0);
        let mut rules: Vec<Rule> = findings.violations.iter().map(|violation| violation.rule).collect();
        rules.dedup();
        rules
    }
}

#[test]
fn locks_one_after_the_other_are_fine() {
    let mut story = Story::default();
    let one = story.acquire("a", Exclusive, (0, 10), granted(Exclusive, 1));
    story.held(one, Exclusive, 1, (10, 20));
    story.release(one, None, (20, 30), Answer::Released);
    let two = story.acquire("b", Exclusive, (5, 40), granted(Exclusive, 2));
    story.held(two, Exclusive, 2, (40, 50));
    assert_eq!(story.broken(), []);
}

#[test]
fn conflicting_locks_at_one_time_are_found_in_their_window() {
    let mut story = Story::default();
    let one = story.acquire("a", Exclusive, (0, 10), granted(Exclusive, 1));
    story.held(one, Exclusive, 1, (10, 30));
    story.release(one, None, (30, 40), Answer::Unknown);
    let two = story.acquire("b", ProtectedRead, (5, 29), granted(ProtectedRead, 2));
    story.held(two, ProtectedRead, 2, (29, 50));
    assert_eq!(story.broken(), [Rule::Exclusion, Rule::Linearizability]);
    let shown = check(&story.0, 1, true, false).violations[0].to_string();
    assert!(shown.contains("a ") && shown.contains("b ") && shown.contains("0.029"), "{shown}");
}

#[test]
fn compatible_locks_at_one_time_are_fine() {
    let mut story = Story::default();
    for (client, token) in [("a", 1), ("b", 1), ("c", 2)] {
        let lock = story.acquire(client, ProtectedRead, (0, 10), granted(ProtectedRead, token));
        story.held(lock, ProtectedRead, token, (10, 30));
    }
    assert_eq!(story.broken(), []);
}

#[test]
fn a_hold_ends_where_the_next_begins() {
    let mut story = Story::default();
    let one = story.acquire("a", Exclusive, (0, 10), granted(Exclusive, 1));
    story.held(one, Exclusive, 1, (10, 20));
    let two = story.acquire("b", Exclusive, (5, 20), granted(Exclusive, 2));
    story.held(two, Exclusive, 2, (20, 30));
    assert_eq!(story.broken(), [], "the first may have gone with its session");
}

#[test]
fn a_token_that_does_not_grow_is_found() {
    for token in [1, 2] {
        let mut story = Story::default();
        let one = story.acquire("a", Exclusive, (0, 10), granted(Exclusive, 2));
        story.release(one, None, (20, 30), Answer::Released);
        story.acquire("b", Exclusive, (40, 50), granted(Exclusive, token));
        assert!(story.broken().contains(&Rule::Tokens), "{token} after 2");
    }
}

#[test]
fn readers_may_share_a_token() {
    let mut story = Story::default();
    let one = story.acquire("a", ProtectedRead, (0, 10), granted(ProtectedRead, 3));
    story.release(one, None, (20, 30), Answer::Released);
    story.acquire("b", ConcurrentRead, (40, 50), granted(ConcurrentRead, 3));
    assert_eq!(story.broken(), []);
}

#[test]
fn a_grant_that_is_lost_while_it_counts_is_found() {
    let mut story = Story::default();
    let one = story.acquire("a", Exclusive, (0, 10), granted(Exclusive, 1));
    story.held(one, Exclusive, 1, (10, 100));
    // Nobody counts on this one, but nobody could have been granted it either.
    story.acquire("b", Exclusive, (20, 30), granted(Exclusive, 2));
    assert_eq!(story.broken(), [Rule::Linearizability]);
}

#[test]
fn a_release_that_is_lost_is_found() {
    let mut story = Story::default();
    let one = story.acquire("a", Exclusive, (0, 10), granted(Exclusive, 1));
    story.release(one, None, (20, 30), Answer::Released);
    story.try_acquire("b", ProtectedRead, (40, 50), Answer::WouldBlock);
    assert_eq!(story.broken(), [Rule::Linearizability]);
}

#[test]
fn a_try_beside_a_release_may_be_refused() {
    let mut story = Story::default();
    let one = story.acquire("a", Exclusive, (0, 10), granted(Exclusive, 1));
    story.release(one, None, (20, 30), Answer::Released);
    story.try_acquire("b", ProtectedRead, (25, 50), Answer::WouldBlock);
    assert_eq!(story.broken(), []);
}

#[test]
fn what_timed_out_may_have_happened_or_not() {
    for refused in [true, false] {
        let mut story = Story::default();
        let one = story.acquire("a", Exclusive, (0, 10), granted(Exclusive, 1));
        story.held(one, Exclusive, 1, (10, 20));
        story.release(one, None, (20, 30), Answer::Unknown);
        let answer = if refused { Answer::WouldBlock } else { granted(Exclusive, 2) };
        story.try_acquire("b", Exclusive, (40, 50), answer);
        assert_eq!(story.broken(), [], "refused: {refused}");
    }
}

#[test]
fn a_value_that_is_not_the_last_one_is_found() {
    for (value, broken) in [(7, vec![]), (8, vec![Rule::Linearizability]), (0, vec![Rule::Linearizability])] {
        let mut story = Story::default();
        let one = story.acquire("a", ProtectedWrite, (0, 10), granted(ProtectedWrite, 1));
        story.release(one, Some(7), (20, 30), Answer::Released);
        story.acquire("b", ProtectedRead, (40, 50), read(ProtectedRead, 2, value));
        assert_eq!(story.broken(), broken, "{value}");
    }
}

#[test]
fn a_write_without_an_answer_may_be_read_or_not() {
    for value in [0, 7] {
        let mut story = Story::default();
        let one = story.acquire("a", ProtectedWrite, (0, 10), granted(ProtectedWrite, 1));
        story.held(one, ProtectedWrite, 1, (10, 20));
        story.release(one, Some(7), (20, 30), Answer::Unknown);
        story.acquire("b", ProtectedRead, (40, 50), read(ProtectedRead, 2, value));
        assert_eq!(story.broken(), [], "{value}");
    }
}

#[test]
fn a_conversion_up_needs_the_others_gone() {
    for (gone, broken) in [(true, vec![]), (false, vec![Rule::Linearizability])] {
        let mut story = Story::default();
        let one = story.acquire("a", ProtectedRead, (0, 10), granted(ProtectedRead, 1));
        let two = story.acquire("b", ProtectedRead, (0, 10), granted(ProtectedRead, 1));
        story.held(two, ProtectedRead, 1, (10, if gone { 15 } else { 60 }));
        if gone {
            story.release(two, None, (15, 20), Answer::Released);
        }
        story.convert(one, Exclusive, (30, 40), granted(Exclusive, 2));
        assert_eq!(story.broken(), broken, "gone: {gone}");
    }
}
