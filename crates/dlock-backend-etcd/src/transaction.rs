//! Writes as transactions, and their verdicts.
//!
//! One write is a transaction: if the record and the guards have their versions, then the change, else a look at what is
//! there. Several of them are nested in an outer transaction without a condition.

use crate::is_absence;
use crate::layout::{self, Layout};
use dlock_store::{Change, Content, Guard, Key, Record, StoreError, Verdict, Version, Write};
use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, PutOptions, ResponseHeader, Txn, TxnOp, TxnOpResponse,
    TxnResponse,
};

/// The most operations in a transaction by etcd's default (`--max-txn-ops`): the outer one's, and on top of them those of
/// the greatest of its branches.
pub(crate) const OPERATIONS_MAX: usize = 128;
/// How many writes without guards fit into that.
pub(crate) const WRITES_MAX: usize = OPERATIONS_MAX - OWN_OPERATIONS;
/// The most bytes of values that are put into one transaction; etcd's limit for a request is 1.5 MiB by default.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// What a deletion without guards takes: the record's and the bucket's change, and one more level for the latter.
const OWN_OPERATIONS: usize = 3;

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
pub(crate) fn of(layout: &Layout, writes: &[Write]) -> Txn {
    if let [write] = writes {
        return one(layout, write);
    }
    let branches = writes.iter().map(|write| TxnOp::txn(one(layout, write))).collect::<Vec<_>>();
    let all = Txn::new().and_then(branches);
    if writes.iter().any(|write| matches!(write.change, Change::Put(_))) {
        // etcd does not look into nested transactions for its quota, and the database would grow beyond it. It counts the
        // greater of the two branches, and so also this one, which is never taken.
        return all.or_else([TxnOp::put(layout.quota(), Vec::new(), None)]);
    }
    all
}

/// What became of each write of such a transaction.
pub(crate) fn verdicts(writes: &[Write], answer: &TxnResponse) -> Vec<Result<Verdict, StoreError>> {
    let revision = answer.header().map_or(0, ResponseHeader::revision);
    if let [write] = writes {
        return vec![verdict(write, answer, revision)];
    }
    let branches = answer.op_responses();
    let each = writes.iter().enumerate().map(|(index, write)| match branches.get(index) {
        Some(TxnOpResponse::Txn(branch)) => verdict(write, branch, revision),
        // It was applied or not, and the answer does not say.
        _ => Err(StoreError::Ambiguous { reason: "etcd's answer lacks a branch".to_owned() }),
    });
    each.collect()
}

fn one(layout: &Layout, write: &Write) -> Txn {
    let guards = write.guards.iter().flat_map(|guard| has_version(layout, &guard.key, guard.version));
    let conditions: Vec<Compare> =
        has_version(layout, &write.key, write.expected).into_iter().chain(guards).collect();
    let mut otherwise = look(layout, &write.key);
    otherwise.extend(write.guards.iter().flat_map(|guard| glance(layout, guard)));
    Txn::new().when(conditions).and_then(change(layout, write)).or_else(otherwise)
}

/// How many operations the write's branch counts for.
pub(crate) fn operations(write: &Write) -> usize {
    let guards = write.guards.iter().map(|guard| if is_absence(guard.version) { 2 } else { 1 });
    OWN_OPERATIONS + guards.sum::<usize>()
}

fn has_version(layout: &Layout, key: &Key, version: Version) -> Vec<Compare> {
    let revision = layout::revision(version);
    let key_of_record = layout.record(key);
    match (is_absence(version), revision) {
        (true, _) => vec![
            Compare::create_revision(key_of_record, CompareOp::Equal, 0),
            Compare::mod_revision(layout.bucket(key), CompareOp::Equal, revision),
        ],
        // Nothing is written at revision 0, which is what etcd says of a key that is not there: this never holds.
        (false, 0) => vec![Compare::create_revision(key_of_record, CompareOp::Less, 0)],
        (false, _) => vec![Compare::mod_revision(key_of_record, CompareOp::Equal, revision)],
    }
}

/// What tells whether a guard holds: revisions, without the values.
fn glance(layout: &Layout, guard: &Guard) -> Vec<TxnOp> {
    let revision_of = |key| TxnOp::get(key, Some(GetOptions::new().with_keys_only()));
    if is_absence(guard.version) {
        vec![revision_of(layout.record(&guard.key)), revision_of(layout.bucket(&guard.key))]
    } else {
        vec![revision_of(layout.record(&guard.key))]
    }
}

/// Whether a guard held, by the answers to its glance.
fn held<'a>(guard: &Guard, found: &mut impl Iterator<Item = &'a TxnOpResponse>) -> Result<bool, StoreError> {
    let mut revision = || match found.next() {
        Some(TxnOpResponse::Get(found)) => Ok(found.kvs().first().map_or(0, KeyValue::mod_revision)),
        _ => Err(unexpected("a refusal")),
    };
    let record = revision()?;
    if is_absence(guard.version) {
        let bucket = revision()?;
        return Ok(record == 0 && layout::absent(bucket) == guard.version);
    }
    Ok(record != 0 && layout::present(record) == guard.version)
}

fn change(layout: &Layout, write: &Write) -> Vec<TxnOp> {
    match &write.change {
        Change::Put(value) => vec![TxnOp::put(layout.record(&write.key), value.pieces().concat(), None)],
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

/// What a write touches in etcd, besides its own absence.
pub(crate) struct Touched {
    /// The keys that it changes.
    pub(crate) changes: Vec<Vec<u8>>,
    /// The keys that must not change meanwhile, for its guards.
    pub(crate) guards: Vec<Vec<u8>>,
}

/// Which keys a write touches. etcd looks at all conditions of a transaction before it changes anything, so that two
/// writes of one transaction would each see the store without the other's change: no write may go with one that changes
/// what it guards, and no two with a change in common.
///
/// A creation reads its bucket as well. It may go with a deletion that changes the bucket: that is as if the creation
/// had come first.
pub(crate) fn touched(layout: &Layout, write: &Write) -> Touched {
    let mut changes = vec![layout.record(&write.key)];
    if let Change::Delete { .. } = write.change {
        changes.push(layout.bucket(&write.key));
    }
    let mut guards = Vec::with_capacity(write.guards.len());
    for guard in &write.guards {
        guards.push(layout.record(&guard.key));
        if is_absence(guard.version) {
            guards.push(layout.bucket(&guard.key));
        }
    }
    Touched { changes, guards }
}

/// What became of a write, by its branch's answer and the revision of the transaction.
fn verdict(write: &Write, answer: &TxnResponse, revision: i64) -> Result<Verdict, StoreError> {
    if answer.succeeded() {
        let version = match write.change {
            Change::Put(_) => layout::present(revision),
            Change::Delete { .. } => layout::absent(revision),
        };
        return Ok(Verdict::Committed { version });
    }
    let found = answer.op_responses();
    let (own, guards) = found.split_at_checked(2).ok_or_else(|| unexpected("a refusal"))?;
    let current = record(own)?;
    let mut guards = guards.iter();
    for guard in &write.guards {
        if !held(guard, &mut guards)? {
            return Ok(Verdict::GuardFailed { key: guard.key.clone() });
        }
    }
    Ok(Verdict::Conflict { current: Some(current) })
}
