//! Who waits for a message of its own to be delivered.

use std::collections::{BTreeMap, HashMap};
use tokio::sync::oneshot;

/// A message has come back to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Where it is.
    pub(crate) sequence: u64,
    /// It is the record now, or was it until it was replaced.
    pub(crate) accepted: bool,
}

/// The senders of messages that are under way.
#[derive(Default)]
pub(crate) struct Senders {
    by_nonce: HashMap<u64, oneshot::Sender<Delivered>>,
    /// The messages, by sequence, that were stored and need not be delivered: in a bucket that keeps but the last message
    /// of a record, one that is replaced before the consumer has come to it is skipped.
    stored: BTreeMap<u64, u64>,
    /// The greatest sequence that was delivered.
    passed: u64,
}

impl Senders {
    /// Tells when the message with this nonce is delivered.
    pub(crate) fn expect(&mut self, nonce: u64) -> oneshot::Receiver<Delivered> {
        let (sender, delivered) = oneshot::channel();
        self.by_nonce.insert(nonce, sender);
        delivered
    }

    /// The message with this nonce is not waited for any more.
    pub(crate) fn give_up(&mut self, nonce: u64) {
        self.by_nonce.remove(&nonce);
    }

    /// The message is stored here for certain: when a later one is delivered, it was too, or has been replaced since.
    pub(crate) fn stored(&mut self, nonce: u64, sequence: u64) {
        if sequence <= self.passed {
            self.tell(nonce, Delivered { sequence, accepted: true });
        } else {
            self.stored.insert(sequence, nonce);
        }
    }

    /// The message with this nonce was delivered. Returns whether it was waited for.
    pub(crate) fn tell(&mut self, nonce: u64, delivered: Delivered) -> bool {
        let Some(sender) = self.by_nonce.remove(&nonce) else { return false };
        let _sender_has_gone = sender.send(delivered);
        true
    }

    /// The messages up to this one are delivered.
    pub(crate) fn passed(&mut self, sequence: u64) {
        self.passed = self.passed.max(sequence);
        while let Some(entry) = self.stored.first_entry().filter(|entry| *entry.key() <= sequence) {
            let (sequence, nonce) = entry.remove_entry();
            self.tell(nonce, Delivered { sequence, accepted: true });
        }
    }

    /// Messages that were stored may be lost: whoever waits for one has to find out by reading.
    pub(crate) fn interrupted(&mut self) {
        for nonce in std::mem::take(&mut self.stored).into_values() {
            self.by_nonce.remove(&nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_was_replaced_before_it_was_delivered_is_told_with_the_one_that_came() {
        let mut senders = Senders::default();
        let mut delivered = senders.expect(1);
        senders.stored(1, 5);
        senders.passed(4);
        assert!(delivered.try_recv().is_err(), "it may come yet");
        senders.passed(6);
        assert_eq!(delivered.try_recv(), Ok(Delivered { sequence: 5, accepted: true }));
    }

    #[test]
    fn an_acknowledgement_that_comes_after_the_message_that_replaced_it_is_enough() {
        let mut senders = Senders::default();
        let mut delivered = senders.expect(1);
        senders.passed(6);
        assert!(delivered.try_recv().is_err(), "nobody has said that it is stored");
        senders.stored(1, 5);
        assert_eq!(delivered.try_recv(), Ok(Delivered { sequence: 5, accepted: true }));
    }

    #[test]
    fn what_may_be_lost_is_not_told() {
        let mut senders = Senders::default();
        let mut delivered = senders.expect(1);
        senders.stored(1, 5);
        senders.interrupted();
        senders.passed(6);
        assert_eq!(delivered.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
