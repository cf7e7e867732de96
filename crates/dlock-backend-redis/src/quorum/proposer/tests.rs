//! Proposers and acceptors in random schedules: messages are reordered, delayed and lost, callers give up, nodes forget
//! everything and rejoin, tombstones are collected, two registers share their floors. Each value is the history of the
//! writes that led to it, so whatever is answered must extend all that was answered before it was asked. A failure
//! names its seed.

use super::super::register::model::Acceptor;
use super::*;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Registers of one bucket.
const KEYS: usize = 2;
const CLIENTS: usize = 3;
const STEPS: usize = 800;

/// The numbers of the writes that led to a state, in order.
type History = Vec<u64>;

enum Message {
    Ask { client: usize, phase: u64, node: usize, key: usize, op: Op },
    Answer { client: usize, phase: u64, node: usize, answer: Answer },
}

struct Running {
    proposer: Proposer<'static>,
    goal: Goal,
    key: usize,
    /// Counts what was asked, so that late answers are told apart.
    phase: u64,
    paused: Option<Epoch>,
    /// What was known to have happened when it began.
    known: History,
    /// What a write makes of it.
    history: History,
}

struct Client {
    rounds: &'static Rounds,
    epoch: Epoch,
    hints: [Option<Hint>; KEYS],
    running: Option<Running>,
    phases: u64,
    /// What it last read or wrote, on which its next write stands.
    last: [Option<(u64, History)>; KEYS],
}

/// What is known of a register by who sees everything.
#[derive(Default)]
struct Register {
    /// Which nodes have accepted a ballot.
    accepted: BTreeMap<Ballot, BTreeSet<usize>>,
    /// The writes that were chosen, by the versions that they gave.
    chosen: BTreeMap<u64, u64>,
    longest: History,
    versions: BTreeMap<u64, History>,
}

/// A node on its way back.
struct Rejoin {
    node: usize,
    epoch: Epoch,
    sources: Vec<usize>,
    /// How many of the sources have joined the epoch, and how many were copied.
    joined: usize,
    copied: usize,
    acceptor: Acceptor,
}

struct World {
    seed: u64,
    random: StdRng,
    /// None: it has forgotten everything, and takes no part.
    nodes: Vec<Option<Acceptor>>,
    /// Counts how often a node has rejoined: a message to an earlier life is not taken.
    lives: Vec<u64>,
    messages: Vec<(u64, Message)>,
    clients: Vec<Client>,
    rejoins: Vec<Rejoin>,
    /// Of each write, what leads to it and itself, and whether it is a deletion.
    writes: Vec<(History, bool)>,
    registers: [Register; KEYS],
    never: HashSet<u64>,
    /// One whose messages take longer, and how often one of its messages is put off.
    slow: (usize, f64),
    /// How many of a thousand steps wipe a node.
    wipes: u32,
    seen: Seen,
}

/// What has happened at all: a schedule in which nothing happens proves nothing.
#[derive(Debug, Default)]
struct Seen {
    committed: usize,
    conflicts: usize,
    ambiguous: usize,
    unavailable: usize,
    collected: usize,
    rejoined: usize,
    quick: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let nodes = if random.random_bool(0.5) { 3 } else { 5 };
        let clients = (0..CLIENTS).map(|number| Client {
            // A test's leak: proposers borrow the rounds of their store.
            rounds: Box::leak(Box::new(Rounds::new(number as u64 + 1))),
            epoch: Epoch(0),
            hints: Default::default(),
            running: None,
            phases: 0,
            last: Default::default(),
        });
        World {
            seed,
            clients: clients.collect(),
            nodes: vec![Some(Acceptor::default()); nodes],
            lives: vec![0; nodes],
            slow: (random.random_range(0..CLIENTS), random.random_range(0.0..0.99)),
            wipes: random.random_range(1..20),
            random,
            messages: Vec::new(),
            rejoins: Vec::new(),
            writes: Vec::new(),
            registers: Default::default(),
            never: HashSet::new(),
            seen: Seen::default(),
        }
    }

    fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    fn run(mut self) -> Seen {
        for _ in 0..STEPS {
            self.step();
        }
        // Everything comes back, and one more read sees it all.
        while !self.rejoins.is_empty() {
            for number in (0..self.rejoins.len()).rev() {
                self.advance_rejoin(number);
            }
            self.restart_stuck_rejoins();
        }
        for client in 0..CLIENTS {
            self.give_up(client);
        }
        self.slow.1 = 0.0;
        for key in 0..KEYS {
            self.clients[0].last[key] = None;
            self.begin(0, key, Goal::Finish, History::new());
            while self.clients[0].running.is_some() {
                self.something_of_messages(1.0);
                self.unpause(0);
                if self.messages.is_empty() {
                    self.hurry(0);
                }
            }
            assert!(self.clients[0].last[key].is_some(), "seed {}: the last read failed", self.seed);
        }
        self.seen
    }

    fn step(&mut self) {
        let client = self.random.random_range(0..CLIENTS);
        match self.random.random_range(0..1000) {
            0..=99 => self.begin_something(client),
            100..=139 => self.unpause(client),
            140..=159 => self.hurry(client),
            160..=162 => self.give_up(client),
            200..=219 if self.random.random_range(0..20) < self.wipes => self.wipe(),
            163..=199 if !self.rejoins.is_empty() => {
                let number = self.random.random_range(0..self.rejoins.len());
                self.advance_rejoin(number);
                self.restart_stuck_rejoins();
            }
            _ => self.something_of_messages(0.97),
        }
    }

    fn begin_something(&mut self, client: usize) {
        if self.clients[client].running.is_some() {
            return;
        }
        let key = self.random.random_range(0..KEYS);
        match (self.random.random_range(0..10), self.clients[client].last[key].clone()) {
            (0..=5, Some((expected, base))) => {
                let number = self.writes.len() as u64;
                let mut history = base;
                history.push(number);
                let deletes = self.random.random_bool(0.4);
                let change = if deletes {
                    Change::Delete { floor: number }
                } else {
                    Change::Put(encode(&history).into())
                };
                self.writes.push((history.clone(), deletes));
                let tag = Tag { handle: client as u64 + 1, number };
                self.begin(client, key, Goal::Write { expected, change, tag }, history);
            }
            (7, _) => self.begin(client, key, Goal::Collect, History::new()),
            (8, _) => self.begin(client, key, Goal::Settle, History::new()),
            (9, _) => self.begin(client, key, Goal::Finish, History::new()),
            _ => self.begin(client, key, Goal::Read, History::new()),
        }
    }

    fn begin(&mut self, client: usize, key: usize, goal: Goal, history: History) {
        let nodes = self.nodes.len();
        let own = &mut self.clients[client];
        let mut proposer = Proposer::new(own.rounds, nodes, goal.clone());
        let op = proposer.begin(own.epoch, own.hints[key].take());
        self.seen.quick += usize::from(matches!(op, Op::Accept { .. }));
        let known = self.registers[key].longest.clone();
        own.running = Some(Running { proposer, goal, key, phase: 0, paused: None, known, history });
        self.ask(client, &op);
    }

    fn ask(&mut self, client: usize, op: &Op) {
        let own = &mut self.clients[client];
        own.phases += 1;
        let Some(running) = &mut own.running else { return };
        running.phase = own.phases;
        let key = running.key;
        for node in 0..self.nodes.len() {
            let message = Message::Ask { client, phase: own.phases, node, key, op: op.clone() };
            self.messages.push((self.lives[node], message));
        }
    }

    /// Delivers a message, or loses it.
    fn something_of_messages(&mut self, delivered: f64) {
        if self.messages.is_empty() {
            return;
        }
        let number = self.random.random_range(0..self.messages.len());
        let (Message::Ask { client, .. } | Message::Answer { client, .. }) = &self.messages[number].1;
        if *client == self.slow.0 && self.random.random_bool(self.slow.1) {
            return;
        }
        let (life, message) = self.messages.swap_remove(number);
        let delivered = self.random.random_bool(delivered);
        match message {
            Message::Ask { client, phase, node, key, op } => {
                let answer = match &mut self.nodes[node] {
                    Some(acceptor) if delivered && life == self.lives[node] => acceptor.apply(key as u8, &op),
                    // The script refuses whoever thinks of another life.
                    Some(_) if life != self.lives[node] => Answer::Failed { unknown: false },
                    _ => Answer::Failed { unknown: true },
                };
                if let (Op::Accept { ballot, state, .. }, Answer::Done) = (&op, &answer) {
                    self.note(key, node, *ballot, state);
                }
                self.messages.push((0, Message::Answer { client, phase, node, answer }));
            }
            Message::Answer { client, phase, node, answer } => {
                let answer = if delivered { answer } else { Answer::Failed { unknown: true } };
                let Some(running) = &mut self.clients[client].running else { return };
                if running.phase == phase && running.paused.is_none() {
                    let step = running.proposer.answer(node, answer);
                    self.follow(client, step);
                }
            }
        }
    }

    /// What a majority has accepted in one ballot is chosen.
    fn note(&mut self, key: usize, node: usize, ballot: Ballot, state: &State) {
        let majority = self.majority();
        let register = &mut self.registers[key];
        let nodes = register.accepted.entry(ballot).or_default();
        nodes.insert(node);
        if nodes.len() >= majority
            && let Some((version, tag)) = state.writes.first()
        {
            let chosen = *register.chosen.entry(*version).or_insert(tag.number);
            assert_eq!(chosen, tag.number, "seed {}: two writes gave version {version}", self.seed);
        }
    }

    fn follow(&mut self, client: usize, step: Step) {
        let own = &mut self.clients[client];
        let Some(running) = &mut own.running else { return };
        match step {
            Step::Wait | Step::Linger => {}
            Step::Ask(op) => self.ask(client, &op),
            Step::Pause => running.paused = Some(own.epoch),
            Step::Join(epoch) => running.paused = Some(epoch),
            Step::Done(outcome) => {
                let Some(running) = own.running.take() else { return };
                own.hints[running.key] = Some(running.proposer.hint());
                self.check(client, running.key, running.goal, running.known, running.history, outcome);
            }
        }
    }

    /// Goes on after a pause; an epoch is used only once a majority has joined it.
    fn unpause(&mut self, client: usize) {
        let Some(epoch) = self.clients[client].running.as_ref().and_then(|running| running.paused) else {
            return;
        };
        if epoch > self.clients[client].epoch {
            let mut joined = 0;
            for node in self.nodes.iter_mut().flatten() {
                if self.random.random_bool(0.9) {
                    node.join(epoch);
                    joined += usize::from(node.epoch == epoch);
                }
            }
            if joined < self.majority() {
                // A later one has come, or too many are away.
                let highest = self.nodes.iter().flatten().map(|node| node.epoch).max();
                if let Some(running) = &mut self.clients[client].running {
                    running.paused = highest.or(Some(epoch));
                }
                return;
            }
        }
        let own = &mut self.clients[client];
        own.epoch = epoch;
        let Some(running) = &mut own.running else { return };
        running.paused = None;
        let op = running.proposer.again(epoch);
        self.ask(client, &op);
    }

    fn hurry(&mut self, client: usize) {
        let Some(running) = &mut self.clients[client].running else { return };
        if running.paused.is_none() {
            let step = running.proposer.hurry();
            self.follow(client, step);
        }
    }

    fn give_up(&mut self, client: usize) {
        let Some(running) = self.clients[client].running.take() else { return };
        let outcome = running.proposer.give_up();
        self.check(client, running.key, running.goal, running.known, running.history, outcome);
    }

    /// A node forgets everything; no more of them than a minority at a time.
    fn wipe(&mut self) {
        let node = self.random.random_range(0..self.nodes.len());
        let away = self.nodes.iter().filter(|node| node.is_none()).count();
        if self.nodes[node].is_none() || away + 1 >= self.majority() {
            return;
        }
        self.nodes[node] = None;
        self.lives[node] += 1;
        self.start_rejoin(node);
    }

    fn start_rejoin(&mut self, node: usize) {
        let mut sources: Vec<usize> =
            (0..self.nodes.len()).filter(|other| self.nodes[*other].is_some()).collect();
        while sources.len() > self.majority() {
            sources.swap_remove(self.random.random_range(0..sources.len()));
        }
        let highest = sources.iter().filter_map(|source| self.nodes[*source].as_ref()).map(|node| node.epoch);
        let epoch = highest.max().unwrap_or_default().successor(self.random.random());
        let acceptor = Acceptor::default();
        self.rejoins.push(Rejoin { node, epoch, sources, joined: 0, copied: 0, acceptor });
    }

    fn advance_rejoin(&mut self, number: usize) {
        let rejoin = &mut self.rejoins[number];
        if rejoin.joined < rejoin.sources.len() {
            let source = rejoin.sources[rejoin.joined];
            if let Some(acceptor) = &mut self.nodes[source] {
                acceptor.join(rejoin.epoch);
                rejoin.joined += 1;
            }
        } else if rejoin.copied < rejoin.sources.len() {
            let source = rejoin.sources[rejoin.copied];
            if let Some(acceptor) = &self.nodes[source] {
                rejoin.acceptor.merge(acceptor);
                rejoin.copied += 1;
            }
        } else {
            let mut rejoin = self.rejoins.swap_remove(number);
            rejoin.acceptor.join(rejoin.epoch);
            self.nodes[rejoin.node] = Some(rejoin.acceptor);
            self.seen.rejoined += 1;
        }
    }

    /// A source that was wiped meanwhile is none any more; nor may it have been overtaken by a later epoch.
    fn restart_stuck_rejoins(&mut self) {
        for number in (0..self.rejoins.len()).rev() {
            let rejoin = &self.rejoins[number];
            if rejoin.sources.iter().any(|source| self.nodes[*source].is_none()) {
                let node = self.rejoins.swap_remove(number).node;
                self.start_rejoin(node);
            }
        }
    }

    /// Whether the answer is one that a single register could have given.
    fn check(
        &mut self,
        client: usize,
        key: usize,
        goal: Goal,
        known: History,
        history: History,
        outcome: Outcome,
    ) {
        let number = history.last().copied();
        let seed = self.seed;
        let told = match outcome {
            Outcome::Found(record) => Some((record.version.0, self.history_of(key, &record))),
            Outcome::Conflict(record) => {
                self.seen.conflicts += 1;
                self.never.extend(number);
                Some((record.version.0, self.history_of(key, &record)))
            }
            Outcome::Committed(version) => {
                self.seen.committed += 1;
                if let Goal::Write { expected, .. } = goal {
                    assert!(version.0 > expected, "seed {seed}: {version:?} after {expected}");
                }
                Some((version.0, history))
            }
            Outcome::Ambiguous => {
                self.seen.ambiguous += 1;
                None
            }
            Outcome::Unavailable => {
                self.seen.unavailable += 1;
                self.never.extend(number);
                None
            }
            Outcome::Collected => {
                self.seen.collected += 1;
                None
            }
            Outcome::NotCollected | Outcome::Unsettled => None,
        };
        self.clients[client].last[key] = told.clone();
        let Some((version, history)) = told else { return };
        let register = &mut self.registers[key];
        assert!(history.starts_with(&known), "seed {seed}: {history:?} was told after {known:?}");
        let (short, long) = if history.len() < register.longest.len() {
            (&history, &register.longest)
        } else {
            (&register.longest, &history)
        };
        assert!(long.starts_with(short), "seed {seed}: both {short:?} and {long:?} were told");
        let undone = history.iter().find(|write| self.never.contains(write));
        assert!(undone.is_none(), "seed {seed}: write {undone:?} was said not to be applied: {history:?}");
        if let Some((earlier, before)) = register.versions.range(..version).next_back() {
            assert!(
                before.len() <= history.len(),
                "seed {seed}: version {earlier} has {before:?}, {version} has {history:?}"
            );
        }
        if let Some((later, after)) = register.versions.range(version + 1..).next() {
            assert!(
                history.len() <= after.len(),
                "seed {seed}: version {version} has {history:?}, {later} has {after:?}"
            );
        }
        let same = register.versions.entry(version).or_insert_with(|| history.clone());
        assert_eq!(*same, history, "seed {seed}: two states of version {version}");
        if history.len() > register.longest.len() {
            register.longest = history;
        }
    }

    fn history_of(&self, key: usize, record: &Record) -> History {
        match &record.content {
            Content::Present(value) => {
                value.chunks(8).map(|part| u64::from_be_bytes(part.try_into().unwrap())).collect()
            }
            Content::Absent { floor } => {
                let chosen = self.registers[key].chosen.range(..=record.version.0).next_back();
                let Some((_, number)) = chosen else { return History::new() };
                let (history, deletes) = &self.writes[*number as usize];
                let seed = self.seed;
                assert!(deletes, "seed {seed}: absent, after {number} was written: {record:?}");
                assert!(floor >= number, "seed {seed}: floor {floor} after a deletion with {number}");
                history.clone()
            }
        }
    }
}

fn encode(history: &History) -> Bytes {
    history.iter().flat_map(|number| number.to_be_bytes()).collect()
}

#[test]
fn every_answer_extends_what_was_answered_before() {
    let mut seen = Seen::default();
    for seed in 0..4000 {
        let run = World::new(seed).run();
        seen.committed += run.committed;
        seen.conflicts += run.conflicts;
        seen.ambiguous += run.ambiguous;
        seen.unavailable += run.unavailable;
        seen.collected += run.collected;
        seen.rejoined += run.rejoined;
        seen.quick += run.quick;
    }
    let counts = [
        seen.committed,
        seen.conflicts,
        seen.ambiguous,
        seen.unavailable,
        seen.collected,
        seen.rejoined,
        seen.quick,
    ];
    assert!(counts.iter().all(|count| *count > 100), "the schedules are too dull: {seen:?}");
}
