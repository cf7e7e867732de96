//! The records' numbers in the order of their keys.

use crate::slots::Slots;

/// The most numbers of a block.
const BLOCK: usize = 512;

/// Numbers in blocks: each block in order, and the blocks in order, so that finding one compares few keys, and adding
/// one moves few numbers. None is empty.
#[derive(Default)]
pub(crate) struct Order {
    blocks: Vec<Vec<u32>>,
}

impl Order {
    /// Adds a record whose key is not there yet.
    pub(crate) fn add(&mut self, number: u32, slots: &Slots) {
        let key = slots.key(number);
        let Some(index) = self.block_of(key, slots) else {
            self.blocks.push(vec![number]);
            return;
        };
        let last = index + 1 == self.blocks.len();
        let block = &mut self.blocks[index];
        let at = block.partition_point(|other| slots.key(*other) < key);
        if block.len() < BLOCK {
            block.insert(at, number);
            return;
        }
        // Where keys come in order, blocks stay full.
        let half = if last && at == BLOCK { BLOCK } else { BLOCK / 2 };
        let mut upper = block.split_off(half);
        if at < half {
            block.insert(at, number)
        } else {
            upper.insert(at - half, number)
        }
        self.blocks.insert(index + 1, upper);
    }

    /// Removes a record, which is still in the slots.
    pub(crate) fn remove(&mut self, number: u32, slots: &Slots) {
        let key = slots.key(number);
        let Some(index) = self.block_of(key, slots) else { return };
        let block = &mut self.blocks[index];
        let at = block.partition_point(|other| slots.key(*other) < key);
        if block.get(at) != Some(&number) {
            return;
        }
        block.remove(at);
        let length = block.len();
        if length == 0 {
            self.blocks.remove(index);
        } else if self.blocks.get(index + 1).is_some_and(|next| length + next.len() <= BLOCK / 2) {
            let next = self.blocks.remove(index + 1);
            self.blocks[index].extend(next);
        }
    }

    /// All from this key on, or, exclusive, after it.
    pub(crate) fn from<'a>(
        &'a self,
        key: &'a [u8],
        exclusive: bool,
        slots: &'a Slots,
    ) -> impl Iterator<Item = u32> + 'a {
        let before = move |other: u32| {
            let other = slots.key(other);
            other < key || exclusive && other == key
        };
        let index = self.block_of(key, slots).unwrap_or_default();
        let at = self.blocks.get(index).map_or(0, |block| block.partition_point(|other| before(*other)));
        self.blocks[index.min(self.blocks.len())..].iter().flatten().copied().skip(at)
    }

    /// The block in which the key is or would be; none if there are no blocks.
    fn block_of(&self, key: &[u8], slots: &Slots) -> Option<usize> {
        let after = self.blocks.partition_point(|block| slots.key(block[0]) <= key);
        (!self.blocks.is_empty()).then(|| after.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::Kept;
    use dlock_store::Version;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};
    use std::collections::BTreeMap;

    fn check(order: &Order, slots: &Slots, model: &BTreeMap<Vec<u8>, u32>, random: &mut StdRng) {
        assert!(order.blocks.iter().all(|block| !block.is_empty() && block.len() <= BLOCK));
        assert!(order.from(b"", false, slots).eq(model.values().copied()));
        for _ in 0..20 {
            let key = random.random_range(0..20_000).to_string().into_bytes();
            let expected = model.range(key.clone()..).map(|(_, number)| *number);
            assert!(order.from(&key, false, slots).eq(expected));
            let expected = model.range(key.clone()..).filter(|(other, _)| **other != key);
            assert!(order.from(&key, true, slots).eq(expected.map(|(_, number)| *number)));
        }
    }

    #[test]
    fn it_is_an_ordered_set() {
        let mut random = StdRng::seed_from_u64(1);
        for shuffled in [true, false] {
            let (mut order, mut slots, mut model) = (Order::default(), Slots::default(), BTreeMap::new());
            let mut keys: Vec<String> = (10_000..15_000).map(|number| number.to_string()).collect();
            if shuffled {
                keys.shuffle(&mut random);
            }
            for key in keys {
                let number = slots.add(key.as_bytes(), Version(1), Kept::Whole(b"value"));
                order.add(number, &slots);
                model.insert(key.into_bytes(), number);
            }
            check(&order, &slots, &model, &mut random);
            for wanted in [2500, 300, 0] {
                while model.len() > wanted {
                    let at = random.random_range(0..model.len());
                    let key = model.keys().nth(at).unwrap().clone();
                    let number = model.remove(&key).unwrap();
                    order.remove(number, &slots);
                    slots.remove(number);
                }
                check(&order, &slots, &model, &mut random);
            }
            assert!(order.blocks.is_empty());
        }
    }
}
