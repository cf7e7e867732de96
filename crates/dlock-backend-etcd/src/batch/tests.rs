//! What goes into one transaction.

use super::*;
use dlock_store::{Guard, Key, Version};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn put(name: &str) -> Write {
    let change = Change::Put(Default::default());
    Write { key: key(name), expected: Version(2), change, guards: Default::default() }
}

fn delete(name: &str) -> Write {
    Write { change: Change::Delete { floor: 0 }, ..put(name) }
}

fn guarded(mut write: Write, name: &str, version: Version) -> Write {
    write.guards.push(Guard { key: key(name), version });
    write
}

/// How many transactions in a row these take, and how many writes each has.
fn batches(writes: Vec<Write>) -> Vec<usize> {
    let layout = Layout::new("");
    let mut waiting: VecDeque<Write> = writes.into();
    let mut sizes = Vec::new();
    while !waiting.is_empty() {
        let mut batch = Batch::default();
        let mut left = VecDeque::new();
        for write in waiting {
            if batch.is_full() {
                left.push_back(write);
                continue;
            }
            let (reply, _) = oneshot::channel();
            if let Err(refused) = batch.add(Waiting { write, reply }, &layout) {
                left.push_back(refused.write);
            }
        }
        waiting = left;
        sizes.push(batch.writes.len());
    }
    sizes
}

/// Another key in the same bucket.
fn neighbour(name: &str) -> String {
    let layout = Layout::new("");
    let bucket = layout.bucket(&key(name));
    (0..).map(|number| format!("{name}{number}")).find(|other| layout.bucket(&key(other)) == bucket).unwrap()
}

#[test]
fn independent_writes_go_together() {
    assert_eq!(batches((0..100).map(|number| put(&number.to_string())).collect()), [100]);
    assert_eq!(
        batches((0..130).map(|number| put(&number.to_string())).collect()),
        [WRITES_MAX, 130 - WRITES_MAX]
    );
}

#[test]
fn two_writes_of_one_record_go_one_after_the_other() {
    assert_eq!(batches(vec![put("a"), put("b"), put("a")]), [2, 1]);
}

#[test]
fn two_deletions_in_one_bucket_go_one_after_the_other() {
    assert_eq!(batches(vec![delete("a"), delete(&neighbour("a"))]), [1, 1]);
    assert_eq!(batches(vec![delete("a"), put(&neighbour("a"))]), [2]);
}

#[test]
fn a_write_does_not_go_with_a_change_of_what_it_guards() {
    let resource = guarded(put("resource"), "session", Version(2));
    assert_eq!(batches(vec![resource.clone(), put("session")]), [1, 1]);
    assert_eq!(batches(vec![put("session"), resource.clone()]), [1, 1]);
    assert_eq!(batches(vec![resource, guarded(put("other"), "session", Version(2))]), [2]);
    let while_absent = guarded(put("resource"), "session", Version(1));
    assert_eq!(batches(vec![while_absent, delete(&neighbour("session"))]), [1, 1]);
}

#[test]
fn the_write_with_the_most_guards_bounds_the_number_of_writes() {
    let mut many = put("many");
    for number in 0..60 {
        many = guarded(many, &format!("session {number}"), Version(2));
    }
    let with_others = std::iter::once(many).chain((0..100).map(|number| put(&number.to_string()))).collect();
    assert_eq!(batches(with_others), [OPERATIONS_MAX - 60 - 3, 101 - (OPERATIONS_MAX - 60 - 3)]);
}

#[test]
fn a_write_that_fits_nowhere_is_sent_alone() {
    let mut large = put("large");
    large.change = Change::Put(vec![0; BYTES_MAX + 1].into());
    assert_eq!(batches(vec![put("a"), large, put("b")]), [2, 1]);
}
