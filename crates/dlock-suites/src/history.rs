//! What clients were promised, and whether the promises agree with each other.

use dlock_client::Timestamp;
use dlock_core::{LockId, Mode, SessionId, Token};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// A lock that a client counted on, on the one clock of the test's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What was locked.
    pub resource: String,
    /// Who held it, for people.
    pub client: String,
    /// Which lock it was: one that is converted appears once for each mode.
    pub lock: (SessionId, LockId),
    /// In which mode.
    pub mode: Mode,
    /// With which fencing token.
    pub token: Token,
    /// When the client learnt of the grant.
    pub from: Timestamp,
    /// When it began to release it, or when its guard was lost.
    pub until: Timestamp,
}

/// Two promises that can't both be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong.
    pub rule: &'static str,
    /// One of the two.
    pub earlier: Held,
    /// The other.
    pub later: Held,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { rule, earlier, later } = self;
        write!(f, "{rule}: {}\n  {earlier:?}\n  {later:?}", earlier.resource)
    }
}

/// Finds locks in conflicting modes that were held at the same time, and tokens that did not grow from a lock to a later
/// conflicting one.
pub fn check(history: &[Held]) -> Vec<Violation> {
    let mut by_resource: BTreeMap<&str, Vec<&Held>> = BTreeMap::new();
    for held in history {
        by_resource.entry(&held.resource).or_default().push(held);
    }
    by_resource.into_values().flat_map(check_resource).collect()
}

fn check_resource(mut locks: Vec<&Held>) -> Vec<Violation> {
    locks.sort_by_key(|held| held.from);
    let mut violations = Vec::new();
    let mut held_now: Vec<&Held> = Vec::new();
    let mut ended = Ended::default();
    for later in locks {
        held_now.retain(|earlier| {
            let goes_on = earlier.until > later.from;
            if !goes_on {
                ended.add(earlier);
            }
            goes_on
        });
        let conflicts = |earlier: &&Held| earlier.lock != later.lock && !earlier.mode.compatible(later.mode);
        let mut report = |rule, earlier: &Held| {
            violations.push(Violation { rule, earlier: earlier.clone(), later: later.clone() });
        };
        for earlier in held_now.iter().copied().filter(conflicts) {
            report("held at the same time", earlier);
        }
        for earlier in ended.greatest().filter(conflicts).filter(|earlier| earlier.token >= later.token) {
            report("a token that did not grow", earlier);
        }
        held_now.push(later);
    }
    violations
}

/// Of the locks that have ended, the two with the greatest tokens in each mode: one of them is another lock than the
/// one that is looked at.
#[derive(Default)]
struct Ended<'a>(HashMap<Mode, Vec<&'a Held>>);

impl<'a> Ended<'a> {
    fn add(&mut self, held: &'a Held) {
        let greatest = self.0.entry(held.mode).or_default();
        greatest.retain(|other| other.lock != held.lock || other.token > held.token);
        if greatest.iter().all(|other| other.lock != held.lock) {
            greatest.push(held);
        }
        greatest.sort_by_key(|held| std::cmp::Reverse(held.token));
        greatest.truncate(2);
    }

    fn greatest(&self) -> impl Iterator<Item = &'a Held> {
        self.0.values().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(mode: Mode, token: u64, from: u64, until: u64) -> Held {
        let (resource, client) = ("r".to_owned(), "c".to_owned());
        let token = Token::from_u64(token).unwrap();
        let lock = (SessionId(1), LockId(from));
        Held { resource, client, lock, mode, token, from: Timestamp(from), until: Timestamp(until) }
    }

    #[test]
    fn locks_that_follow_each_other_with_growing_tokens_are_well() {
        let history = [
            held(Mode::Exclusive, 1, 0, 10),
            held(Mode::ProtectedRead, 2, 10, 30),
            held(Mode::ProtectedRead, 2, 15, 20),
            held(Mode::Exclusive, 3, 30, 40),
        ];
        assert_eq!(check(&history), []);
    }

    #[test]
    fn an_overlap_of_conflicting_modes_is_found() {
        let history = [held(Mode::ProtectedRead, 1, 0, 11), held(Mode::Exclusive, 2, 10, 20)];
        assert_eq!(check(&history)[0].rule, "held at the same time");
    }

    #[test]
    fn a_token_that_falls_or_stays_is_found() {
        for token in [1, 2] {
            let history = [held(Mode::Exclusive, 2, 0, 10), held(Mode::Exclusive, token, 10, 20)];
            assert_eq!(check(&history)[0].rule, "a token that did not grow");
        }
    }

    #[test]
    fn what_lies_long_back_still_counts() {
        let between = (0..50).map(|at| held(Mode::ProtectedRead, 10 + at, 20 + at, 21 + at));
        let mut history = vec![held(Mode::ProtectedRead, 100, 0, 10)];
        history.extend(between);
        history.push(held(Mode::Exclusive, 70, 90, 95));
        let found = check(&history);
        assert_eq!((found.len(), found[0].earlier.token.get()), (1, 100));
    }

    #[test]
    fn a_lock_that_is_converted_does_not_hide_another() {
        let mut converted = held(Mode::ProtectedRead, 5, 0, 10);
        let mut later = held(Mode::Exclusive, 5, 30, 40);
        (converted.lock, later.lock) = ((SessionId(1), LockId(7)), (SessionId(1), LockId(7)));
        assert_eq!(check(&[converted.clone(), later.clone()]), []);
        let other = held(Mode::ProtectedRead, 5, 12, 20);
        assert_eq!(check(&[converted, other.clone(), later])[0].earlier, other);
    }
}
