//! Where things are in Redis.
//!
//! | key | what |
//! | --- | --- |
//! | `<prefix>:{<tag>}:r:<key>` | a present record: its version, 8 bytes, big-endian, then its value |
//! | `<prefix>:{<tag>}:a:<bucket>` | the absence of all records of a bucket: version and floor, 8 bytes each |
//! | `<prefix>:{<tag>}:i` | the names of all present records of the tag: a sorted set of one score, so in byte order |
//! | `<prefix>:{<tag>}:epoch` | which server writes the tag's records, and its epoch |
//! | `<prefix>:{<tag>}:events:<db>` | the channel on which the tag's changes are announced |
//!
//! A *tag* is what Redis Cluster places as one: all keys of a tag are on one node, so one script can change them at one
//! instant. One node has one tag; a cluster has [`CLUSTER_TAGS`], over which records are spread by their keys' hash.

use dlock_store::Key;

/// How many tags a cluster has: records can be spread over as many nodes at most.
pub(crate) const CLUSTER_TAGS: u16 = 64;

/// Into how many buckets the absent records are divided, whatever the number of tags.
const BUCKETS: u64 = 65_536;

/// A tag's number.
pub(crate) type Tag = u16;

/// The names of everything.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// What the keys of each tag begin with.
    stems: Vec<String>,
    db: i64,
}

impl Layout {
    pub(crate) fn new(prefix: &str, tags: u16, db: i64) -> Layout {
        Layout { stems: (0..tags).map(|tag| format!("{prefix}:{{{tag}}}:")).collect(), db }
    }

    pub(crate) fn tags(&self) -> impl Iterator<Item = Tag> + use<> {
        0..self.stems.len() as Tag
    }

    pub(crate) fn tag(&self, key: &Key) -> Tag {
        (bucket(key) % self.stems.len() as u64) as Tag
    }

    /// The key in Redis of a record.
    pub(crate) fn record(&self, tag: Tag, key: &str) -> String {
        self.name(tag, &["r:", key])
    }

    /// How many bytes stand before a record's name in its key.
    pub(crate) fn record_stem_bytes(&self, tag: Tag) -> usize {
        self.stems[usize::from(tag)].len() + "r:".len()
    }

    pub(crate) fn absence(&self, tag: Tag, key: &Key) -> String {
        self.name(tag, &["a:", &bucket(key).to_string()])
    }

    pub(crate) fn index(&self, tag: Tag) -> String {
        self.name(tag, &["i"])
    }

    pub(crate) fn epoch(&self, tag: Tag) -> String {
        self.name(tag, &["epoch"])
    }

    /// What a new connection tries its permissions on.
    pub(crate) fn probe(&self, tag: Tag) -> String {
        self.name(tag, &["probe"])
    }

    /// What is written so that the replicas' answer to it says that they have all that was before.
    pub(crate) fn barrier(&self, tag: Tag) -> String {
        self.name(tag, &["barrier"])
    }

    /// Channels don't belong to a database, so its number is in the name.
    pub(crate) fn channel(&self, tag: Tag) -> String {
        self.name(tag, &["events:", &self.db.to_string()])
    }

    fn name(&self, tag: Tag, parts: &[&str]) -> String {
        let stem = &self.stems[usize::from(tag)];
        let mut name = String::with_capacity(stem.len() + parts.iter().map(|part| part.len()).sum::<usize>());
        name.push_str(stem);
        parts.iter().for_each(|part| name.push_str(part));
        name
    }
}

fn bucket(key: &Key) -> u64 {
    key.stable_hash() % BUCKETS
}
