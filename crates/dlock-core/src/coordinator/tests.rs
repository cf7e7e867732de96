//! The coordinator against a store that the test plays by hand.

mod mastering;

use super::*;
use crate::resource::{Acquire, Convert, Patience, ValueUpdate};
use crate::{LockId, Mode, SessionId, ValueBlock};

const ALONE: Rules = Rules::ALONE;
const SHARED: Rules = Rules { exclusive: false, ..ALONE };
const UNGUARDED: Rules = Rules { guards: false, ..SHARED };

fn key(session: u128, lock: u64) -> LockKey {
    LockKey { session: SessionId(session), lock: LockId(lock) }
}

fn acquire_with(key: LockKey, mode: Mode, patience: Patience) -> Command {
    let (reentrant, since_unix_ms, waiters_max) = (false, 0, 1000);
    Command::Acquire(Acquire { key, mode, patience, reentrant, since_unix_ms, waiters_max })
}

fn acquire(key: LockKey) -> Command {
    acquire_with(key, Mode::Exclusive, Patience::Wait)
}

fn release(key: LockKey) -> Command {
    Command::Release { key, value: ValueUpdate::Keep }
}

fn guard(session: u128) -> Option<SessionGuard> {
    Some(SessionGuard { session: SessionId(session), version: 1, moved: false, claims_all: true })
}

fn moved(session: u128) -> Option<SessionGuard> {
    Some(SessionGuard { session: SessionId(session), version: 2, moved: true, claims_all: true })
}

/// One server's coordinator, with what it asked for.
struct Server {
    coordinator: Coordinator<&'static str>,
    rules: Rules,
    actions: Vec<Action<&'static str>>,
}

/// One record, played by hand.
struct Store {
    version: u64,
    content: Content,
}

impl Store {
    fn empty() -> Store {
        Store { version: 0, content: Content::Absent { floor: 0 } }
    }

    fn read(&self) -> Loaded {
        Loaded { version: self.version, content: self.content.clone() }
    }

    fn commit(&mut self, commit: &Commit) -> CommitResult {
        if commit.expected != self.version {
            return CommitResult::Conflict { current: None };
        }
        self.version += 1;
        self.content = match &commit.change {
            Change::Put(pieces) => Content::Present(pieces.concat().into()),
            Change::Delete { floor } => Content::Absent { floor: *floor },
        };
        CommitResult::Committed { version: self.version }
    }

    fn resource(&self) -> Resource {
        match &self.content {
            Content::Present(bytes) => Resource::decode(bytes).unwrap(),
            Content::Absent { floor } => Resource::new(Token::from_u64(*floor).unwrap()),
        }
    }
}

impl Server {
    fn new(rules: Rules) -> Server {
        Server { coordinator: Coordinator::new(), rules, actions: Vec::new() }
    }

    fn submit(&mut self, ticket: &'static str, command: Command, guard: Option<SessionGuard>) {
        self.coordinator.submit(ticket, command, guard, &self.rules, &mut self.actions);
    }

    fn loaded(&mut self, loaded: Loaded) {
        self.coordinator.loaded(Ok(loaded), &self.rules, &mut self.actions);
    }

    fn committed(&mut self, result: CommitResult) {
        self.coordinator.committed(result, &self.rules, &mut self.actions);
    }

    /// Takes the one commit that must be waiting to be sent.
    fn take_commit(&mut self) -> Commit {
        let at =
            self.actions.iter().position(|action| matches!(action, Action::Commit(_))).expect("a commit");
        let Action::Commit(commit) = self.actions.remove(at) else { unreachable!() };
        commit
    }

    fn take_load(&mut self) {
        let at = self.actions.iter().position(|action| *action == Action::Load).expect("a load");
        self.actions.remove(at);
    }

    /// Serves the store's part until nothing is asked of it any more.
    fn serve(&mut self, store: &mut Store) {
        loop {
            let wants = |action: &Action<_>| matches!(action, Action::Load | Action::Commit(_));
            let Some(at) = self.actions.iter().position(wants) else { return };
            match self.actions.remove(at) {
                Action::Load => self.loaded(store.read()),
                Action::Commit(commit) => {
                    let result = store.commit(&commit);
                    self.committed(result);
                }
                _ => unreachable!(),
            }
        }
    }

    /// Acquires with a commit that is cut off, and gives up as nothing can be read. Returns the commit: it may be late.
    fn give_up_acquire(&mut self, ticket: &'static str, key: LockKey, store: &Store) -> Commit {
        self.submit(ticket, acquire(key), guard(key.session.0));
        self.take_load();
        self.loaded(store.read());
        let late = self.take_commit();
        self.committed(CommitResult::Ambiguous { reason: "cut".into() });
        self.take_load();
        self.coordinator.loaded(Err("down".into()), &self.rules, &mut self.actions);
        assert_eq!(self.told(), [format!("{ticket}: unavailable")]);
        late
    }

    /// What was told, in order, as short words.
    fn told(&mut self) -> Vec<String> {
        let word = |action: Action<&'static str>| match action {
            Action::Answer { ticket, outcome } => match outcome {
                Outcome::Granted(grant) => format!("{ticket}: granted {} token {}", grant.mode, grant.token),
                Outcome::Queued(place) => format!("{ticket}: queued behind {}", place.ahead),
                Outcome::Released => format!("{ticket}: released"),
                Outcome::Cancelled => format!("{ticket}: cancelled"),
                Outcome::Purged => format!("{ticket}: purged"),
                Outcome::Refused(refusal) => format!("{ticket}: refused {refusal:?}"),
            },
            Action::Fail { ticket, failure: Failure::Unavailable { .. } } => format!("{ticket}: unavailable"),
            Action::Fail { ticket, failure } => format!("{ticket}: failed {failure:?}"),
            Action::Promoted(grant) => format!("promoted {} token {}", grant.key.lock, grant.token),
            Action::Vanished(key) => format!("vanished {}", key.lock),
            Action::Contention => "contention".to_owned(),
            Action::WentBack => "went back".to_owned(),
            Action::Load | Action::Commit(_) => panic!("the store was not served"),
        };
        std::mem::take(&mut self.actions).into_iter().map(word).collect()
    }
}

#[test]
fn an_uncontended_acquire_and_release_are_one_commit_each_once_the_record_is_known() {
    let (mut server, mut store) = (Server::new(ALONE), Store::empty());
    server.submit("a", acquire(key(1, 1)), guard(1));
    server.serve(&mut store);
    assert_eq!(server.told(), ["a: granted EX token 1"]);
    server.submit("r", release(key(1, 1)), guard(1));
    assert!(matches!(server.actions.as_slice(), [Action::Commit(_)]));
    let commit = server.take_commit();
    assert_eq!(commit.guards.as_slice(), [guard(1).unwrap()]);
    let result = store.commit(&commit);
    server.committed(result);
    assert_eq!(server.told(), ["r: released"]);
}

#[test]
fn commands_that_were_gathered_share_a_commit() {
    let (mut server, mut store) = (Server::new(ALONE), Store::empty());
    server.submit("first", acquire(key(1, 1)), guard(1));
    server.serve(&mut store);
    server.told();
    let gathered = [
        ("release", release(key(1, 1)), guard(1)),
        ("second", acquire(key(2, 1)), guard(2)),
        ("third", acquire(key(3, 1)), guard(3)),
    ];
    for (ticket, command, guard) in gathered {
        server.coordinator.gather(ticket, command, guard, &server.rules);
    }
    assert_eq!(server.actions, []);
    server.coordinator.advance(&server.rules, &mut server.actions);
    let before = store.version;
    server.serve(&mut store);
    assert_eq!(store.version, before + 1);
    assert_eq!(
        server.told(),
        ["release: released", "second: granted EX token 2", "third: queued behind 0", "contention"]
    );
}

#[test]
fn nothing_is_told_before_it_is_committed() {
    let (mut server, store) = (Server::new(ALONE), Store::empty());
    server.submit("a", acquire(key(1, 1)), guard(1));
    server.take_load();
    server.loaded(store.read());
    assert!(matches!(server.actions.as_slice(), [Action::Commit(_)]));
}

#[test]
fn commands_that_come_during_a_commit_share_the_next_one() {
    let (mut server, mut store) = (Server::new(ALONE), Store::empty());
    server.submit("a", acquire(key(1, 1)), guard(1));
    server.take_load();
    server.loaded(store.read());
    let first = server.take_commit();
    server.submit("b", acquire(key(2, 2)), guard(2));
    server.submit("c", acquire(key(3, 3)), guard(3));
    server.submit("r", release(key(1, 1)), guard(1));
    assert_eq!(server.told(), Vec::<String>::new());
    let result = store.commit(&first);
    server.committed(result);
    let second = server.take_commit();
    assert_eq!(second.guards.len(), 3);
    let result = store.commit(&second);
    server.committed(result);
    let told = server.told();
    let expected = [
        "a: granted EX token 1",
        "b: queued behind 0",
        "c: queued behind 1",
        "r: released",
        "promoted 2 token 2",
    ];
    assert_eq!(
        told.iter().filter(|word| *word != "contention").collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    assert_eq!(store.version, 2);
}

#[test]
fn commands_of_more_sessions_than_a_commit_can_guard_go_in_several() {
    let (mut server, mut store) = (Server::new(SHARED), Store::empty());
    server.submit("first", acquire(key(1, 1)), guard(1));
    server.take_load();
    server.loaded(store.read());
    let mut commit = server.take_commit();
    let sessions = 3 * GUARDS_MAX as u128;
    for session in 2..=sessions {
        server.submit("waits", acquire(key(session, 1)), guard(session));
        server.submit("waits", acquire(key(session, 2)), guard(session));
    }
    for guards in [1, GUARDS_MAX, GUARDS_MAX, GUARDS_MAX - 1] {
        assert_eq!(commit.guards.len(), guards);
        let result = store.commit(&commit);
        server.committed(result);
        if server.actions.iter().any(|action| matches!(action, Action::Commit(_))) {
            commit = server.take_commit();
        }
    }
    let told = server.told();
    assert_eq!(
        told.iter().filter(|word| word.starts_with("waits: queued")).count() as u128,
        2 * (sessions - 1)
    );
    assert_eq!(store.resource().queue().count() as u128, 2 * (sessions - 1));
}

#[test]
fn refusals_of_more_sessions_than_a_commit_can_guard_are_all_told() {
    let (mut server, mut store) = (Server::new(SHARED), Store::empty());
    server.submit("first", acquire(key(1, 1)), guard(1));
    server.serve(&mut store);
    let sessions = 2 * GUARDS_MAX as u128 + 10;
    server.coordinator.recheck(&server.rules, &mut server.actions);
    for session in 2..=sessions {
        server.submit("tries", acquire_with(key(session, 1), Mode::Exclusive, Patience::Try), guard(session));
    }
    server.serve(&mut store);
    let told = server.told();
    assert_eq!(told.iter().filter(|word| word.starts_with("tries: refused")).count() as u128, sessions - 1);
}

#[test]
fn a_hand_over_to_another_server_is_one_commit_and_one_piece_of_news() {
    let mut store = Store::empty();
    let (mut one, mut two) = (Server::new(SHARED), Server::new(SHARED));
    one.submit("a", acquire(key(1, 1)), guard(1));
    one.serve(&mut store);
    two.submit("b", acquire(key(2, 2)), guard(2));
    two.serve(&mut store);
    assert_eq!(two.told(), ["b: queued behind 0", "contention"]);
    one.coordinator.changed(Some(store.read()), &SHARED, &mut one.actions);
    assert_eq!(one.told(), ["a: granted EX token 1", "contention"]);
    let before = store.version;
    one.submit("r", release(key(1, 1)), guard(1));
    one.serve(&mut store);
    assert_eq!(store.version, before + 1);
    two.coordinator.changed(Some(store.read()), &SHARED, &mut two.actions);
    assert_eq!(two.told(), ["promoted 2 token 2", "vanished 1", "contention"]);
}

#[test]
fn a_conflict_is_decided_anew_on_what_the_other_server_wrote() {
    let mut store = Store::empty();
    let (mut one, mut two) = (Server::new(SHARED), Server::new(SHARED));
    for (server, ticket) in [(&mut one, "a"), (&mut two, "b")] {
        server.submit(ticket, acquire(key(u128::from(ticket == "b") + 1, 1)), guard(1));
        server.take_load();
        server.loaded(store.read());
    }
    one.serve(&mut store);
    two.serve(&mut store);
    assert_eq!(one.told(), ["a: granted EX token 1"]);
    assert_eq!(two.told(), ["b: queued behind 0", "contention"]);
}

#[test]
fn an_old_view_refuses_nobody() {
    let mut store = Store::empty();
    let (mut one, mut two) = (Server::new(SHARED), Server::new(SHARED));
    one.submit("a", acquire(key(1, 1)), guard(1));
    one.serve(&mut store);
    two.submit("t", acquire_with(key(2, 1), Mode::Exclusive, Patience::Try), guard(2));
    two.serve(&mut store);
    assert_eq!(two.told(), ["t: refused WouldBlock"]);
    one.submit("r", release(key(1, 1)), guard(1));
    one.serve(&mut store);
    // No news has reached the second server, and yet it must not refuse.
    two.submit("t", acquire_with(key(2, 2), Mode::Exclusive, Patience::Try), guard(2));
    two.serve(&mut store);
    assert_eq!(two.told(), ["vanished 1", "t: granted EX token 2"]);
}

#[test]
fn an_ambiguous_commit_that_took_effect_is_a_success() {
    let (mut server, mut store) = (Server::new(SHARED), Store::empty());
    server.submit("a", acquire(key(1, 1)), guard(1));
    server.take_load();
    server.loaded(store.read());
    let commit = server.take_commit();
    store.commit(&commit);
    server.committed(CommitResult::Ambiguous { reason: "cut".into() });
    server.submit("q", Command::Query { key: key(1, 1) }, guard(1));
    server.serve(&mut store);
    assert_eq!(server.told(), ["a: granted EX token 1", "q: granted EX token 1"]);
    assert_eq!(store.version, 1);
}

#[test]
fn an_ambiguous_commit_of_a_record_in_pieces_is_known_again() {
    let (mut server, mut store) = (Server::new(SHARED), Store::empty());
    let shared = |session| match acquire(key(session, 1)) {
        Command::Acquire(acquire) => {
            Command::Acquire(Acquire { mode: Mode::ProtectedRead, patience: Patience::Try, ..acquire })
        }
        other => other,
    };
    server.submit("first", shared(1), guard(1));
    server.take_load();
    server.loaded(store.read());
    for session in 2.. {
        let commit = server.take_commit();
        let result = store.commit(&commit);
        if matches!(&commit.change, Change::Put(pieces) if pieces.len() > 3) {
            break;
        }
        server.committed(result);
        server.submit("next", shared(session), guard(session));
    }
    let version = store.version;
    server.told();
    server.committed(CommitResult::Ambiguous { reason: "cut".into() });
    server.serve(&mut store);
    assert!(server.told()[0].starts_with("next: granted PR"));
    assert_eq!((store.version, server.coordinator.settled()), (version, Some(&store.resource())));
}

#[test]
fn an_ambiguous_commit_that_did_not_arrive_is_sent_again_as_it_was() {
    let (mut server, mut store) = (Server::new(SHARED), Store::empty());
    server.submit("a", acquire(key(1, 1)), guard(1));
    server.take_load();
    server.loaded(store.read());
    let lost = server.take_commit();
    server.committed(CommitResult::Ambiguous { reason: "cut".into() });
    server.take_load();
    server.loaded(store.read());
    assert_eq!(server.take_commit(), lost);
    let result = store.commit(&lost);
    server.committed(result);
    assert_eq!(server.told(), ["a: granted EX token 1"]);
}

#[test]
fn an_ambiguous_release_that_others_have_built_upon_is_a_release() {
    let mut store = Store::empty();
    let (mut one, mut two) = (Server::new(SHARED), Server::new(SHARED));
    one.submit("a", acquire(key(1, 1)), guard(1));
    one.serve(&mut store);
    one.submit("r", release(key(1, 1)), guard(1));
    let commit = one.take_commit();
    store.commit(&commit);
    two.submit("b", acquire(key(2, 1)), guard(2));
    two.serve(&mut store);
    one.committed(CommitResult::Ambiguous { reason: "cut".into() });
    one.serve(&mut store);
    assert_eq!(one.told(), ["a: granted EX token 1", "r: released"]);
    assert_eq!(two.told(), ["b: granted EX token 2"]);
}

#[test]
fn an_ambiguous_conversion_with_a_value_that_others_have_replaced_is_done() {
    let value = |byte: u8| ValueUpdate::Write(ValueBlock::new(vec![byte]).unwrap());
    let down =
        |byte| Convert { key: key(1, 1), mode: Mode::Null, patience: Patience::Wait, value: value(byte) };
    let mut store = Store::empty();
    let (mut one, mut two) = (Server::new(SHARED), Server::new(SHARED));
    one.submit("a", acquire(key(1, 1)), guard(1));
    one.serve(&mut store);
    one.submit("c", Command::Convert(down(1)), guard(1));
    let commit = one.take_commit();
    store.commit(&commit);
    two.submit("b", acquire(key(2, 1)), guard(2));
    two.submit("r", Command::Release { key: key(2, 1), value: value(2) }, guard(2));
    two.serve(&mut store);
    one.committed(CommitResult::Ambiguous { reason: "cut".into() });
    one.serve(&mut store);
    assert_eq!(one.told(), ["a: granted EX token 1", "c: granted NL token 1"]);
    one.submit("d", Command::Convert(down(3)), guard(1));
    one.serve(&mut store);
    assert_eq!(one.told(), ["d: refused ValueNotWritable { held: Null, to: Null }"]);
}

#[test]
fn an_outcome_that_stays_unknown_is_unavailable_and_the_retry_has_one_effect() {
    let (mut server, mut store) = (Server::new(SHARED), Store::empty());
    let late = server.give_up_acquire("a", key(1, 1), &store);
    store.commit(&late); // it arrives after all
    server.submit("a again", acquire(key(1, 1)), guard(1));
    server.serve(&mut store);
    assert_eq!(server.told(), ["a again: granted EX token 1"]);
}

#[test]
fn what_is_answered_is_not_undone_by_a_commit_that_was_given_up() {
    for rules in [ALONE, SHARED, UNGUARDED] {
        let (mut server, mut store) = (Server::new(rules), Store::empty());
        let late = server.give_up_acquire("a", key(1, 1), &store);
        assert!(!server.coordinator.is_quiet(), "what is known of the late commit must not be forgotten");
        server.submit("r", release(key(1, 1)), guard(1));
        server.serve(&mut store);
        assert_eq!(server.told(), ["r: refused NotFound"]);
        assert_eq!(store.commit(&late), CommitResult::Conflict { current: None });
        let version = store.version;
        server.submit("q", Command::Query { key: key(1, 1) }, guard(1));
        server.serve(&mut store);
        assert!(server.coordinator.is_quiet() && store.version == version, "it can't arrive any more");
    }
}

#[test]
fn a_commit_that_was_given_up_is_kept_from_arriving_though_nobody_asks_again() {
    let (mut server, mut store) = (Server::new(SHARED), Store::empty());
    let late = server.give_up_acquire("a", key(1, 1), &store);
    assert!(server.coordinator.is_in_doubt());
    server.coordinator.recheck(&server.rules, &mut server.actions);
    server.serve(&mut store);
    assert!(!server.coordinator.is_in_doubt() && server.coordinator.is_quiet());
    assert_eq!(store.commit(&late), CommitResult::Conflict { current: None });
}

#[test]
fn what_a_session_that_has_moved_is_refused_is_not_granted_by_its_former_home() {
    let mut store = Store::empty();
    let (mut former, mut home) = (Server::new(UNGUARDED), Server::new(UNGUARDED));
    former.submit("a", acquire(key(1, 1)), guard(1));
    former.serve(&mut store);
    // While it reads, a release and a try gather.
    former.coordinator.recheck(&former.rules, &mut former.actions);
    former.take_load();
    former.submit("r", release(key(1, 1)), guard(1));
    former.submit("t", acquire_with(key(2, 1), Mode::Exclusive, Patience::Try), guard(2));
    former.loaded(store.read());
    let late = former.take_commit(); // the sessions are verified, and now the second one moves
    home.submit("t again", acquire_with(key(2, 1), Mode::Exclusive, Patience::Try), moved(2));
    home.serve(&mut store);
    assert_eq!(home.told(), ["t again: refused WouldBlock"]);
    assert_eq!(store.commit(&late), CommitResult::Conflict { current: None });
}

#[test]
fn a_cancellation_that_has_moved_keeps_its_former_homes_conversion_from_coming() {
    let mut store = Store::empty();
    let (mut former, mut home) = (Server::new(UNGUARDED), Server::new(UNGUARDED));
    former.submit("a", acquire(key(1, 1)), guard(1));
    former.serve(&mut store);
    let (mode, patience, value) = (Mode::ProtectedRead, Patience::Wait, ValueUpdate::Keep);
    former.submit("c", Command::Convert(Convert { key: key(1, 1), mode, patience, value }), guard(1));
    let late = former.take_commit();
    home.submit("x", Command::Cancel { key: key(1, 1) }, moved(1));
    home.serve(&mut store);
    assert_eq!(home.told(), ["x: granted EX token 1"]);
    assert_eq!(store.commit(&late), CommitResult::Conflict { current: None });
}

#[test]
fn a_waiter_granted_by_a_commit_of_unknown_outcome_is_told_when_the_record_is_read() {
    for rules in [ALONE, SHARED] {
        let (mut server, mut store) = (Server::new(rules), Store::empty());
        server.submit("a", acquire(key(1, 1)), guard(1));
        server.submit("b", acquire(key(2, 2)), guard(2));
        server.serve(&mut store);
        server.submit("r", release(key(1, 1)), guard(1));
        let commit = server.take_commit();
        store.commit(&commit);
        server.committed(CommitResult::Ambiguous { reason: "cut".into() });
        server.take_load();
        server.coordinator.loaded(Err("down".into()), &rules, &mut server.actions);
        server.told();
        server.submit("q", Command::Query { key: key(2, 2) }, guard(2));
        server.serve(&mut store);
        assert!(server.told().contains(&"promoted 2 token 2".to_owned()));
    }
}

/// Two servers; a session at each wants the same lock, the one at `one` has it, and the one at `two` waits.
fn one_holds_and_two_waits() -> (Store, Server, Server) {
    let mut store = Store::empty();
    let (mut one, mut two) = (Server::new(SHARED), Server::new(SHARED));
    one.submit("a", acquire(key(1, 1)), guard(1));
    one.serve(&mut store);
    two.submit("b", acquire(key(2, 2)), guard(2));
    two.serve(&mut store);
    two.told();
    one.submit("r", release(key(1, 1)), guard(1));
    one.serve(&mut store);
    (store, one, two)
}

#[test]
fn a_waiter_is_told_of_its_grant_though_a_read_failed_before() {
    for recheck in [true, false] {
        let (mut store, _, mut two) = one_holds_and_two_waits();
        two.coordinator.recheck(&two.rules, &mut two.actions);
        two.take_load();
        two.coordinator.loaded(Err("gone".to_owned()), &SHARED, &mut two.actions);
        if recheck {
            two.coordinator.recheck(&two.rules, &mut two.actions);
        } else {
            two.coordinator.changed(Some(store.read()), &SHARED, &mut two.actions);
        }
        two.serve(&mut store);
        assert_eq!(two.told(), ["promoted 2 token 2", "vanished 1", "contention"]);
    }
}

#[test]
fn a_waiter_is_told_of_its_grant_though_a_commit_failed_before() {
    let (mut store, _, mut two) = one_holds_and_two_waits();
    two.submit("c", acquire(key(3, 3)), guard(3));
    two.take_commit();
    two.committed(CommitResult::NotApplied { reason: "gone".to_owned() });
    assert_eq!(two.told(), ["c: unavailable"]);
    two.coordinator.recheck(&two.rules, &mut two.actions);
    two.serve(&mut store);
    assert_eq!(two.told(), ["promoted 2 token 2", "vanished 1", "contention"]);
}

#[test]
fn a_refused_session_loses_its_commands_and_nobody_elses() {
    let (mut server, mut store) = (Server::new(ALONE), Store::empty());
    server.submit("a", acquire(key(1, 1)), guard(1));
    server.take_load();
    server.submit("b", acquire(key(2, 1)), guard(2));
    server.loaded(store.read());
    server.take_commit();
    server.committed(CommitResult::SessionRefused(guard(1).unwrap()));
    server.serve(&mut store);
    assert_eq!(server.told(), ["a: failed SessionRefused", "b: granted EX token 1"]);
    assert!(store.resource().lock(key(1, 1)).is_none());
}

#[test]
fn a_release_that_finds_nothing_writes_where_the_store_cant_guard() {
    for (rules, writes) in [(SHARED, 0), (UNGUARDED, 1)] {
        let (mut server, mut store) = (Server::new(rules), Store::empty());
        server.submit("r", release(key(1, 1)), guard(1));
        server.serve(&mut store);
        assert_eq!(server.told(), ["r: refused NotFound"]);
        assert_eq!(store.version, writes);
    }
}

#[test]
fn tokens_go_on_growing_after_the_record_was_collected() {
    let (mut server, mut store) = (Server::new(ALONE), Store::empty());
    server.submit("a", acquire(key(1, 1)), guard(1));
    server.submit("r", release(key(1, 1)), guard(1));
    server.serve(&mut store);
    server.told();
    assert!(server.coordinator.collect(&mut server.actions));
    server.serve(&mut store);
    assert_eq!(store.content, Content::Absent { floor: 1 });
    server.submit("b", acquire(key(2, 1)), guard(2));
    server.serve(&mut store);
    assert_eq!(server.told(), ["b: granted EX token 2"]);
}

#[test]
fn a_lock_that_was_revoked_elsewhere_is_told_as_vanished() {
    let mut store = Store::empty();
    let (mut one, mut two) = (Server::new(SHARED), Server::new(SHARED));
    one.submit("a", acquire(key(1, 1)), guard(1));
    one.serve(&mut store);
    one.told();
    two.submit("x", Command::Revoke { key: key(1, 1), token: None }, None);
    two.serve(&mut store);
    assert_eq!(two.told(), ["x: released", "vanished 1"]);
    one.coordinator.changed(Some(store.read()), &SHARED, &mut one.actions);
    assert_eq!(one.told(), ["vanished 1"]);
}

#[test]
fn a_lock_that_its_own_release_has_ended_without_an_answer_is_not_told_as_vanished() {
    let mut store = Store::empty();
    let mut one = Server::new(SHARED);
    one.submit("a", acquire(key(1, 1)), guard(1));
    one.serve(&mut store);
    one.submit("r", release(key(1, 1)), guard(1));
    let commit = one.take_commit();
    store.commit(&commit);
    one.committed(CommitResult::Ambiguous { reason: "cut".into() });
    one.take_load();
    one.coordinator.loaded(Err("down".into()), &SHARED, &mut one.actions);
    assert_eq!(one.told(), ["a: granted EX token 1", "r: unavailable"]);
    one.coordinator.changed(Some(store.read()), &SHARED, &mut one.actions);
    one.serve(&mut store);
    assert_eq!(one.told(), [""; 0]);
    // From here on it would be somebody else's doing.
    one.submit("b", acquire(key(1, 1)), guard(1));
    one.serve(&mut store);
    let mut two = Server::new(SHARED);
    two.submit("x", Command::Revoke { key: key(1, 1), token: None }, None);
    two.serve(&mut store);
    one.coordinator.changed(Some(store.read()), &SHARED, &mut one.actions);
    assert_eq!(one.told(), ["b: granted EX token 2", "vanished 1"]);
}

#[test]
fn a_release_that_arrives_just_before_it_is_sent_again_has_released() {
    let mut store = Store::empty();
    let mut one = Server::new(SHARED);
    one.submit("a", acquire(key(1, 1)), guard(1));
    one.serve(&mut store);
    one.submit("r", release(key(1, 1)), guard(1));
    let late = one.take_commit();
    one.committed(CommitResult::Ambiguous { reason: "cut".into() });
    one.take_load();
    one.loaded(store.read());
    let again = one.take_commit();
    assert_eq!(again, late);
    assert_eq!(store.commit(&late), CommitResult::Committed { version: 2 });
    one.committed(store.commit(&again));
    one.serve(&mut store);
    assert_eq!(one.told(), ["a: granted EX token 1", "r: released"]);
}

#[test]
fn a_record_that_cannot_be_read_fails_its_commands_and_says_why() {
    let mut server = Server::new(ALONE);
    server.submit("a", acquire(key(1, 1)), guard(1));
    server.take_load();
    server.loaded(Loaded { version: 3, content: Content::Present(Bytes::from_static(b"\xffnot a record")) });
    assert!(matches!(
        server.actions.as_slice(),
        [Action::Fail { ticket: "a", failure: Failure::Unreadable { .. } }]
    ));
}
