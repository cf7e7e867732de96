//! Resources that a server answers for from memory.

use super::*;
use crate::resource::Claim;
use crate::{ValueBlock, record};

const MASTERS: Rules = Rules { masters: true, peers_master: true, period: Some(1), ..SHARED };
const OTHER: Rules = Rules { member: MemberId(2), ..MASTERS };

fn claim(key: LockKey, token: u64) -> Command {
    let token = Token::from_u64(token).unwrap();
    Command::Claim(Claim { key, mode: Mode::Exclusive, token, since_unix_ms: 0 })
}

/// That of the record's last writing by its master.
fn mark_of(store: &Store) -> u64 {
    store.resource().master().expect("it is mastered").mark
}

fn ten_pairs() -> Vec<(&'static str, Command, Option<SessionGuard>)> {
    let pair = [("a", acquire(key(1, 1)), guard(1)), ("r", release(key(1, 1)), guard(1))];
    std::iter::repeat_n(pair, 10).flatten().collect()
}

impl Server {
    fn do_all(&mut self, store: &mut Store, commands: &[(&'static str, Command, Option<SessionGuard>)]) {
        for (ticket, command, guard) in commands {
            self.submit(ticket, command.clone(), *guard);
            self.serve(store);
        }
    }

    /// Commits until it masters the resource, which is idle then.
    fn become_master(&mut self, store: &mut Store) {
        for _ in 0..100 {
            self.do_all(store, &[("a", acquire(key(1, 1)), guard(1)), ("r", release(key(1, 1)), guard(1))]);
            if self.coordinator.is_master() {
                self.told();
                return;
            }
        }
        panic!("it does not become the master");
    }

    /// Hears what is in the store, and does what follows.
    fn hear(&mut self, store: &mut Store) {
        self.coordinator.changed(Some(store.read()), &self.rules, &mut self.actions);
        self.serve(store);
    }
}

/// A server that masters the resource, another one, and their store.
fn mastered() -> (Server, Server, Store) {
    let (mut one, two, mut store) = (Server::new(MASTERS), Server::new(OTHER), Store::empty());
    one.become_master(&mut store);
    (one, two, store)
}

#[test]
fn a_master_writes_nothing() {
    let (mut one, _, mut store) = mastered();
    let before = store.version;
    one.do_all(
        &mut store,
        &[
            ("a", acquire(key(1, 1)), guard(1)),
            ("b", acquire(key(1, 2)), guard(1)),
            ("r", release(key(1, 1)), guard(1)),
        ],
    );
    assert_eq!(
        one.told(),
        [
            "a: granted EX token 3",
            "b: queued behind 0",
            "contention",
            "r: released",
            "promoted 2 token 4",
            "contention"
        ]
    );
    assert_eq!(store.version, before);
}

#[test]
fn who_may_not_master_writes_everything() {
    let (mut one, mut store) = (Server::new(SHARED), Store::empty());
    let twenty = ten_pairs();
    one.do_all(&mut store, &twenty);
    assert_eq!(store.version, 20);
    assert!(!one.coordinator.is_master());
}

#[test]
fn another_server_asks_for_it_and_gets_it_as_it_stands() {
    let (mut one, mut two, mut store) = mastered();
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1)), ("w", acquire(key(1, 2)), guard(1))]);
    one.told();
    two.do_all(&mut store, &[("b", acquire(key(2, 1)), guard(2))]);
    assert_eq!(two.told(), Vec::<String>::new());
    assert_eq!(two.coordinator.waits_for(), Some((MASTERS.member, mark_of(&store))));
    one.hear(&mut store);
    assert!(!one.coordinator.is_master());
    assert_eq!(one.told(), Vec::<String>::new(), "nothing has changed for its own clients");
    two.hear(&mut store);
    assert_eq!(two.told(), ["contention", "b: queued behind 1"]);
    one.hear(&mut store);
    one.do_all(&mut store, &[("r", release(key(1, 1)), guard(1))]);
    assert_eq!(one.told(), ["r: released", "promoted 2 token 4"]);
}

#[test]
fn who_asks_again_wakes_the_master_again() {
    let (mut one, mut two, mut store) = mastered();
    two.do_all(&mut store, &[("b", acquire(key(2, 1)), guard(2))]);
    let asked = store.version;
    two.coordinator.recheck(&two.rules, &mut two.actions);
    two.serve(&mut store);
    assert_eq!(store.version, asked + 1);
    one.hear(&mut store);
    two.hear(&mut store);
    assert_eq!(two.told(), ["b: granted EX token 3"]);
}

#[test]
fn those_who_wait_for_a_master_hear_that_it_cannot_be_asked() {
    let (_, mut two, store) = mastered();
    two.submit("b", acquire(key(2, 1)), guard(2));
    two.take_load();
    two.loaded(store.read());
    two.take_commit();
    two.committed(CommitResult::NotApplied { reason: "down".into() });
    assert_eq!(two.told(), ["b: unavailable"]);
}

#[test]
fn a_session_that_is_new_to_the_master_is_looked_up_once() {
    let (mut one, _, mut store) = mastered();
    one.submit("t", acquire(key(2, 1)), guard(2));
    let commit = one.take_commit();
    assert_eq!(commit.guards.as_slice(), [guard(2).unwrap()]);
    let result = store.commit(&commit);
    one.committed(result);
    assert_eq!(one.told(), ["t: granted EX token 3"]);
    one.submit("r", release(key(2, 1)), guard(2));
    assert_eq!(one.told(), ["r: released"]);
    // At another home and back again, it is a new one.
    one.submit("t", acquire(key(2, 1)), moved(2));
    one.take_commit();
}

#[test]
fn a_session_that_has_moved_is_refused_and_the_others_served_as_before() {
    let (mut one, _, mut store) = mastered();
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1))]);
    one.submit("t", acquire(key(2, 1)), guard(2));
    one.submit("r", release(key(1, 1)), guard(1));
    one.take_commit();
    one.committed(CommitResult::SessionRefused(guard(2).unwrap()));
    one.serve(&mut store);
    assert_eq!(one.told(), ["a: granted EX token 3", "t: failed SessionRefused", "r: released"]);
    assert!(one.coordinator.is_master());
}

#[test]
fn a_session_whose_client_cannot_claim_all_its_locks_has_them_in_the_store() {
    let (mut one, _, mut store) = mastered();
    let many = Some(SessionGuard { claims_all: false, ..guard(1).unwrap() });
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), many)]);
    assert!(!one.coordinator.is_master());
    assert_eq!(store.resource().holders().count(), 1);
}

#[test]
fn after_a_lapse_of_its_lease_a_master_must_ask_the_store() {
    let (mut one, _, mut store) = mastered();
    one.rules.period = None;
    one.submit("a", acquire(key(1, 1)), guard(1));
    one.take_commit();
    one.committed(CommitResult::NotApplied { reason: "no lease".into() });
    assert_eq!(one.told(), ["a: unavailable"]);
    one.rules.period = Some(2);
    let before = store.version;
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1)), ("r", release(key(1, 1)), guard(1))]);
    assert_eq!(store.version, before + 1, "once");
    assert_eq!(one.told(), ["a: granted EX token 3", "r: released"]);
}

#[test]
fn a_value_is_written_before_it_is_told() {
    let (mut one, _, mut store) = mastered();
    let value = ValueUpdate::Write(ValueBlock::new("7").unwrap());
    one.do_all(
        &mut store,
        &[("a", acquire(key(1, 1)), guard(1)), ("r", Command::Release { key: key(1, 1), value }, guard(1))],
    );
    assert!(!one.coordinator.is_master());
    assert_eq!(store.resource().value().block.bytes().as_ref(), b"7");
    let twenty = ten_pairs();
    let before = store.version;
    one.do_all(&mut store, &twenty);
    assert_eq!(store.version, before + 20, "what has a value is in the store");
}

#[test]
fn a_resource_is_not_mastered_while_others_have_locks_on_it() {
    let (mut one, mut two, mut store) = (Server::new(MASTERS), Server::new(OTHER), Store::empty());
    two.do_all(&mut store, &[("n", acquire_with(key(2, 1), Mode::ConcurrentRead, Patience::Wait), guard(2))]);
    for _ in 0..10 {
        one.do_all(
            &mut store,
            &[
                ("a", acquire_with(key(1, 1), Mode::ConcurrentRead, Patience::Wait), guard(1)),
                ("r", release(key(1, 1)), guard(1)),
            ],
        );
    }
    assert!(!one.coordinator.is_master());
}

#[test]
fn the_first_mark_is_guarded_by_all_who_have_locks() {
    let (mut one, mut store) = (Server::new(MASTERS), Store::empty());
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1)), ("b", acquire(key(2, 1)), guard(2))]);
    one.submit("c", acquire(key(3, 1)), guard(3));
    let commit = one.take_commit();
    let mut sessions: Vec<u128> = commit.guards.iter().map(|guard| guard.session.0).collect();
    sessions.sort_unstable();
    assert_eq!(sessions, [1, 2, 3]);
    // One of them has moved: no mark, but the command is served.
    one.committed(CommitResult::SessionRefused(guard(1).unwrap()));
    one.serve(&mut store);
    assert!(!one.coordinator.is_master());
    assert!(one.told().contains(&"c: queued behind 1".to_owned()));
}

/// Found by simulation: a session that had moved waited at its new home, and the former one granted its lock from memory.
#[test]
fn without_guards_what_a_session_is_told_at_its_new_home_keeps_the_former_one_from_mastering() {
    let (mut one, mut two, mut store) = (
        Server::new(Rules { guards: false, ..MASTERS }),
        Server::new(Rules { guards: false, ..OTHER }),
        Store::empty(),
    );
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1)), ("w", acquire(key(2, 1)), guard(2))]);
    one.submit("c", acquire(key(3, 1)), guard(3));
    let mark = one.take_commit();
    assert!(mark.guards.contains(&guard(2).unwrap()), "it was verified, and moves now");
    two.do_all(&mut store, &[("q", Command::Query { key: key(2, 1) }, moved(2))]);
    assert_eq!(two.told(), ["contention", "q: queued behind 0"]);
    assert!(matches!(store.commit(&mark), CommitResult::Conflict { .. }));
}

#[test]
fn tokens_grow_though_the_master_is_dead() {
    let (mut one, mut two, mut store) = mastered();
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1)), ("r", release(key(1, 1)), guard(1))]);
    assert_eq!(one.told(), ["a: granted EX token 3", "r: released"]);
    two.do_all(&mut store, &[("b", acquire(key(2, 1)), guard(2))]);
    let (_, mark) = two.coordinator.waits_for().unwrap();
    two.coordinator.master_dead(mark, true, &two.rules, &mut two.actions);
    two.serve(&mut store);
    let limit = (1 << 20) + 2;
    assert_eq!(two.told(), [format!("b: granted EX token {}", limit + 1)]);
    assert!(!two.coordinator.is_master());
}

#[test]
fn what_clients_claim_of_a_dead_master_is_believed_and_the_rest_waits() {
    let (mut one, mut two, mut store) = mastered();
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1))]);
    two.do_all(&mut store, &[("b", acquire(key(2, 1)), guard(2)), ("c", claim(key(1, 1), 3), moved(1))]);
    let (_, mark) = two.coordinator.waits_for().unwrap();
    two.coordinator.master_dead(mark, false, &two.rules, &mut two.actions);
    two.serve(&mut store);
    assert_eq!(two.told(), ["c: granted EX token 3"]);
    // Others can't claim against that, nor what was never granted.
    let mut three = Server::new(Rules { member: MemberId(3), ..MASTERS });
    three.do_all(
        &mut store,
        &[("x", claim(key(3, 1), 3), moved(3)), ("y", claim(key(3, 2), 1 << 40), moved(3))],
    );
    let (_, mark) = three.coordinator.waits_for().unwrap();
    three.coordinator.master_dead(mark, false, &three.rules, &mut three.actions);
    three.serve(&mut store);
    assert_eq!(three.told(), ["x: refused NotFound", "y: refused NotFound"]);
    two.hear(&mut store);
    let (_, mark) = two.coordinator.waits_for().unwrap();
    two.coordinator.master_dead(mark, true, &two.rules, &mut two.actions);
    two.serve(&mut store);
    assert_eq!(two.told(), ["b: queued behind 0", "contention"]);
    two.do_all(&mut store, &[("r", release(key(1, 1)), moved(1))]);
    assert_eq!(two.told()[0], "r: released");
}

/// Found by simulation: two servers woke a dead master in turn, and what either knew was of an older version each time.
#[test]
fn who_else_asks_for_it_does_not_keep_it_from_being_recovered() {
    let (_, mut two, mut store) = mastered();
    let mut three = Server::new(Rules { member: MemberId(3), ..MASTERS });
    for server in [&mut two, &mut three] {
        let session = server.rules.member.0;
        server.do_all(&mut store, &[("b", acquire(key(session, 1)), guard(session))]);
    }
    let (_, mark) = two.coordinator.waits_for().unwrap();
    three.hear(&mut store);
    three.coordinator.recheck(&three.rules, &mut three.actions);
    three.serve(&mut store);
    two.hear(&mut store);
    two.coordinator.master_dead(mark, true, &two.rules, &mut two.actions);
    two.serve(&mut store);
    assert!(two.told()[0].starts_with("b: granted"));
}

#[test]
fn what_was_said_of_an_older_writing_is_no_longer_so() {
    let (mut one, mut two, mut store) = mastered();
    two.do_all(&mut store, &[("b", acquire(key(2, 1)), guard(2))]);
    let (_, mark) = two.coordinator.waits_for().unwrap();
    one.hear(&mut store); // it lives
    one.become_master(&mut store);
    let before = store.version;
    two.hear(&mut store);
    two.coordinator.master_dead(mark, true, &two.rules, &mut two.actions);
    two.serve(&mut store);
    assert_eq!(two.told(), Vec::<String>::new());
    assert_eq!(store.version, before + 1, "it was asked for, and nothing else");
}

#[test]
fn a_master_that_was_taken_for_dead_still_knows_better() {
    let (mut one, mut two, mut store) = mastered();
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1)), ("k", acquire(key(1, 2)), guard(1))]);
    two.do_all(&mut store, &[("c", claim(key(1, 1), 3), moved(1))]);
    let (_, mark) = two.coordinator.waits_for().unwrap();
    two.coordinator.master_dead(mark, false, &two.rules, &mut two.actions);
    two.serve(&mut store);
    two.told();
    one.rules.period = Some(2);
    one.hear(&mut store);
    assert!(!one.coordinator.is_master());
    let resource = store.resource();
    assert_eq!((resource.holders().count(), resource.queue().count()), (1, 1));
    assert!(resource.master().is_none());
}

#[test]
fn a_master_that_comes_back_too_late_tells_what_is_gone() {
    let (mut one, mut two, mut store) = mastered();
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1))]);
    one.told();
    two.do_all(&mut store, &[("b", acquire(key(2, 1)), guard(2))]);
    let (_, mark) = two.coordinator.waits_for().unwrap();
    two.coordinator.master_dead(mark, true, &two.rules, &mut two.actions);
    two.serve(&mut store);
    two.told();
    one.rules.period = Some(2);
    one.submit("q", acquire(key(1, 5)), guard(1));
    one.serve(&mut store);
    assert_eq!(one.told(), ["vanished 1", "q: queued behind 0", "contention"]);
}

#[test]
fn a_return_whose_outcome_is_unknown_is_settled_before_anything_is_answered() {
    let (mut one, mut two, mut store) = mastered();
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1))]);
    two.do_all(&mut store, &[("b", acquire(key(2, 1)), guard(2))]);
    one.coordinator.changed(Some(store.read()), &one.rules, &mut one.actions);
    let late = one.take_commit();
    one.committed(CommitResult::Ambiguous { reason: "cut".into() });
    one.take_load();
    one.coordinator.loaded(Err("down".into()), &one.rules, &mut one.actions);
    one.told();
    assert!(one.coordinator.is_master() && one.coordinator.is_in_doubt());
    // Nothing is answered from memory, and what is written instead makes the late one fail.
    one.submit("r", release(key(1, 1)), guard(1));
    assert_eq!(one.actions, [Action::Load]);
    one.serve(&mut store);
    assert!(matches!(store.commit(&late), CommitResult::Conflict { .. }));
    assert_eq!(one.told(), ["r: released"]);
    two.hear(&mut store);
    assert_eq!(two.told(), ["b: granted EX token 4"]);
}

#[test]
fn a_commit_that_fails_leaves_what_a_master_knew() {
    let (mut one, _, mut store) = mastered();
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1))]);
    one.submit("t", acquire(key(2, 1)), guard(2));
    one.take_commit();
    one.committed(CommitResult::NotApplied { reason: "down".into() });
    one.told();
    one.do_all(&mut store, &[("q", Command::Query { key: key(1, 1) }, guard(1))]);
    assert_eq!(one.told(), ["q: granted EX token 3"]);
    one.do_all(&mut store, &[("q", Command::Query { key: key(2, 1) }, guard(1))]);
    assert_eq!(one.told(), ["q: refused NotFound"]);
}

#[test]
fn it_is_given_back_when_told_so() {
    let (mut one, _, mut store) = mastered();
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1))]);
    one.coordinator.give_back(&one.rules, &mut one.actions);
    one.serve(&mut store);
    assert!(!one.coordinator.is_master());
    assert_eq!(store.resource().holders().count(), 1);
    assert!(store.resource().master().is_none());
}

#[test]
fn an_unused_one_is_forgotten_with_its_last_token() {
    let (mut one, _, mut store) = mastered();
    one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1)), ("r", release(key(1, 1)), guard(1))]);
    assert!(one.coordinator.collect(&mut one.actions));
    one.serve(&mut store);
    assert_eq!(store.content, Content::Absent { floor: 3 });
    assert!(!one.coordinator.is_master());
}

#[test]
fn a_resource_that_is_asked_for_again_and_again_is_taken_less_and_less_often() {
    let (mut one, mut two, mut store) = (Server::new(MASTERS), Server::new(OTHER), Store::empty());
    let mut commits = Vec::new();
    for _ in 0..5 {
        let before = store.version;
        one.become_master(&mut store);
        commits.push(store.version - before);
        two.do_all(&mut store, &[("b", acquire(key(2, 1)), guard(2))]);
        one.hear(&mut store);
        two.hear(&mut store);
        two.do_all(&mut store, &[("r", release(key(2, 1)), guard(2))]);
        one.hear(&mut store);
        two.told();
        one.told();
    }
    assert!(commits.windows(2).all(|pair| pair[1] >= 2 * pair[0] - 2), "{commits:?}");
    for _ in 0..200 {
        one.become_master(&mut store);
        one.do_all(&mut store, &[("a", acquire(key(1, 1)), guard(1)), ("r", release(key(1, 1)), guard(1))]);
    }
    two.do_all(&mut store, &[("b", acquire(key(2, 1)), guard(2))]);
    one.hear(&mut store);
    two.hear(&mut store);
    two.do_all(&mut store, &[("r", release(key(2, 1)), guard(2))]);
    one.hear(&mut store);
    let before = store.version;
    one.become_master(&mut store);
    assert!(store.version - before <= 4, "it has paid: {}", store.version - before);
}

/// A mark whose outcome was never known, and that arrives when nothing is known of the resource any more.
#[test]
fn a_mark_of_its_own_that_a_server_does_not_remember_is_given_back() {
    let (one, mut two, mut store) = mastered();
    let mut forgetful = Server::new(one.rules);
    two.do_all(&mut store, &[("b", acquire(key(2, 1)), guard(2))]);
    assert!(is_recalled(&store.read(), MASTERS.member) && !is_recalled(&store.read(), OTHER.member));
    forgetful.hear(&mut store);
    two.hear(&mut store);
    assert_eq!(two.told(), ["b: queued behind 0", "contention"], "the lock of the commit that made the mark");
}

#[test]
fn only_what_is_mastered_is_written_in_the_newer_format() {
    let (one, _, store) = mastered();
    let Content::Present(bytes) = &store.content else { panic!("it has a record") };
    assert_eq!(bytes[0], 2);
    assert!(record::is_mastered(bytes));
    let mut plain = one.coordinator.settled().unwrap().clone();
    plain.set_master(None);
    assert_eq!(plain.encode()[0], 1);
}
