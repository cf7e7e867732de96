//! All records that there are: found by key, and listed in order.

use crate::kept::Kept;
use crate::order::Order;
use crate::slots::Slots;
use dlock_store::Version;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::BuildHasher;

/// How many hash tables share the records, by their hash: one that grows moves only a small part of a million.
const TABLES: usize = 256;

/// A record as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    pub(crate) key: &'a str,
    pub(crate) version: Version,
    pub(crate) value: Kept<'a>,
}

/// Records in little memory: beside each one's key and value, its slot and two numbers.
pub(crate) struct Records {
    slots: Slots,
    tables: Vec<HashTable<u32>>,
    hashing: RandomState,
    order: Order,
    count: u64,
}

impl Default for Records {
    fn default() -> Records {
        let tables = std::iter::repeat_with(HashTable::new).take(TABLES).collect();
        Records {
            slots: Slots::default(),
            tables,
            hashing: RandomState::default(),
            order: Order::default(),
            count: 0,
        }
    }
}

impl Records {
    pub(crate) fn get(&self, key: &str) -> Option<(Version, Kept<'_>)> {
        let hash = self.hashing.hash_one(key.as_bytes());
        let same = |number: &u32| self.slots.key(*number) == key.as_bytes();
        let number = *self.tables[table(hash)].find(hash, same)?;
        Some((self.slots.version(number), self.slots.value(number)))
    }

    pub(crate) fn put(&mut self, key: &str, version: Version, value: Kept<'_>) {
        let Records { slots, tables, hashing, order, count } = self;
        let hash = hashing.hash_one(key.as_bytes());
        let same = |number: &u32| slots.key(*number) == key.as_bytes();
        let rehash = |number: &u32| hashing.hash_one(slots.key(*number));
        match tables[table(hash)].entry(hash, same, rehash) {
            Entry::Occupied(entry) => slots.set(*entry.get(), version, value),
            Entry::Vacant(entry) => {
                let number = slots.add(key.as_bytes(), version, value);
                entry.insert(number);
                order.add(number, slots);
                *count += 1;
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        let Records { slots, tables, hashing, order, count } = self;
        let hash = hashing.hash_one(key.as_bytes());
        let same = |number: &u32| slots.key(*number) == key.as_bytes();
        if let Ok(entry) = tables[table(hash)].find_entry(hash, same) {
            let (number, _) = entry.remove();
            order.remove(number, slots);
            slots.remove(number);
            *count -= 1;
        }
    }

    /// Those from this key on, or, exclusive, after it, in order.
    pub(crate) fn from<'a>(&'a self, key: &'a str, exclusive: bool) -> impl Iterator<Item = Stored<'a>> {
        self.order.from(key.as_bytes(), exclusive, &self.slots).map(|number| {
            let key = std::str::from_utf8(self.slots.key(number)).expect("a key is text");
            Stored { key, version: self.slots.version(number), value: self.slots.value(number) }
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

/// Not by the bits of the hash that a table uses itself.
fn table(hash: u64) -> usize {
    (hash >> 32) as usize % TABLES
}
