//! Who sees to it that nodes become members: the first ones all together, and one that was wiped once it has caught up.
//!
//! Every handle has a steward, and any may do the work: each change of a node's marker is a compare-and-swap, so that
//! they can't do harm to each other, only lose time.

use super::ballot::Epoch;
use super::council::Council;
use super::marker::{Marker, Run};
use super::member::{Member, Out, Seat, Standing};
use super::rejoin;
use crate::fault::Fault;
use futures::future::join_all;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked whether there is something to do.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long a node must be out before it is brought back, at least and at most: by then most others have seen it, too,
/// and hardly two begin at once.
const REJOIN_DELAY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(1500));
/// For how long somebody else's attempt to bring a node back may take, after that was noticed, before it is begun anew.
/// A copy that takes longer is tried again and again: so the time grows with each attempt.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Since when a node is out, in which way.
struct Noticed {
    marker: Marker,
    until: Instant,
}

/// Does what there is to do, for ever.
pub(super) async fn serve(council: Arc<Council>) {
    let mut noticed: HashMap<usize, Noticed> = HashMap::new();
    let mut attempts = 0;
    loop {
        tokio::time::sleep(INTERVAL).await;
        adopt_epoch(&council).await;
        let standings: Vec<Standing> = council.members.iter().map(|member| member.standing()).collect();
        let seats: Vec<Arc<Seat>> = council.members.iter().filter_map(|member| member.seat()).collect();
        if seats.is_empty() {
            found(&council, &standings).await;
            continue;
        }
        for (member, standing) in council.members.iter().zip(&standings) {
            let Standing::Out { line, report, why } = standing else {
                noticed.remove(&member.number);
                continue;
            };
            // One of the first, left half-way by its founder: it was never anything else.
            if let Marker::Forming { formation, .. } = &report.marker
                && seats.iter().any(|seat| seat.formation == *formation)
            {
                let run = Run::of(report);
                let marker = joined(formation.clone(), council.members.len());
                note(member, line.mark(&member.layout, report, &marker, &run, Some(Epoch(0))).await);
                continue;
            }
            let known = noticed.get(&member.number).filter(|noticed| noticed.marker == report.marker);
            let Some(known) = known else {
                let wait = match why {
                    Out::Catching => ATTEMPT * (attempts + 1),
                    _ => {
                        let (least, most) = REJOIN_DELAY;
                        least + (most - least).mul_f64(rand::random())
                    }
                };
                let until = Instant::now() + wait;
                noticed.insert(member.number, Noticed { marker: report.marker.clone(), until });
                continue;
            };
            if Instant::now() < known.until || *why == Out::Foreign {
                continue;
            }
            noticed.remove(&member.number);
            match rejoin::bring_back(&council, member, line, report).await {
                Ok(epoch) => {
                    tracing::info!(node = %member.address, "a node has caught up, and takes part again");
                    attempts = 0;
                    member.look_again();
                    council.join(epoch).await;
                }
                Err(fault) => {
                    attempts = (attempts + 1).min(10);
                    tracing::warn!(node = %member.address, ?fault, "a node could not be brought back yet");
                    member.look_again();
                }
            }
        }
    }
}

/// An epoch that a node is in is used once a majority is in it.
async fn adopt_epoch(council: &Council) {
    let epochs = council.members.iter().filter_map(|member| member.seat()).map(|seat| seat.epoch);
    if let Some(highest) = epochs.max()
        && highest > council.epoch()
    {
        council.join(highest).await;
    }
}

fn joined(formation: String, nodes: usize) -> Marker {
    Marker::Joined { formation, nodes, token: token() }
}

/// A name that nobody else has.
pub(super) fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Makes the first members, if all nodes are there and none has been a member.
///
/// Each node is first made *forming*, under a name that this attempt alone uses and sends to each node once. Only if all
/// have taken it, they are made members; a node that is still forming under the name that a member has can be made one
/// by anybody, for it was there from the beginning and has not been wiped since: then it would not have the name.
async fn found(council: &Council, standings: &[Standing]) {
    let mut outs = Vec::with_capacity(standings.len());
    for standing in standings {
        match standing {
            Standing::Out { line, report, why: Out::Vacant | Out::Forming } => outs.push((line, report)),
            _ => return,
        }
    }
    // Several handles start at once: the one that waits least does it, unless it dies.
    let before: Vec<u64> = council.members.iter().map(|member| member.looks()).collect();
    tokio::time::sleep(INTERVAL.mul_f64(rand::random_range(0.0..3.0))).await;
    let formation = token();
    let nodes = council.members.len();
    let forming = Marker::Forming { formation: formation.clone(), nodes };
    let first = outs
        .iter()
        .zip(&council.members)
        .map(|((line, report), member)| line.mark(&member.layout, report, &forming, &report.run, None));
    let first = join_all(first).await;
    let all = first.iter().all(|done| matches!(done, Ok(true)));
    if all {
        tracing::info!(formation, nodes, "the quorum is founded");
        let second = outs.iter().zip(&council.members).map(|((line, report), member)| {
            let formed = super::line::Report { marker: forming.clone(), ..(*report).clone() };
            let marker = joined(formation.clone(), nodes);
            async move {
                let run = Run::of(&formed);
                note(member, line.mark(&member.layout, &formed, &marker, &run, Some(Epoch(0))).await);
            }
        });
        join_all(second).await;
    }
    for member in &council.members {
        member.look_again();
    }
    // What the nodes are now is seen before it is tried again.
    let seen = || council.members.iter().zip(&before).all(|(member, before)| member.looks() > *before);
    for _ in 0..20 {
        if seen() {
            return;
        }
        tokio::time::sleep(INTERVAL / 2).await;
    }
}

fn note(member: &Member, marked: Result<bool, Fault>) {
    if let Err(fault) = marked {
        tracing::debug!(node = %member.address, ?fault, "a node's marker could not be changed");
    }
    member.look_again();
}
