//! The scripts in a real Redis, against the acceptor in plain Rust: random operations, and the same answers. A failure
//! names its seed.

use super::super::ballot::Ballot;
use super::super::layout::Layout;
use super::super::line::Line;
use super::super::marker::{Marker, Run};
use super::super::register::model::Acceptor;
use super::super::register::{State, Tag};
use super::*;
use crate::config::{RedisConfig, Settings};
use crate::connector::Connector;
use dlock_test_stores::RedisServer;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeSet;
use std::time::Duration;

const TOKEN: &str = "t";
const ROUNDS: u64 = 200;
const OPERATIONS: usize = 40;

struct Node {
    _server: RedisServer,
    line: Line,
    layout: Layout,
    names: Names,
    marker: String,
}

impl Node {
    async fn start(kind: &str) -> Node {
        let server = RedisServer::start_with(&["--save", ""]);
        let config = RedisConfig { addr: Some(server.address()), ..RedisConfig::default() };
        let settings = Settings::try_from(&config).unwrap();
        let connector = Connector::for_data(&settings).unwrap();
        let address = crate::config::address(&server.address()).unwrap();
        let line = Line::open(&connector, &address, Duration::from_secs(10)).await.unwrap();
        let layout = Layout::new("test", 0);
        let report = line.report(&layout).await.unwrap();
        let marker = Marker::parse(&format!("1 {kind} f 3 {TOKEN}"));
        assert!(line.mark(&layout, &report, &marker, &Run::of(&report), Some(Epoch(0))).await.unwrap());
        // What it was is no longer so: another change that thinks it is must fail.
        assert!(!line.mark(&layout, &report, &marker, &Run::of(&report), None).await.unwrap());
        Node { _server: server, line, names: layout.names(TOKEN), layout, marker: marker.to_string() }
    }

    async fn apply(&self, ops: &[Encoded]) -> Vec<Answer> {
        let call = step(
            &self.layout.marker(),
            &self.layout.epoch(),
            &self.names,
            &self.marker,
            &self.layout.channel(),
            ops.iter(),
        );
        answers(self.line.call(call).await.unwrap(), ops.iter()).expect("proper answers").1
    }

    async fn members(&self, command: &str, of: &str) -> BTreeSet<String> {
        let mut command = redis::cmd(command);
        command.arg(of);
        if of == self.names.names {
            command.arg(0).arg(-1);
        }
        let (Value::Array(found) | Value::Set(found)) = self.line.send(command).await.unwrap() else {
            panic!("not a collection")
        };
        let text = |value| match value {
            Value::BulkString(bytes) => String::from_utf8(bytes).unwrap(),
            other => panic!("{other:?}"),
        };
        found.into_iter().map(text).collect()
    }
}

/// Three registers, of which the first two share a bucket.
fn registers() -> [Key; 3] {
    let key = |number: u32| Key::new(&format!("register {number}")).unwrap();
    let first = key(0);
    let second = (1..).map(key).find(|other| bucket(other) == bucket(&first)).unwrap();
    [first, second, key(1)]
}

fn ballot(random: &mut StdRng) -> Ballot {
    let epoch = Epoch(random.random_range(0..2));
    Ballot { epoch, round: random.random_range(1..8), proposer: random.random_range(1..4) }
}

fn operation(random: &mut StdRng) -> Op {
    let ballot = ballot(random);
    match random.random_range(0..8) {
        0 => Op::Read,
        1 | 2 => Op::Prepare { ballot },
        3..=5 => {
            let mut next = ballot;
            if random.random_bool(0.3) {
                next.round += random.random_range(0..2);
            }
            let value = random.random_bool(0.5).then(|| Bytes::from(vec![0xff; random.random_range(0..3)]));
            let tag = Tag { handle: 1, number: random.random() };
            let writes = (0..random.random_range(0..4)).map(|version| (version, tag)).collect();
            let state = State {
                version: random.random_range(0..300),
                floor: random.random(),
                writes,
                value,
                copied: false,
            };
            Op::Accept { ballot, next, state }
        }
        6 => Op::Retire { ballot },
        _ => Op::Remove { ballot },
    }
}

/// Two models: one for the first two registers, one for the third.
type Models = [Acceptor; 2];

fn model(models: &mut Models, register: usize) -> (&mut Acceptor, u8) {
    match register {
        0 | 1 => (&mut models[0], register as u8),
        _ => (&mut models[1], 0),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scripts_do_what_the_model_does() {
    let (node, copy) = (Node::start("joined").await, Node::start("catching").await);
    let registers = registers();
    let mut seen = BTreeSet::new();
    for seed in 0..ROUNDS {
        let mut random = StdRng::seed_from_u64(seed);
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(&node.names.all()[..]);
        node.line.send(unlink.clone()).await.unwrap();
        let mut set = redis::cmd("SET");
        set.arg(node.layout.epoch()).arg(&Epoch(0).to_bytes()[..]);
        node.line.send(set).await.unwrap();
        let mut models = Models::default();

        let join_after = random.random_range(0..OPERATIONS);
        let mut operations = Vec::new();
        for number in 0..OPERATIONS {
            if number == join_after {
                let epoch = Epoch(random.random_range(0..2));
                let joined = node.line.join(&node.layout, &node.marker, epoch).await.unwrap();
                models.iter_mut().for_each(|model| model.join(epoch));
                assert_eq!(joined, models[0].epoch, "seed {seed}");
            }
            let register = random.random_range(0..registers.len());
            let mut op = operation(&mut random);
            // A ballot that something is known of is likelier to do something.
            let (acceptor, key) = model(&mut models, register);
            if let (Op::Retire { ballot } | Op::Remove { ballot }, Some(row)) =
                (&mut op, acceptor.rows.get(&key))
            {
                *ballot = row.promised;
            }
            let expected = acceptor.apply(key, &op);
            operations.push((register, op.clone(), expected.clone()));
            let encoded = Encoded::new(registers[register].clone(), op);
            let answers = node.apply(&[encoded]).await;
            assert_eq!(answers, std::slice::from_ref(&expected), "seed {seed}: {operations:?}");
            seen.insert(format!("{expected:?}").split(' ').next().unwrap().to_owned());
        }
        // All at once leaves the same as one by one did.
        let reads: Vec<Encoded> =
            registers.iter().map(|register| Encoded::new(register.clone(), Op::Read)).collect();
        let expected: Vec<Answer> = (0..registers.len())
            .map(|register| {
                let (acceptor, key) = model(&mut models, register);
                acceptor.apply(key, &Op::Read)
            })
            .collect();
        assert_eq!(node.apply(&reads).await, expected, "seed {seed}");

        let (mut names, mut dead) = (BTreeSet::new(), BTreeSet::new());
        for (number, register) in registers.iter().enumerate() {
            let (acceptor, key) = model(&mut models, number);
            let Some(row) = acceptor.rows.get(&key) else { continue };
            names.insert(register.to_string());
            if row.accepted.as_ref().is_none_or(|(_, state)| state.value.is_none()) {
                dead.insert(register.to_string());
            }
        }
        assert_eq!(node.members("ZRANGE", &node.names.names).await, names, "seed {seed}");
        assert_eq!(node.members("SMEMBERS", &node.names.dead).await, dead, "seed {seed}");

        // Into a node that may have something of another source already.
        if seed % 3 == 0 {
            copy.line.send(unlink).await.unwrap();
        }
        merge_all(&node, &copy, &mut models, seed).await;
    }
    let kinds = ["Found", "Promised", "Done", "Refused", "OtherEpoch(Epoch("];
    for kind in kinds {
        assert!(
            seen.iter().any(|seen| seen.starts_with(kind.trim_end_matches("(Epoch("))),
            "{kind}: {seen:?}"
        );
    }
}

/// Copies what the node has, and compares with what the model makes of what the copy had.
async fn merge_all(node: &Node, copy: &Node, models: &mut Models, seed: u64) {
    let before = hash(copy, &copy.names.rows).await;
    let floors_before = hash(copy, &copy.names.floors).await;
    for (kind, from) in [("rows", &node.names.rows), ("floors", &node.names.floors)] {
        let mut page = PAGE.call([&node.layout.marker(), from].iter());
        page.arg(&node.marker).arg(0).arg(100);
        let Value::Array(answer) = node.line.call(page).await.unwrap() else { panic!("no page") };
        let Some(Value::Array(pairs)) = answer.into_iter().nth(1) else { panic!("no page") };
        if pairs.is_empty() {
            continue;
        }
        let [rows, floors, names, dead, _] = copy.names.all();
        let mut merge = MERGE.call([&copy.layout.marker()[..], rows, floors, names, dead].iter());
        merge.arg(&copy.marker).arg(kind);
        for pair in pairs {
            let Value::BulkString(bytes) = pair else { panic!("not bytes") };
            merge.arg(bytes);
        }
        assert_eq!(copy.line.call(merge).await.unwrap(), Value::Int(1));
    }
    let (after, floors_after) = (hash(copy, &copy.names.rows).await, hash(copy, &copy.names.floors).await);
    for (number, register) in registers().iter().enumerate() {
        let (source, key) = model(models, number);
        let row = |rows: &Rows| {
            rows.iter().find(|(name, _)| *name == register.as_str()).map(|(_, row)| row.clone())
        };
        let mut expected = Acceptor::default();
        if let Some(row) = row(&before) {
            expected.rows.insert(key, Row::from_bytes(row).unwrap());
        }
        let of_bucket = |rows: &Rows| {
            let name = bucket(register).to_string();
            let found = rows.iter().find(|(other, _)| *other == name).map(|(_, floors)| floors.clone());
            found.map(|floors| Floors::from_bytes(&floors).unwrap()).unwrap_or_default()
        };
        expected.floors = of_bucket(&floors_before);
        expected.merge(source);
        let merged = row(&after).map(|row| Row::from_bytes(row).unwrap());
        assert_eq!(merged.as_ref(), expected.rows.get(&key), "seed {seed}");
        assert_eq!(of_bucket(&floors_after), expected.floors, "seed {seed}");
        let is_dead = merged
            .as_ref()
            .is_some_and(|row| row.accepted.as_ref().is_none_or(|(_, state)| state.value.is_none()));
        let dead = copy.members("SMEMBERS", &copy.names.dead).await;
        assert_eq!(dead.contains(register.as_str()), is_dead, "seed {seed}");
        let names = copy.members("ZRANGE", &copy.names.names).await;
        assert_eq!(names.contains(register.as_str()), merged.is_some(), "seed {seed}");
    }
}

type Rows = Vec<(String, Bytes)>;

async fn hash(node: &Node, name: &str) -> Rows {
    let mut command = redis::cmd("HGETALL");
    command.arg(name);
    let Value::Map(pairs) = node.line.send(command).await.unwrap() else { panic!("not a map") };
    let bytes = |value| match value {
        Value::BulkString(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    let pair = |(name, value)| (String::from_utf8(bytes(name)).unwrap(), Bytes::from(bytes(value)));
    pairs.into_iter().map(pair).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_operations_are_answered_one_by_one_and_a_stranger_is_refused() {
    let mut node = Node::start("joined").await;
    let [first, second, _] = registers();
    let ballot = Ballot { epoch: Epoch(0), round: 1, proposer: 1 };
    let ops = [
        Encoded::new(first.clone(), Op::Prepare { ballot }),
        Encoded::new(second, Op::Read),
        Encoded::new(first, Op::Prepare { ballot }),
    ];
    let floors = Floors::default();
    let expected = [
        Answer::Promised { accepted: None, floors },
        Answer::Found { row: None, floors },
        Answer::Refused { round: 1 },
    ];
    assert_eq!(node.apply(&ops).await, expected);
    node.marker = "1 joined f 3 another".to_owned();
    let call = step(
        &node.layout.marker(),
        &node.layout.epoch(),
        &node.names,
        &node.marker,
        &node.layout.channel(),
        ops.iter(),
    );
    let refused = node.line.call(call).await;
    assert!(format!("{refused:?}").contains("DLOCKOUT"), "{refused:?}");
}
