//! What is wrong with the quorum at the moment, and what it can't promise.

use super::council::Council;
use super::member::{Member, Out, Standing};
use crate::fault::Fault;
use dlock_store::{Condition, Severity};

/// What is wrong at the moment.
pub(super) fn conditions(council: &Council) -> Vec<Condition> {
    let mut conditions: Vec<Condition> =
        council.members.iter().filter_map(|member| condition(member)).collect();
    let (seated, majority) = (council.seated(), council.majority());
    if seated < majority {
        let of = council.members.len();
        let lost = council.members.iter().filter(|member| is_lost(member)).count();
        let way_out = if lost > of - majority {
            "more nodes have lost writes than a quorum can make up for; docs/backends.md says what can be done"
        } else {
            "bring nodes back"
        };
        conditions.push(Condition {
            severity: Severity::Failure,
            code: "NOQUORUM",
            message: format!("{seated} of {of} nodes take part, and {majority} are needed: {way_out}"),
        });
    }
    conditions
}

fn is_lost(member: &Member) -> bool {
    matches!(
        member.standing(),
        Standing::Out { why: Out::Lost | Out::Vacant | Out::Catching | Out::Forming, .. }
    )
}

fn condition(member: &Member) -> Option<Condition> {
    let (code, what) = match member.standing() {
        Standing::Joined(seat) if seat.line.is_usable() => return None,
        Standing::Joined(_) => ("NODE_DOWN", "its connection has ended".to_owned()),
        Standing::Down(
            Fault::Unreached(reason)
            | Fault::NotNow(reason)
            | Fault::Refused(reason)
            | Fault::Full(reason)
            | Fault::Foreign(reason)
            | Fault::Unknown(reason),
        ) => ("NODE_DOWN", format!("it can't be used: {reason}")),
        Standing::Down(Fault::NoScript) => ("NODE_DOWN", "it forgets our scripts".to_owned()),
        Standing::Out { why, report, .. } => match why {
            Out::Vacant | Out::Forming => {
                ("NODE_EMPTY", "it is empty, and takes part once it has copied the others".to_owned())
            }
            Out::Lost => (
                "NODE_LOST_WRITES",
                "it has restarted and may have lost writes: it takes part once it has copied the others"
                    .to_owned(),
            ),
            Out::Catching => ("NODE_CATCHING_UP", "it copies what the others have".to_owned()),
            Out::Foreign => (
                "NODE_FOREIGN",
                format!(
                    "it belongs to another quorum, or a newer dlock ({}): correct redis.addrs, or empty it",
                    report.marker
                ),
            ),
        },
    };
    let message = format!("Redis at {}: {what}", member.address);
    Some(Condition { severity: Severity::Warning, code, message })
}

/// What a quorum of these nodes can't promise, and the way out.
pub(super) fn caveats(council: &Council) -> Vec<String> {
    let mut caveats = Vec::new();
    let lossy: Vec<String> = council
        .members
        .iter()
        .filter(|member| member.durability() == Some(false))
        .map(|member| member.address.to_string())
        .collect();
    if !lossy.is_empty() {
        caveats.push(format!(
            "Redis at {} does not write to disk before it answers (appendonly yes, appendfsync always, no-appendfsync-on-rewrite no, and CONFIG GET must be permitted): after each restart it is taken for wiped and copies the others, and if a majority restarts at a time, nothing goes on",
            lossy.join(", ")
        ));
    }
    caveats
}
