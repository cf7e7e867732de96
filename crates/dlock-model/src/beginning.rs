//! The state in which a model begins.

use crate::config::{Config, Line, Operation};
use crate::part::Part;
use crate::state::{
    Client, Duties, FIRST_LOCK, Foreign, Home, LocalLock, OwnLock, Resource, Server, Slot, State, Store,
    Ticket, Versioned, Witness, lock_key, member_id, session_id,
};
use crate::world::{acquire, decode};
use dlock_core::coordinator::{Action, Change, CommitResult, Content, Coordinator, Loaded, SessionGuard};
use dlock_core::lease::{ClientLease, HomeLease, MemberLease, MemberObserver};
use dlock_core::resource::{Command, Convert, Outcome, Patience, ValueUpdate};
use dlock_core::session::{ClientInfo, Sequence, SessionRecord, SessionState};
use dlock_core::{Epoch, LockId, Mode, Token};
use std::collections::{BTreeMap, BTreeSet};

/// The resource that a client may have a lock on at the beginning.
const FIRST_RESOURCE: usize = 0;

/// The first resource's record at the beginning, and what each client holds.
///
/// # Panics
/// When clients are to hold what they can't.
fn resource_at_first(config: &Config) -> (Loaded, Vec<Option<(Mode, Token)>>) {
    let mut resource = decode(&absent().content);
    let mut held = Vec::new();
    for (index, client) in config.clients.iter().enumerate() {
        held.push(match client.script.first() {
            Some(Line {
                operation: Operation::Lock(mode) | Operation::Try(mode),
                resource: FIRST_RESOURCE,
            }) if client.holds => {
                let command = acquire(lock_key(index, FIRST_LOCK), *mode, Patience::Try);
                match resource.apply(&command, 0).outcome {
                    Outcome::Granted(grant) => Some((grant.mode, grant.token)),
                    outcome => panic!("what {index} is to hold at first can't be granted: {outcome:?}"),
                }
            }
            _ => None,
        });
    }
    if held.iter().all(Option::is_none) {
        return (absent(), held);
    }
    (Loaded { version: 2, content: Content::Present(resource.encode()) }, held)
}

/// The server that masters it, or is about to.
const FIRST_MASTER: usize = 0;
/// Of the locks by which it came to that; no client asks for it.
const EARLIER_LOCK: LockId = LockId(1000);

/// The same where servers may master resources, by the first server's coordinator, which has written the record so often
/// that it masters it, or will with its next commit.
///
/// # Panics
/// When clients are to hold what they can't.
fn mastered_at_first(
    config: &Config,
    master: &mut Coordinator<Ticket>,
) -> (Loaded, Vec<Option<(Mode, Token)>>) {
    let mut record = absent();
    let guard = |client: usize| SessionGuard {
        session: session_id(client),
        version: 1,
        moved: false,
        claims_all: true,
    };
    let at_home = config.clients.iter().position(|client| client.home == FIRST_MASTER);
    // Without one, a session that has moved.
    let first = at_home.unwrap_or(0);
    let key = lock_key(first, EARLIER_LOCK);
    let (mode, patience, value) = (Mode::ProtectedRead, Patience::Wait, ValueUpdate::Keep);
    let mut commands = vec![acquire(key, Mode::Exclusive, patience)];
    if config.mastered {
        commands.push(Command::Convert(Convert { key, mode, patience, value: value.clone() }));
    }
    commands.push(Command::Release { key, value });
    for command in commands {
        carry_out(config, master, &mut record, command, guard(first));
    }
    assert_eq!(master.is_master(), config.mastered);
    let mut held = Vec::new();
    for (index, client) in config.clients.iter().enumerate() {
        held.push(match client.script.first() {
            Some(Line { operation: Operation::Lock(mode), resource: FIRST_RESOURCE }) if client.holds => {
                assert_eq!(client.home, FIRST_MASTER, "who holds a lock has its home at its master");
                let command = acquire(lock_key(index, FIRST_LOCK), *mode, Patience::Try);
                match carry_out(config, master, &mut record, command, guard(index)) {
                    Outcome::Granted(grant) => Some((grant.mode, grant.token)),
                    outcome => panic!("what {index} is to hold at first can't be granted: {outcome:?}"),
                }
            }
            _ => None,
        });
    }
    (record, held)
}

/// Carries a command out, and the commits and reads that it takes.
fn carry_out(
    config: &Config,
    master: &mut Coordinator<Ticket>,
    record: &mut Loaded,
    command: Command,
    guard: SessionGuard,
) -> Outcome {
    let rules = config.rules(FIRST_MASTER, Some(0));
    let mut actions = Vec::new();
    master.submit(Ticket::Purge, command, Some(guard), &rules, &mut actions);
    loop {
        let mut next = Vec::new();
        for action in actions {
            match action {
                Action::Load => master.loaded(Ok(record.clone()), &rules, &mut next),
                Action::Commit(commit) => {
                    let Change::Put(pieces) = commit.change else { panic!("nothing is deleted yet") };
                    let version = commit.expected + 1;
                    *record = Loaded { version, content: Content::Present(pieces.concat().into()) };
                    master.committed(CommitResult::Committed { version }, &rules, &mut next);
                }
                Action::Answer { outcome, .. } => return outcome,
                _ => {}
            }
        }
        assert!(!next.is_empty(), "a command has an answer");
        actions = next;
    }
}

fn absent() -> Loaded {
    Loaded { version: 1, content: Content::Absent { floor: 0 } }
}

impl State {
    /// The beginning: all sessions are open, at their first homes, and everybody has just heard of everybody.
    pub(crate) fn first(config: &Config) -> State {
        let (server_now, client_now) = (config.server_time(0), config.client_time(0));
        let records: Vec<Versioned<SessionRecord>> = config
            .clients
            .iter()
            .map(|client| {
                let value = SessionRecord {
                    owner: member_id(client.home),
                    epoch: Epoch(1),
                    attempt: 0,
                    terms: client.terms,
                    principal: String::new(),
                    secret_hash: [0; 32],
                    state: SessionState::Active,
                    client: ClientInfo::default(),
                    opened_unix_ms: 0,
                    mastered: config.masters,
                };
                Versioned { version: 1, value }
            })
            .collect();
        let mut master = Coordinator::new();
        let (record, held) =
            if config.masters { mastered_at_first(config, &mut master) } else { resource_at_first(config) };
        let mut witness = Witness::default();
        for (mode, token) in held.iter().flatten() {
            let newest = &mut witness.tokens[*mode as usize];
            *newest = (*token).max(*newest);
        }
        if config.masters {
            let grant = |(client, held): (usize, &Option<(Mode, Token)>)| {
                held.map(|(_, token)| (lock_key(client, FIRST_LOCK), token))
            };
            witness.granted = held.iter().enumerate().filter_map(grant).collect();
        }
        let server = |server: usize| {
            let mut lease = MemberLease::new();
            lease.committed(server_now, server_now);
            let mut observer = MemberObserver::new();
            if !config.newcomers.contains(&server) {
                let others = (0..config.servers).filter(|other| *other != server);
                observer.look(server_now, server_now, others.map(|other| (member_id(other), 1)));
            }
            let (mut homes, mut directory) = (BTreeMap::new(), BTreeMap::new());
            for (client, Versioned { version, value: record }) in records.iter().enumerate() {
                if config.clients[client].home == server {
                    let home = Home {
                        link: 1,
                        version: *version,
                        epoch: record.epoch,
                        lease: HomeLease::new(config.clients[client].terms, server_now),
                        expiring: false,
                        sequence: Sequence::starting_after(0),
                        locks: if held[client].is_some() {
                            BTreeMap::from([(
                                FIRST_LOCK,
                                LocalLock {
                                    resource: FIRST_RESOURCE,
                                    granted: true,
                                    waiting: None,
                                    newest: None,
                                },
                            )])
                        } else {
                            BTreeMap::new()
                        },
                    };
                    homes.insert(client, home);
                } else {
                    let foreign = Foreign { version: *version, owner: record.owner, seen: server_now };
                    directory.insert(client, foreign);
                }
            }
            let mut slots = vec![Slot::default(); config.resources];
            if server == FIRST_MASTER {
                slots[FIRST_RESOURCE].coordinator = master.clone();
            }
            Part::new(Server {
                gone: false,
                slots,
                homes,
                directory,
                writes: BTreeSet::new(),
                lease,
                observer,
                beat: None,
                look: None,
                wanted: Vec::new(),
                recovery: None,
                claiming: BTreeMap::new(),
                done: Duties::default(),
            })
        };
        let client = |index: usize| {
            Part::new(Client {
                lease: ClientLease::new(config.clients[index].terms.ttl(), Epoch(1), client_now),
                link: 1,
                server: config.clients[index].home,
                attempt: None,
                links: 1,
                inbox: BTreeMap::new(),
                position: usize::from(held[index].is_some()),
                sequence: 0,
                locks: u64::from(held[index].is_some()),
                own: held[index]
                    .map(|held| OwnLock {
                        id: FIRST_LOCK,
                        held: Some(held),
                        goal: None,
                        request: None,
                        paused_until: 0,
                    })
                    .into_iter()
                    .map(|lock| (FIRST_RESOURCE, lock))
                    .collect(),
                ended: BTreeMap::new(),
                given_up: BTreeSet::new(),
                over: false,
                dead: false,
            })
        };
        let mut resources = vec![Resource { record, witness }];
        resources
            .resize_with(config.resources, || Resource { record: absent(), witness: Witness::default() });
        State {
            ticks: 0,
            servers: (0..config.servers).map(server).collect(),
            clients: (0..config.clients.len()).map(client).collect(),
            store: Part::new(Store {
                resources,
                sessions: records,
                moving: if config.masters {
                    vec![Versioned { version: 1, value: None }; config.clients.len()]
                } else {
                    Vec::new()
                },
                members: vec![Some(1); config.servers],
                late: BTreeMap::new(),
            }),
            network: Part::new(BTreeMap::new()),
            left: config.limits,
        }
    }
}
