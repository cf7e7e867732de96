//! Tokens grow: of two conflicting locks the one that was held later has the greater token.

use super::spec::compatible;
use super::{Findings, Rule};
use crate::history::{Answer, Ask, History, Operation};

/// A grant that was seen: an acquire's, or an up-conversion's.
struct Seen<'a> {
    operation: &'a Operation,
    mode: dlock_core::Mode,
    token: u64,
}

pub(super) fn check(history: &History, findings: &mut Findings) {
    let mut last = std::collections::BTreeMap::new();
    let mut grants: Vec<Seen<'_>> = Vec::new();
    for operation in &history.operations {
        let Answer::Granted { mode, token, .. } = operation.answer else { continue };
        // A downgrade keeps its token, and is no grant.
        let new = last.insert(operation.lock, token) != Some(token);
        if new || matches!(operation.ask, Ask::Acquire { .. }) {
            grants.push(Seen { operation, mode, token });
        }
    }
    for (at, later) in grants.iter().enumerate() {
        for earlier in &grants[..at] {
            let before = earlier.operation.completed.is_some_and(|seen| seen < later.operation.invoked);
            let conflict = earlier.operation.resource == later.operation.resource
                && (earlier.operation.lock == later.operation.lock || !compatible(earlier.mode, later.mode));
            if before && conflict && earlier.token >= later.token {
                let (earlier, later) = (earlier.operation, later.operation);
                findings.add(
                    Rule::Tokens,
                    format!("granted later, and no greater token:\n  {earlier}\n  {later}"),
                );
            }
        }
    }
    for (at, one) in history.holds.iter().enumerate() {
        for other in &history.holds[..at] {
            let conflict =
                one.resource == other.resource && one.lock != other.lock && !compatible(one.mode, other.mode);
            let (earlier, later) = if one.from < other.from { (one, other) } else { (other, one) };
            if conflict && earlier.to <= later.from && earlier.token >= later.token {
                findings
                    .add(Rule::Tokens, format!("held later, and no greater token:\n  {earlier}\n  {later}"));
            }
        }
    }
}
