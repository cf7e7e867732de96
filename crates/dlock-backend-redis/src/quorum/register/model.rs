//! An acceptor in plain Rust: what the script does, for tests of the script and of the proposer.

use super::*;
use std::collections::BTreeMap;

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::quorum) struct Acceptor {
    pub(in crate::quorum) epoch: Epoch,
    pub(in crate::quorum) rows: BTreeMap<u8, Row>,
    /// Of the one bucket that all registers share.
    pub(in crate::quorum) floors: Floors,
}

impl Acceptor {
    /// Does what it is asked about a register.
    pub(in crate::quorum) fn apply(&mut self, key: u8, op: &Op) -> Answer {
        let row = self.rows.get(&key);
        let barred = |ballot: Ballot, row: Option<&Row>, strictly: bool| match row {
            Some(row) if row.promised > ballot || (strictly && row.promised == ballot) => {
                Some(Answer::Refused { round: row.promised.round })
            }
            None if ballot.round <= self.floors.round => Some(Answer::Refused { round: self.floors.round }),
            _ => None,
        };
        match op {
            Op::Read => Answer::Found { row: row.cloned(), floors: self.floors },
            Op::Prepare { ballot } | Op::Accept { ballot, .. } if ballot.epoch != self.epoch => {
                Answer::OtherEpoch(self.epoch)
            }
            Op::Prepare { ballot } => {
                if let Some(refusal) = barred(*ballot, row, true) {
                    return refusal;
                }
                let accepted = row.and_then(|row| row.accepted.clone());
                self.rows.insert(key, Row { promised: *ballot, accepted: accepted.clone() });
                Answer::Promised { accepted, floors: self.floors }
            }
            Op::Accept { ballot, next, state } => {
                if let Some(refusal) = barred(*ballot, row, false) {
                    return refusal;
                }
                let row = Row { promised: *next, accepted: Some((*ballot, state.clone())) };
                self.rows.insert(key, row);
                Answer::Done
            }
            Op::Retire { ballot } | Op::Remove { ballot } => {
                let Some(Row { promised, accepted: Some((accepted, state @ State { value: None, .. })) }) =
                    row
                else {
                    return Answer::Refused { round: 0 };
                };
                if accepted != ballot || promised != ballot {
                    return Answer::Refused { round: promised.round };
                }
                self.floors = Floors {
                    version: self.floors.version.max(state.version),
                    floor: self.floors.floor.max(state.floor),
                    round: self.floors.round.max(ballot.round),
                };
                if matches!(op, Op::Remove { .. }) {
                    self.rows.remove(&key);
                }
                Answer::Done
            }
        }
    }

    /// Joins an epoch.
    pub(in crate::quorum) fn join(&mut self, epoch: Epoch) {
        self.epoch = self.epoch.max(epoch);
    }

    /// What a node that lost everything takes from another.
    pub(in crate::quorum) fn merge(&mut self, other: &Acceptor) {
        for (key, row) in &other.rows {
            let ballot = |row: &Row| row.accepted.as_ref().map(|(ballot, _)| *ballot);
            if self.rows.get(key).is_none_or(|own| ballot(own) < ballot(row)) {
                let copied =
                    |(ballot, state): &(Ballot, State)| (*ballot, State { copied: true, ..state.clone() });
                let accepted = row.accepted.as_ref().map(copied);
                self.rows.insert(*key, Row { promised: ballot(row).unwrap_or(row.promised), accepted });
            }
        }
        self.floors = Floors {
            version: self.floors.version.max(other.floors.version),
            floor: self.floors.floor.max(other.floors.floor),
            round: self.floors.round.max(other.floors.round),
        };
    }
}
