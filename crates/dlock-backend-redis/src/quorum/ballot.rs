//! Ballots, and the epochs that they belong to.

/// The bytes of an epoch, a round or a proposer's id.
pub(super) const NUMBER_BYTES: usize = 8;
/// The bytes of a ballot.
pub(super) const BALLOT_BYTES: usize = 3 * NUMBER_BYTES;

/// A promise of a whole node: it takes part in no ballot of a lesser epoch, of whatever register. A counter in the high
/// half, and a random number in the low half, so that no two nodes rejoin under one epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Epoch(pub(super) u64);

impl Epoch {
    /// One that is greater, and nobody else's.
    pub(super) fn successor(self, random: u32) -> Epoch {
        Epoch((((self.0 >> 32) + 1) << 32) | u64::from(random))
    }

    pub(super) fn to_bytes(self) -> [u8; NUMBER_BYTES] {
        self.0.to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Epoch> {
        Some(Epoch(u64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

/// A ballot. A proposer uses each of its own once, for one register and one proposal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ballot {
    /// Counts most.
    pub(super) epoch: Epoch,
    pub(super) round: u64,
    /// Tells apart the proposers of one round.
    pub(super) proposer: u64,
}

impl Ballot {
    /// Before every other: what was never accepted.
    pub(super) const ZERO: Ballot = Ballot { epoch: Epoch(0), round: 0, proposer: 0 };

    /// In the order of the bytes as in the order of ballots.
    pub(super) fn to_bytes(self) -> [u8; BALLOT_BYTES] {
        let mut bytes = [0; BALLOT_BYTES];
        for (part, number) in
            bytes.chunks_exact_mut(NUMBER_BYTES).zip([self.epoch.0, self.round, self.proposer])
        {
            part.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Ballot> {
        if bytes.len() != BALLOT_BYTES {
            return None;
        }
        let mut numbers = bytes
            .chunks_exact(NUMBER_BYTES)
            .filter_map(|part| Some(u64::from_be_bytes(part.try_into().ok()?)));
        Some(Ballot { epoch: Epoch(numbers.next()?), round: numbers.next()?, proposer: numbers.next()? })
    }
}
