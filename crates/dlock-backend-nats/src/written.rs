//! Which messages of a record can be thrown away, for having been replaced.

use dlock_store::Key;
use std::collections::HashMap;

/// A record's replaced messages are thrown away when there are so many: that costs a request, as a write does.
const REPLACED_MAX: u32 = 4;

/// What a handle has written.
#[derive(Default)]
pub(crate) struct Written(HashMap<Key, Messages>);

/// A record's messages.
struct Messages {
    newest: u64,
    /// The newest as it was at the last look.
    settled: u64,
    /// How many were written since the older ones were thrown away.
    count: u32,
}

impl Written {
    /// A record was written.
    pub(crate) fn note(&mut self, key: &Key, sequence: u64) {
        let fresh = Messages { newest: 0, settled: 0, count: 0 };
        let messages = self.0.entry(key.clone()).or_insert(fresh);
        messages.newest = sequence;
        messages.count += 1;
    }

    /// A record was deleted: its older messages are thrown away with the deletion, by and by.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// The records that have many replaced messages, with the one that was the record at the last look: all before it can
    /// be thrown away.
    pub(crate) fn outdated(&mut self) -> Vec<(Key, u64)> {
        let mut outdated = Vec::new();
        for (key, messages) in &mut self.0 {
            if messages.settled > 0 && messages.count > REPLACED_MAX {
                outdated.push((key.clone(), messages.settled));
                messages.count = 1;
            }
            messages.settled = messages.newest;
        }
        outdated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_thrown_away_when_many_were_replaced_before_the_last_look() {
        let (mut written, key) = (Written::default(), Key::new("r").unwrap());
        (1..=4).for_each(|sequence| written.note(&key, sequence));
        assert_eq!(written.outdated(), [], "not looked at before");
        assert_eq!(written.outdated(), [], "too few");
        written.note(&key, 5);
        assert_eq!(written.outdated(), [(key.clone(), 4)]);
        assert_eq!(written.outdated(), []);
        (6..=9).for_each(|sequence| written.note(&key, sequence));
        assert_eq!(written.outdated(), [(key.clone(), 5)]);
        (10..=20).for_each(|sequence| written.note(&key, sequence));
        written.forget(&key);
        assert_eq!(written.outdated(), []);
    }
}
