//! The scripts of the acceptors, their calls, and how their answers are read.

use super::ballot::{Ballot, Epoch, NUMBER_BYTES};
use super::layout::{Names, bucket};
use super::register::{Answer, Floors, Op, Row, accepted_from_bytes};
use crate::script::Source;
use bytes::Bytes;
use dlock_store::Key;
use redis::{Cmd, Value};
use std::sync::LazyLock;

/// The longest state that is announced with its value, in bytes.
const ANNOUNCED_BYTES_MAX: usize = 16 * 1024;

/// What an acceptor does.
pub(super) static STEP: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("scripts/step.lua")));
/// Changes a marker.
pub(super) static MARK: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("scripts/mark.lua")));
/// Joins an epoch.
pub(super) static EPOCH: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("scripts/epoch.lua")));
/// Copies from a node.
pub(super) static PAGE: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("scripts/page.lua")));
/// Copies to a node.
pub(super) static MERGE: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("scripts/merge.lua")));

/// All of them.
pub(super) fn all() -> [&'static Source; 5] {
    [&STEP, &MARK, &EPOCH, &PAGE, &MERGE]
}

/// An operation, with its state as bytes: the same for all nodes.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) key: Key,
    pub(super) op: Op,
    state: Bytes,
}

impl Encoded {
    pub(super) fn new(key: Key, op: Op) -> Encoded {
        let state = match &op {
            Op::Accept { state, .. } => state.to_bytes(),
            _ => Bytes::new(),
        };
        Encoded { key, op, state }
    }

    /// How much of a script's call it is, in bytes.
    pub(super) fn size(&self) -> usize {
        self.key.as_str().len() + self.state.len()
    }
}

/// The call for several operations.
pub(super) fn step<'a>(
    marker_key: &str,
    epoch_key: &str,
    names: &Names,
    marker: &str,
    channel: &str,
    ops: impl Iterator<Item = &'a Encoded>,
) -> Cmd {
    let [rows, floors, index, dead, changes] = names.all();
    let mut call = STEP.call([marker_key, epoch_key, rows, floors, index, dead, changes].iter());
    call.arg(marker).arg(channel).arg(ANNOUNCED_BYTES_MAX);
    for Encoded { key, op, state } in ops {
        let kind = match op {
            Op::Read => "R",
            Op::Prepare { .. } => "P",
            Op::Accept { .. } => "A",
            Op::Retire { .. } => "T",
            Op::Remove { .. } => "D",
        };
        call.arg(kind).arg(key.as_str()).arg(bucket(key));
        match op {
            Op::Read => {}
            Op::Prepare { ballot } | Op::Retire { ballot } | Op::Remove { ballot } => {
                call.arg(&ballot.to_bytes()[..]);
            }
            Op::Accept { ballot, next, .. } => {
                call.arg(&ballot.to_bytes()[..]).arg(&next.to_bytes()[..]).arg(&state[..]);
            }
        }
    }
    call
}

/// What the script answered: the number of the node's changes (0 if there was none), and to each operation. `None` if it
/// is nothing that the script answers.
pub(super) fn answers<'a>(
    value: Value,
    ops: impl ExactSizeIterator<Item = &'a Encoded>,
) -> Option<(u64, Vec<Answer>)> {
    let Value::Array(mut parts) = value else { return None };
    if parts.len() != ops.len() + 1 {
        return None;
    }
    let Value::Int(changes) = parts.remove(0) else { return None };
    let answers: Option<Vec<Answer>> =
        parts.into_iter().zip(ops).map(|(part, op)| answer(part, &op.op)).collect();
    Some((changes.unsigned_abs(), answers?))
}

fn answer(value: Value, op: &Op) -> Option<Answer> {
    match value {
        Value::Int(1) => Some(Answer::Done),
        Value::BulkString(bytes) => match bytes.split_first()? {
            (b'N', ballot) => Some(Answer::Refused { round: Ballot::from_bytes(ballot)?.round }),
            (b'E', epoch) => Some(Answer::OtherEpoch(Epoch::from_bytes(epoch)?)),
            _ => None,
        },
        Value::Array(parts) => {
            let [first, floors] = <[Value; 2]>::try_from(parts).ok()?;
            let floors = match bytes(floors)? {
                Some(floors) => Floors::from_bytes(&floors)?,
                None => Floors::default(),
            };
            match (op, bytes(first)?) {
                (Op::Read, None) => Some(Answer::Found { row: None, floors }),
                (Op::Read, Some(row)) => Some(Answer::Found { row: Some(Row::from_bytes(row)?), floors }),
                (Op::Prepare { .. }, Some(accepted)) => {
                    Some(Answer::Promised { accepted: accepted_from_bytes(accepted)?, floors })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn bytes(value: Value) -> Option<Option<Bytes>> {
    match value {
        Value::Nil | Value::Boolean(false) => Some(None),
        Value::BulkString(bytes) => Some(Some(Bytes::from(bytes))),
        _ => None,
    }
}

/// An epoch's bytes.
pub(super) fn epoch(value: Value) -> Option<Epoch> {
    match value {
        Value::BulkString(bytes) if bytes.len() == NUMBER_BYTES => Epoch::from_bytes(&bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
