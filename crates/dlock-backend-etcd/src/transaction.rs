//! Writes as transactions, and their verdicts.
//!
//! One write is a nested transaction: if the record and the guards have their versions, then the change, else a look at
//! what is there. Several of them are the branches of an outer transaction without a condition.

use crate::is_absence;
use crate::layout::{self, Layout};
use dlock_store::{Change, Content, Key, Record, StoreError, Verdict, Version, Write};
use etcd_client::{Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse};

/// How many writes one transaction carries: etcd allows 128 operations by default, counting a branch's own on top.
pub(crate) const WRITES_MAX: usize = 96;
/// The most bytes of values that are put into one transaction; etcd's limit for a request is 1.5 MiB.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// Reads a record: the key and, for its absence, the bucket.
pub(crate) fn read(layout: &Layout, key: &Key) -> Txn {
    Txn::new().and_then(look(layout, key))
}

fn look(layout: &Layout, key: &Key) -> Vec<TxnOp> {
    vec![TxnOp::get(layout.record(key), None), TxnOp::get(layout.bucket(key), None)]
}

/// The record that such a look found.
pub(crate) fn record(found: &[TxnOpResponse]) -> Result<Record, StoreError> {
    let [TxnOpResponse::Get(record), TxnOpResponse::Get(bucket), ..] = found else {
        return Err(unexpected("a read's answer"));
    };
    if let Some(found) = record.kvs().first() {
        let content = Content::Present(found.value().to_vec().into());
        return Ok(Record { version: layout::present(found.mod_revision()), content });
    }
    let revision = bucket.kvs().first().map_or(0, KeyValue::mod_revision);
    let floor = bucket.kvs().first().map_or(Ok(0), floor)?;
    Ok(Record { version: layout::absent(revision), content: Content::Absent { floor } })
}

fn floor(bucket: &KeyValue) -> Result<u64, StoreError> {
    let bytes = bucket.value().try_into();
    bytes.map(u64::from_be_bytes).map_err(|_| unexpected("the floor of absent records"))
}

fn unexpected(what: &str) -> StoreError {
    StoreError::Invalid { reason: format!("{what} is not what dlock wrote or asked for") }
}

/// All writes in one transaction.
pub(crate) fn batch(layout: &Layout, writes: &[Write]) -> Txn {
    Txn::new().and_then(writes.iter().map(|write| TxnOp::txn(one(layout, write))).collect::<Vec<_>>())
}

fn one(layout: &Layout, write: &Write) -> Txn {
    let guards = write.guards.iter().flat_map(|guard| has_version(layout, &guard.key, guard.version));
    let conditions: Vec<Compare> =
        has_version(layout, &write.key, write.expected).into_iter().chain(guards).collect();
    let mut otherwise = look(layout, &write.key);
    otherwise.extend(write.guards.iter().flat_map(|guard| look(layout, &guard.key)));
    Txn::new().when(conditions).and_then(change(layout, write)).or_else(otherwise)
}

fn has_version(layout: &Layout, key: &Key, version: Version) -> Vec<Compare> {
    let revision = layout::revision(version);
    let (key, bucket) = (layout.record(key), layout.bucket(key));
    if is_absence(version) {
        vec![
            Compare::create_revision(key, CompareOp::Equal, 0),
            Compare::mod_revision(bucket, CompareOp::Equal, revision),
        ]
    } else {
        // A version of 0 is nobody's: the key can't have been written at revision 0, and must not match its absence.
        let exists = Compare::create_revision(key.clone(), CompareOp::Greater, 0);
        vec![exists, Compare::mod_revision(key, CompareOp::Equal, revision)]
    }
}

fn change(layout: &Layout, write: &Write) -> Vec<TxnOp> {
    match &write.change {
        Change::Put(value) => vec![TxnOp::put(layout.record(&write.key), value.to_vec(), None)],
        Change::Delete { floor } => {
            vec![
                TxnOp::delete(layout.record(&write.key), None),
                TxnOp::txn(raise(layout.bucket(&write.key), *floor)),
            ]
        }
    }
}

/// Gives the bucket a new revision, and the floor if its own is smaller. As big-endian bytes, floors compare as numbers.
fn raise(bucket: Vec<u8>, floor: u64) -> Txn {
    let as_high = match floor.checked_sub(1) {
        Some(below) => Compare::value(bucket.clone(), CompareOp::Greater, below.to_be_bytes()),
        None => Compare::create_revision(bucket.clone(), CompareOp::Greater, 0),
    };
    let touch = TxnOp::put(bucket.clone(), Vec::new(), Some(PutOptions::new().with_ignore_value()));
    let put = TxnOp::put(bucket, floor.to_be_bytes(), None);
    Txn::new().when([as_high]).and_then([touch]).or_else([put])
}

/// The keys of etcd that a write changes: no two of one transaction may have one in common.
pub(crate) fn changes(layout: &Layout, write: &Write) -> Vec<Vec<u8>> {
    let record = layout.record(&write.key);
    match write.change {
        Change::Put(_) => vec![record],
        Change::Delete { .. } => vec![record, layout.bucket(&write.key)],
    }
}

/// What became of a write, by its branch's answer and the revision of the transaction.
pub(crate) fn verdict(write: &Write, answer: &TxnOpResponse, revision: i64) -> Result<Verdict, StoreError> {
    let TxnOpResponse::Txn(answer) = answer else { return Err(unexpected("a transaction's answer")) };
    if answer.succeeded() {
        let version = match write.change {
            Change::Put(_) => layout::present(revision),
            Change::Delete { .. } => layout::absent(revision),
        };
        return Ok(Verdict::Committed { version });
    }
    let found = answer.op_responses();
    let mut looks = found.chunks_exact(2);
    let current = record(looks.next().ok_or_else(|| unexpected("a refusal"))?)?;
    for (guard, look) in write.guards.iter().zip(looks) {
        if record(look)?.version != guard.version {
            return Ok(Verdict::GuardFailed { key: guard.key.clone() });
        }
    }
    Ok(Verdict::Conflict { current: Some(current) })
}
