//! Where things are in each node.
//!
//! | key | what |
//! | --- | --- |
//! | `<prefix>:q:node` | the [marker](super::marker): whether the node has joined, and under which token |
//! | `<prefix>:q:run` | the run of Redis in which it was last known to have everything, and how it writes to disk |
//! | `<prefix>:q:epoch` | the epoch that it is in |
//! | `<prefix>:q:<token>:rows` | a hash: each register's row |
//! | `<prefix>:q:<token>:floors` | a hash: what is left of the collected registers of each bucket |
//! | `<prefix>:q:<token>:names` | a sorted set of one score, so in byte order: the names of all rows |
//! | `<prefix>:q:<token>:dead` | a set: the names of all rows without a value |
//! | `<prefix>:q:<token>:changes` | counts the changes |
//! | `<prefix>:q:events:<db>` | the channel on which acceptances are announced |
//!
//! A node that rejoins has a new token, so that nothing of an earlier life is ever mixed with what it has now.

use dlock_store::Key;

/// Into how many buckets collected registers are divided.
const BUCKETS: u64 = 65_536;

/// The names of everything.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    stem: String,
    db: i64,
}

/// The names of what a node has under one token.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) rows: String,
    pub(super) floors: String,
    pub(super) names: String,
    pub(super) dead: String,
    pub(super) changes: String,
}

impl Layout {
    pub(super) fn new(prefix: &str, db: i64) -> Layout {
        Layout { stem: format!("{prefix}:q:"), db }
    }

    pub(super) fn marker(&self) -> String {
        format!("{}node", self.stem)
    }

    pub(super) fn run(&self) -> String {
        format!("{}run", self.stem)
    }

    pub(super) fn epoch(&self) -> String {
        format!("{}epoch", self.stem)
    }

    /// Channels don't belong to a database, so its number is in the name.
    pub(super) fn channel(&self) -> String {
        format!("{}events:{}", self.stem, self.db)
    }

    /// A pattern that the names of all tokens match, and nothing else of ours.
    pub(super) fn all_names(&self) -> String {
        format!("{}*:*", self.stem)
    }

    pub(super) fn names(&self, token: &str) -> Names {
        let name = |what: &str| format!("{}{token}:{what}", self.stem);
        Names {
            rows: name("rows"),
            floors: name("floors"),
            names: name("names"),
            dead: name("dead"),
            changes: name("changes"),
        }
    }
}

impl Names {
    pub(super) fn all(&self) -> [&str; 5] {
        [&self.rows, &self.floors, &self.names, &self.dead, &self.changes]
    }
}

/// Which bucket's floors a register is under once it is collected.
pub(super) fn bucket(key: &Key) -> u64 {
    key.stable_hash() % BUCKETS
}
