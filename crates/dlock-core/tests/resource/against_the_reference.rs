//! Random commands, one after the other, to the state machine and to the reference; and what must hold after each.

use crate::reference::{Reference, compatible, key};
use dlock_core::resource::{
    Acquire, Applied, Command, Convert, LockState, Outcome, Patience, Queued, Refusal, Resource, ValueUpdate,
};
use dlock_core::{LockId, LockKey, Mode, ModeSet, SessionId, Token, ValueBlock};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

const SESSIONS: u128 = 4;
const LOCKS: u64 = 4;
const WAITERS_MAX: u32 = 5;

/// A command, and the store's generation at that time.
type Step = (Command, u16);

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

fn every_key() -> impl Iterator<Item = LockKey> {
    (1..=SESSIONS).flat_map(|session| (1..=LOCKS).map(move |lock| key(session, lock)))
}

fn any_acquire() -> impl Strategy<Value = Command> {
    let any_key = prop::sample::select(every_key().collect::<Vec<_>>());
    (any_key, any_mode(), any_patience(), prop::bool::weighted(0.3), 0..3u64).prop_map(
        |(key, mode, patience, reentrant, since_unix_ms)| {
            let waiters_max = WAITERS_MAX;
            Command::Acquire(Acquire { key, mode, patience, reentrant, since_unix_ms, waiters_max })
        },
    )
}

fn any_patience() -> impl Strategy<Value = Patience> + Clone {
    prop_oneof![3 => Just(Patience::Wait), 1 => Just(Patience::Try)]
}

/// Most commands are about locks that are there, so that random ones come far.
fn any_command(known: Vec<LockKey>) -> impl Strategy<Value = Command> {
    let known = if known.is_empty() { every_key().collect() } else { known };
    let any_key = prop_oneof![
        6 => prop::sample::select(known),
        1 => prop::sample::select(every_key().collect::<Vec<_>>())
    ];
    let sessions = proptest::collection::vec((1..=SESSIONS + 1).prop_map(SessionId), 0..3);
    prop_oneof![
        8 => any_acquire(),
        6 => (any_key.clone(), any_mode(), any_patience(), any_value())
            .prop_map(|(key, mode, patience, value)| Command::Convert(Convert { key, mode, patience, value })),
        5 => (any_key.clone(), any_value()).prop_map(|(key, value)| Command::Release { key, value }),
        2 => any_key.clone().prop_map(|key| Command::Cancel { key }),
        1 => (any_key.clone(), proptest::option::of(0..20u64))
            .prop_map(|(key, token)| Command::Revoke { key, token: token.and_then(Token::from_u64) }),
        1 => sessions.prop_map(|sessions| Command::Purge { sessions }),
        1 => any_key.prop_map(|key| Command::Query { key }),
    ]
}

struct Commands;

impl ReferenceStateMachine for Commands {
    /// The reference before the last command, and now.
    type State = (Reference, Reference);
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self::State> {
        Just(Default::default()).boxed()
    }

    fn transitions((_, reference): &Self::State) -> BoxedStrategy<Step> {
        let held = reference.held.iter().flat_map(|held| held.keys.iter().map(|(key, _)| *key));
        let known = held.chain(reference.waiting.iter().map(|waiting| waiting.key)).collect();
        let generation = prop_oneof![30 => Just(0), 1 => 1..3u16];
        (any_command(known), generation).boxed()
    }

    fn apply((_, reference): Self::State, (command, generation): &Step) -> Self::State {
        let mut now = reference.clone();
        now.apply(command, *generation);
        (reference, now)
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
        (before, now): &<Commands as ReferenceStateMachine>::State,
        (command, generation): Step,
    ) -> Resource {
        let old = resource.clone();
        let applied = resource.apply(&command, generation);
        let (outcome, promoted) = before.clone().apply(&command, generation);
        assert_eq!(applied.outcome, outcome, "{command:?} on {old:?}");
        assert_eq!(applied.promoted.to_vec(), promoted, "{command:?} on {old:?}");
        assert_same(&resource, now);
        assert_eq!(applied.changed, resource != old, "{command:?} on {old:?}");
        assert_eq!(applied.changed, resource.encode() != old.encode(), "{command:?} on {old:?}");
        assert!(!matches!(outcome, Outcome::Refused(_)) || !applied.changed, "a refusal changed something");
        assert!(
            applied.promoted.iter().all(|grant| grant.token > old.last_token()),
            "an old token was given"
        );
        assert_idempotent(&resource, &command, generation, &applied);
        assert_stored(&old, &command, generation, &applied, &resource);
        resource
    }

    fn check_invariants(resource: &Resource, (_, reference): &<Commands as ReferenceStateMachine>::State) {
        resource.assert_invariants();
        assert_exclusion(resource);
        assert_nobody_waits_in_vain(resource);
        assert_blocking(resource);
        for key in every_key() {
            assert_stands(resource, reference, key);
        }
    }
}

/// The whole state is the reference's.
fn assert_same(resource: &Resource, reference: &Reference) {
    let mut held: Vec<_> = resource
        .holders()
        .map(|holder| {
            let keys: Vec<_> = std::iter::once(holder.key).chain(holder.aliases()).collect();
            (keys, holder.mode, holder.token.get(), holder.since_unix_ms, holder.converting_to)
        })
        .collect();
    let converting = |at| reference.conversion(at).map(|at| reference.converting[at].to);
    let mut expected: Vec<_> = reference
        .held
        .iter()
        .enumerate()
        .map(|(at, held)| {
            let keys: Vec<_> = held.keys.iter().map(|(key, _)| *key).collect();
            (keys, held.mode, held.token, held.since, converting(at))
        })
        .collect();
    held.sort_by_key(|(keys, ..)| keys[0]);
    expected.sort_by_key(|(keys, ..)| keys[0]);
    assert_eq!(held, expected);
    let queue: Vec<_> =
        resource.queue().map(|entry| (entry.key, entry.mode, entry.held, entry.since_unix_ms)).collect();
    let conversions = reference.converting.iter().map(|converting| {
        let held = &reference.held[reference.holder(converting.asked_by).unwrap()];
        (converting.asked_by, converting.to, Some(held.mode), held.since)
    });
    let waiters = reference.waiting.iter().map(|waiting| (waiting.key, waiting.mode, None, waiting.since));
    assert_eq!(queue, conversions.chain(waiters).collect::<Vec<_>>());
    let value = resource.value();
    assert_eq!((value.block, value.valid), (reference.value.clone(), !reference.stale));
    assert_eq!(resource.last_token().get(), reference.last_token);
    assert_eq!(resource.is_idle(), reference.held.is_empty() && reference.waiting.is_empty());
    assert_eq!(resource.is_collectable(), resource.is_idle() && reference.value.is_empty());
    let sessions = reference.held.iter().map(|held| held.keys[0].0.session);
    let mut expected: Vec<_> =
        sessions.chain(reference.waiting.iter().map(|waiting| waiting.key.session)).collect();
    let mut found: Vec<_> = resource.sessions().collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

/// The same command again changes nothing, and is answered alike, or finds nothing left to end.
fn assert_idempotent(resource: &Resource, command: &Command, generation: u16, first: &Applied) {
    if matches!(first.outcome, Outcome::Refused(_)) {
        return;
    }
    let mut copy = resource.clone();
    let again = copy.apply(command, generation);
    assert!(!again.changed && again.promoted.is_empty() && copy == *resource, "{command:?} twice");
    match (command, &first.outcome, again.outcome) {
        // A downgrade does not return the value, and staying at a mode does.
        (Command::Convert(_), Outcome::Granted(first), Outcome::Granted(again)) => {
            assert_eq!((first.mode, first.token, first.holds), (again.mode, again.token, again.holds));
        }
        (_, Outcome::Released | Outcome::Cancelled, again) => {
            assert_eq!(again, Outcome::Refused(Refusal::NotFound));
        }
        (_, first, again) => assert_eq!(*first, again, "{command:?} twice"),
    }
}

/// What is read back from the store is the same resource, and goes on as the one that was never stored.
fn assert_stored(old: &Resource, command: &Command, generation: u16, applied: &Applied, now: &Resource) {
    let mut stored = Resource::decode(&old.encode()).unwrap();
    assert_eq!(stored, *old);
    assert_eq!(stored.apply(command, generation), *applied);
    assert_eq!(stored, *now);
    assert_eq!(stored.encode(), now.encode());
}

/// What is said of one lock is what the reference says.
fn assert_stands(resource: &Resource, reference: &Reference, key: LockKey) {
    let found = resource.lock(key).map(|state| match state {
        LockState::Granted(grant) => Outcome::Granted(grant),
        LockState::Converting { held, to, ahead } => {
            assert_eq!(reference.converting[ahead as usize].to, to);
            Outcome::Queued(Queued { key, ahead, held: Some(held.mode) })
        }
        LockState::Waiting { mode, ahead, since_unix_ms } => {
            let waiting = &reference.waiting[ahead as usize - reference.converting.len()];
            assert_eq!((waiting.mode, waiting.since), (mode, since_unix_ms));
            Outcome::Queued(Queued { key, ahead, held: None })
        }
    });
    assert_eq!(found.unwrap_or(Outcome::Refused(Refusal::NotFound)), reference.query(key));
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

/// A holder is said to block exactly what is wanted and not compatible with it; and who waits, to be blocked by the
/// holders that are in its way and by who stands before it.
fn assert_blocking(resource: &Resource) {
    let mut wanted = ModeSet::EMPTY;
    resource.queue().for_each(|entry| wanted.insert(entry.mode));
    assert_eq!(resource.queued_modes(), wanted);
    for holder in resource.holders() {
        let own = |key| key == holder.key || holder.aliases().any(|alias| alias == key);
        let wanted = resource
            .queue()
            .filter(|entry| !own(entry.key) && !compatible(entry.mode, holder.mode))
            .map(|entry| entry.mode);
        let blocks = resource.blocks(holder.key);
        assert_eq!(blocks, wanted.reduce(Mode::join));
        assert!(holder.aliases().all(|alias| resource.blocks(alias) == blocks));
    }
    let queue: Vec<_> = resource.queue().collect();
    for (at, entry) in queue.iter().enumerate() {
        let primary = |key| {
            let own = resource
                .holders()
                .find(|holder| holder.key == key || holder.aliases().any(|alias| alias == key));
            own.map_or(key, |holder| holder.key)
        };
        let mut expected: Vec<_> = resource
            .holders()
            .filter(|holder| holder.key != primary(entry.key) && !compatible(holder.mode, entry.mode))
            .map(|holder| holder.key)
            .chain(at.checked_sub(1).map(|before| primary(queue[before].key)))
            .collect();
        let mut found = resource.blockers_of(entry.key);
        expected.sort();
        expected.dedup();
        found.sort();
        assert_eq!(found, expected);
        assert!(!found.is_empty(), "{entry:?} waits for nobody");
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 1000 }, ..ProptestConfig::default() })]

    #[test]
    fn the_state_machine_keeps_the_rules(sequential 1..60 => Machine);
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
