//! Random commands, one after the other, to the state machine and to the reference; and what must hold after each.

use crate::reference::{Answer, Reference, at_or_below, compatible, key};
use dlock_core::resource::{
    Acquire, Applied, Command, Convert, Outcome, Patience, Refusal, Resource, ValueUpdate,
};
use dlock_core::{LockId, Mode, SessionId, Token, ValueBlock};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

const SESSIONS: u128 = 4;
const LOCKS: u64 = 4;
const WAITERS_MAX: u32 = 5;

fn any_mode() -> impl Strategy<Value = Mode> + Clone {
    prop::sample::select(Mode::ALL.to_vec())
}

fn any_value() -> impl Strategy<Value = ValueUpdate> {
    prop_oneof![
        6 => Just(ValueUpdate::Keep),
        2 => (0..3u8).prop_map(|byte| ValueUpdate::Write(ValueBlock::new(vec![byte]).unwrap())),
        1 => Just(ValueUpdate::Invalidate),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    let any_key = (1..=SESSIONS, 1..=LOCKS).prop_map(|(session, lock)| key(session, lock));
    let patience = prop_oneof![3 => Just(Patience::Wait), 1 => Just(Patience::Try)];
    prop_oneof![
        8 => (any_key.clone(), any_mode(), patience.clone(), prop::bool::weighted(0.2)).prop_map(
            |(key, mode, patience, reentrant)| {
                let (since_unix_ms, waiters_max) = (0, WAITERS_MAX);
                Command::Acquire(Acquire { key, mode, patience, reentrant, since_unix_ms, waiters_max })
            }
        ),
        5 => (any_key.clone(), any_mode(), patience, any_value())
            .prop_map(|(key, mode, patience, value)| Command::Convert(Convert { key, mode, patience, value })),
        6 => (any_key.clone(), any_value()).prop_map(|(key, value)| Command::Release { key, value }),
        2 => any_key.clone().prop_map(|key| Command::Cancel { key }),
        1 => (any_key.clone(), proptest::option::of(0..20u64))
            .prop_map(|(key, token)| Command::Revoke { key, token: token.and_then(Token::from_u64) }),
        1 => (1..=SESSIONS).prop_map(|session| Command::Purge { sessions: vec![SessionId(session)] }),
        1 => any_key.prop_map(|key| Command::Query { key }),
    ]
}

/// The outcome in the reference's words.
fn words(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Granted(grant) => {
            Answer::Granted { mode: grant.mode, token: grant.token.get(), holds: grant.holds as usize }
        }
        Outcome::Queued(place) => Answer::Queued { ahead: place.ahead as usize },
        Outcome::Released => Answer::Released,
        Outcome::Cancelled => Answer::Cancelled,
        Outcome::Purged => Answer::Purged,
        Outcome::Refused(refusal) => Answer::Refused(match refusal {
            Refusal::WouldBlock => "would block",
            Refusal::Deadlock => "deadlock",
            Refusal::QueueFull { .. } => "queue full",
            Refusal::NotFound => "not found",
            Refusal::StillWaiting => "still waiting",
            Refusal::ConversionPending { .. } => "conversion pending",
            Refusal::LockIdInUse { .. } => "id in use",
            Refusal::NotCovered { .. } => "not covered",
            Refusal::ValueNotWritable { .. } => "value not writable",
            Refusal::TokenMismatch { .. } => "token mismatch",
            Refusal::TokensExhausted => "tokens exhausted",
        }),
    }
}

struct Commands;

impl ReferenceStateMachine for Commands {
    type State = (Reference, Option<(Command, Answer)>);
    type Transition = Command;

    fn init_state() -> BoxedStrategy<Self::State> {
        Just((Reference::default(), None)).boxed()
    }

    fn transitions(_: &Self::State) -> BoxedStrategy<Command> {
        any_command().boxed()
    }

    fn apply((mut reference, _): Self::State, command: &Command) -> Self::State {
        let answer = reference.apply(command);
        (reference, Some((command.clone(), answer)))
    }
}

struct Machine;

impl StateMachineTest for Machine {
    type SystemUnderTest = Resource;
    type Reference = Commands;

    fn init_test(_: &<Commands as ReferenceStateMachine>::State) -> Resource {
        Resource::new(Token::ZERO)
    }

    fn apply(
        mut resource: Resource,
        (reference, expected): &<Commands as ReferenceStateMachine>::State,
        command: Command,
    ) -> Resource {
        let before = resource.clone();
        let Applied { outcome, promoted, changed } = resource.apply(&command, 0);
        let (_, answer) = expected.as_ref().expect("the reference went first");
        // Of several locks that a re-entrant request could share, any may be taken: then only the kind is compared.
        let shares = matches!(&command, Command::Acquire(acquire) if acquire.reentrant);
        match (words(&outcome), answer) {
            (Answer::Granted { .. }, Answer::Granted { .. }) if shares => {}
            (found, expected) => assert_eq!(&found, expected, "{command:?} on {before:?}"),
        }
        if !shares {
            assert_same(&resource, reference);
        }
        assert_eq!(changed, resource.encode() != before.encode(), "{command:?}");
        assert!(promoted.iter().all(|grant| grant.token > before.last_token()), "an old token was given");
        assert!(promoted.is_sorted_by_key(|grant| grant.token));
        // Idempotent: the same command again changes nothing.
        let again = resource.clone().apply(&command, 0);
        if !matches!(outcome, Outcome::Refused(_)) {
            assert!(!again.changed, "{command:?} twice");
        }
        // What is stored is what is there.
        let decoded = Resource::decode(&resource.encode()).unwrap();
        assert_eq!(decoded.encode(), resource.encode());
        decoded.assert_invariants();
        resource
    }

    fn check_invariants(resource: &Resource, _: &<Commands as ReferenceStateMachine>::State) {
        resource.assert_invariants();
        assert_exclusion(resource);
        assert_nobody_waits_in_vain(resource);
        assert_blocking(resource);
    }
}

/// The whole state is the reference's. (Not compared after a re-entrant choice; those runs go on with the rules.)
fn assert_same(resource: &Resource, reference: &Reference) {
    let shared = resource.holders().any(|holder| holder.aliases().count() > 0);
    if shared || reference.held.iter().any(|held| held.keys.len() > 1) {
        return;
    }
    let mut held: Vec<_> = resource.holders().map(|h| (h.key, h.mode, h.token.get())).collect();
    let mut expected: Vec<_> = reference.held.iter().map(|h| (h.keys[0], h.mode, h.token)).collect();
    held.sort_by_key(|(key, ..)| *key);
    expected.sort_by_key(|(key, ..)| *key);
    assert_eq!(held, expected);
    let queue: Vec<_> = resource.queue().map(|entry| (entry.key, entry.mode, entry.held.is_some())).collect();
    let conversions = reference.converting.iter().map(|c| (c.asked_by, c.to, true));
    let waiters = reference.waiting.iter().map(|w| (w.key, w.mode, false));
    assert_eq!(queue, conversions.chain(waiters).collect::<Vec<_>>());
    assert_eq!((resource.value().block, resource.value().valid), (reference.value.clone(), !reference.stale));
}

/// Mutual exclusion by the table.
fn assert_exclusion(resource: &Resource) {
    let holders: Vec<_> = resource.holders().collect();
    for (at, one) in holders.iter().enumerate() {
        for two in &holders[at + 1..] {
            assert!(compatible(one.mode, two.mode), "{one:?} and {two:?}");
        }
    }
}

/// No lost wake-up: the first in the queue could not be granted.
fn assert_nobody_waits_in_vain(resource: &Resource) {
    let Some(first) = resource.queue().next() else { return };
    let fits = resource
        .holders()
        .filter(|holder| holder.key != first.key && holder.aliases().all(|alias| alias != first.key))
        .all(|holder| compatible(holder.mode, first.mode));
    assert!(!fits, "{first:?} waits and could be granted");
}

/// A holder is said to block exactly what is wanted and not compatible with it.
fn assert_blocking(resource: &Resource) {
    for holder in resource.holders() {
        let own = |key| key == holder.key || holder.aliases().any(|alias| alias == key);
        let mut wanted = resource
            .queue()
            .filter(|entry| !own(entry.key) && !compatible(entry.mode, holder.mode))
            .map(|entry| entry.mode)
            .peekable();
        let blocks = resource.blocks(holder.key);
        assert_eq!(blocks.is_some(), wanted.peek().is_some());
        assert!(wanted.all(|mode| at_or_below(mode, blocks.unwrap())));
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_state_machine_keeps_the_rules(sequential 1..40 => Machine);
}

proptest! {
    /// Tokens only grow, also over a collection of the record and a raised generation.
    #[test]
    fn tokens_grow_for_ever(rounds in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..20)) {
        let (mut resource, mut last, mut generation) = (Resource::new(Token::ZERO), Token::ZERO, 0);
        for (number, (collect, raise)) in rounds.into_iter().enumerate() {
            generation += u16::from(raise);
            let key = key(1, number as u64 + 1);
            let (mode, patience, reentrant) = (Mode::Exclusive, Patience::Wait, false);
            let acquire = Acquire { key, mode, patience, reentrant, since_unix_ms: 0, waiters_max: 1 };
            let Outcome::Granted(grant) = resource.apply(&Command::Acquire(acquire), generation).outcome else {
                panic!("not granted");
            };
            prop_assert!(grant.token > last && grant.token.generation() == generation);
            last = grant.token;
            resource.apply(&Command::Release { key, value: ValueUpdate::Keep }, generation);
            if collect {
                prop_assert!(resource.is_collectable());
                resource = Resource::new(resource.last_token());
            }
        }
    }

    /// Nobody is overtaken: whoever came first is granted first, a stream of readers notwithstanding.
    #[test]
    fn requests_are_granted_in_the_order_in_which_they_came(modes in proptest::collection::vec(any_mode(), 1..12)) {
        let mut resource = Resource::new(Token::ZERO);
        let ask = |lock: u64, mode| {
            let (patience, reentrant, since_unix_ms, waiters_max) = (Patience::Wait, false, 0, 100);
            let key = key(u128::from(lock), lock);
            Command::Acquire(Acquire { key, mode, patience, reentrant, since_unix_ms, waiters_max })
        };
        resource.apply(&ask(1000, Mode::Exclusive), 0);
        let waiting: Vec<u64> = (1..).zip(&modes).filter(|(_, mode)| **mode != Mode::Null).map(|(lock, _)| lock).collect();
        for (lock, mode) in (1..).zip(modes) {
            resource.apply(&ask(lock, mode), 0);
        }
        let mut order: Vec<u64> = Vec::new();
        let mut next = vec![LockId(1000)];
        while let Some(lock) = next.pop() {
            let release = Command::Release { key: key(u128::from(lock.0), lock.0), value: ValueUpdate::Keep };
            for grant in resource.apply(&release, 0).promoted {
                order.push(grant.key.lock.0);
                next.push(grant.key.lock);
            }
        }
        prop_assert_eq!(order, waiting);
    }
}
