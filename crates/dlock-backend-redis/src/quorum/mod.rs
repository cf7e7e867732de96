//! *Quorum*: a store over 3, 5 or 7 independent nodes of Redis. What a majority has is what holds, and a minority that is
//! dead, slow, paused or wiped stops nothing and endangers nothing.
//!
//! # What it promises beyond Redlock
//!
//! Redlock takes a lease of a key at a majority of nodes, each of which ends it by its own clock. Two clients hold a
//! lock if a node restarts and forgets its lease, if a clock jumps, or if the client is paused between asking and acting;
//! a node must stay away for longer than any lease after a crash, and there is no fencing token, since no order of the
//! holders is agreed upon. Here:
//!
//! - *Each record is a register that a majority agrees upon* (CASPaxos, arXiv 1802.07000), not N leases. A committed
//!   write is seen by every later read, and no two writes replace the same version, whatever any clock does: no rule
//!   of the store reads one. (When a session ends is decided above the store, by a write like any other.)
//! - *Versions and floors grow for ever*, so fencing tokens do.
//! - *A node that may have lost writes does not vote* until it has copied a majority of the others, and what counted on
//!   its earlier votes is made impossible first. A node that lost everything, that was emptied while it ran, or that
//!   restarted without writing to disk first comes back by itself, in seconds, whatever locks are held meanwhile.
//! - *The outcome of a write is told as it is*: committed, not applied and never will be, or unknown.
//!
//! What it does not promise:
//!
//! - With a majority away, nothing goes on. If a majority restarts at a time, and did not write to disk before it
//!   answered (`appendonly yes`, `appendfsync always`, `no-appendfsync-on-rewrite no`), nobody knows what was
//!   forgotten: the store stands still until a person decides. Either all nodes are emptied (`FLUSHALL`), and all locks
//!   are lost; or, if what is there is as good as it gets, each is told that its present run has everything:
//!   `SET <prefix>:q:run "<run_id of INFO> lossy"`.
//! - A node that writes to disk first is believed when it restarts. If an old copy of its files was put in place of
//!   them, it is found out by any server that has seen it with more changes, but by nobody if all servers were
//!   restarted as well. A file that was put back has to be removed instead: the node fills itself.
//! - The same holds for a change of these settings while it runs: they are looked at every second. A node must have no
//!   replica that takes its place: one that was a replica is taken for wiped where that can be seen.
//! - The first start needs all nodes. Nodes can't be added or removed: a node is replaced by an empty one at the same
//!   address, and every server has to name the same number of nodes. One that names another is refused by the nodes.
//! - There are no guards on other records: each is agreed upon by itself.
//!
//! # How it works
//!
//! **Registers.** Each node has a row for each register: the ballot that it has promised, and the ballot and state that it
//! has accepted last. One script (`scripts/step.lua`) takes any number of operations on any registers. The `proposer`
//! is a state machine without I/O that carries one operation to its end; it says when a write may be called
//! committed, in conflict, or unknown, and why. A write by whoever wrote the register last is one way to a majority and
//! back: each acceptance promises the proposer's next ballot. Else it is two. A read is one, if no write is under way.
//!
//! **Versions** count the changes of the register, and are part of its state. A deletion leaves a tombstone, which is a
//! state like any other, with its version and floor.
//!
//! **Tombstones** are removed once all nodes agree on them (`collector`). What remains is a version, a floor and a round
//! for a whole bucket of names. A register without a row is absent: it has been at any version up to the floors'. A read
//! by a majority without rows gives the *least* of their floors' versions, and a write on it is given one more than the
//! *greatest*. A write that expects any version between what it meets as least and greatest fits: had the register been
//! used since that version was read, then its removal would have raised the floors of all nodes above it. That a read
//! found no row, not even a promise, at a majority means that no write was under way that had not yet met those floors.
//! While a node is away, nothing is removed.
//!
//! **Epochs.** Every ballot belongs to an epoch, which counts more than its round. An epoch is a promise of whole nodes: who
//! has joined one takes part in no ballot of an earlier one, of any register. A node that has forgotten its promises
//! comes back in a new epoch (`rejoin`), so that nothing can count on them any more.
//!
//! **Who is a member** is in each node's `marker`, with a random token that every script checks: a node that was emptied,
//! or became a copy of another, refuses whatever it is asked. The token is part of the names of all its data, so that
//! nothing of an earlier life is left among it. The run of Redis is compared whenever a connection is made. Any server
//! does what there is to do (`steward`); markers are changed by compare-and-swap.
//!
//! **Slow nodes** are not waited for: what a majority has answered is done, and the others get it when they can. A node
//! that does not answer is given up after half the time-out, and tried again.
//!
//! **Watches.** Nodes announce what they accept, and a change is told when a majority has announced it in one ballot. What
//! fewer are heard of for a while is settled first, then told (`announcements`). Subscriptions must be intact at a
//! majority of nodes; whenever one is made anew, all watchers are told to read again, and once more after the longest
//! time that a write may take. A write that a paused node accepts later still, and which then is completed by nodes that
//! are not heard, can be missed.
//!
//! **Listing** asks a majority for the names of all rows, and reads each register.
mod announcements;
mod ballot;
mod collector;
mod council;
mod health;
mod layout;
mod line;
mod listing;
mod marker;
mod member;
mod proposer;
mod register;
mod rejoin;
mod script;
mod steward;
mod store;

/// See [`crate::fuzzing::read`].
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(data: &[u8]) {
    use register::{Floors, Row, State};
    let bytes = bytes::Bytes::copy_from_slice(data);
    if let Some(state) = State::from_bytes(bytes.clone()) {
        assert_eq!(State::from_bytes(state.to_bytes()), Some(state));
    }
    drop((Row::from_bytes(bytes), Floors::from_bytes(data)));
    announcements::read_any(data);
}

pub use store::QuorumStore;
