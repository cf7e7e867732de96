//! Bringing back a node that has lost writes.
//!
//! A node that forgets what it has promised and accepted must not vote as if it had not: with what a proposer was
//! promised by it before, and what it promises now, two majorities could decide without meeting. So it becomes a
//! member only in a new *epoch*:
//!
//! 1. A majority of nodes (all of them others, which have lost nothing) joins an epoch that is later than all that any
//!    of them is in. From then on they take part in no ballot of an earlier epoch, for whatever register: whatever
//!    counts on a promise of the node's earlier life can't be accepted by a majority any more.
//! 2. All that they have is copied. Whatever was chosen before is with at least one of them, even if the node's own
//!    earlier acceptance was needed for that: a majority less one, and a majority, of the others have one in common.
//!    The rows come before the floors: a register that is collected meanwhile has left its floors by then. What is
//!    copied is known, and is not a vote: the node may have promised, in its earlier life, not to accept it. If copies
//!    counted where a majority has to agree, they could make a choice of what had already lost. Rows that were only
//!    promised are copied, too: a read by a majority without rows relies on that nothing is under way, and one of
//!    those who know of it may have been the node itself.
//! 3. The node becomes a member, in that epoch, under a new token.
//!
//! An epoch is used in ballots only once a majority has joined it (see [`Council::join`]), so that any that the node
//! ever took part in, in its earlier life, is known to one of the others; the new one is later.

use super::ballot::Epoch;
use super::council::Council;
use super::layout::Names;
use super::line::{Line, Report, nonsense};
use super::marker::{Marker, Run};
use super::member::{Member, Seat};
use super::script::{MERGE, PAGE};
use super::steward::token;
use crate::fault::Fault;
use futures::future::try_join_all;
use rand::seq::SliceRandom as _;
use redis::Value;
use std::sync::Arc;

/// About how many rows one page has.
const PAGE_ROWS: usize = 256;

/// A node that has lost nothing, and gives what it has.
struct Source<'a> {
    member: &'a Arc<Member>,
    seat: Arc<Seat>,
}

/// Makes a node a member again. Returns the epoch in which it is one.
pub(super) async fn bring_back(
    council: &Council,
    member: &Arc<Member>,
    line: &Line,
    report: &Report,
) -> Result<Epoch, Fault> {
    let mut sources: Vec<Source<'_>> = council
        .members
        .iter()
        .filter(|other| other.number != member.number)
        .filter_map(|other| Some(Source { member: other, seat: other.seat()? }))
        .collect();
    sources.shuffle(&mut rand::rng());
    sources.truncate(council.majority());
    let Some(formation) = sources.first().map(|source| source.seat.formation.clone()) else {
        return Err(Fault::NotNow("no other node takes part".to_owned()));
    };
    if sources.len() < council.majority() || sources.iter().any(|source| source.seat.formation != formation) {
        return Err(Fault::NotNow(format!(
            "{} other nodes take part, and {} of one quorum are needed",
            sources.len(),
            council.majority()
        )));
    }
    let own = token();
    let nodes = council.members.len();
    let catching = Marker::Catching { formation: formation.clone(), nodes, token: own.clone() };
    let layout = &member.layout;
    let run = Run::of(report);
    if !line.mark(layout, report, &catching, &run, None).await? {
        return Err(Fault::NotNow("somebody else is at it".to_owned()));
    }
    let report = Report { marker: catching.clone(), run: run.clone(), ..report.clone() };

    let epoch = new_epoch(&sources).await?;
    let names = layout.names(&own);
    forget(line, layout.as_ref(), &names).await?;
    let marker = catching.to_string();
    for source in &sources {
        copy(source, Part::Rows, line, &layout.marker(), &marker, &names).await?;
    }
    for source in &sources {
        copy(source, Part::Floors, line, &layout.marker(), &marker, &names).await?;
    }
    let joined = Marker::Joined { formation, nodes, token: own };
    if !line.mark(layout, &report, &joined, &run, Some(epoch)).await? {
        return Err(Fault::NotNow("somebody else has taken it over".to_owned()));
    }
    Ok(epoch)
}

/// An epoch that is later than any that the sources are in, and that all of them have joined.
async fn new_epoch(sources: &[Source<'_>]) -> Result<Epoch, Fault> {
    let join_all = async |epoch: Epoch| {
        let joined = sources.iter().map(|Source { member, seat }| async move {
            let joined = seat.line.join(&member.layout, &seat.marker, epoch).await;
            joined.map_err(|fault| fault.at(&member.address))
        });
        try_join_all(joined).await
    };
    let current = join_all(Epoch(0)).await?.into_iter().max().unwrap_or_default();
    let epoch = current.successor(rand::random());
    // One that is in a later epoch by now takes part in no earlier ballot all the more.
    join_all(epoch).await?;
    Ok(epoch)
}

#[derive(Clone, Copy)]
enum Part {
    Rows,
    Floors,
}

/// Copies one hash of a source.
async fn copy(
    source: &Source<'_>,
    part: Part,
    to: &Line,
    to_marker_key: &str,
    to_marker: &str,
    to_names: &Names,
) -> Result<(), Fault> {
    let Source { member, seat } = source;
    let (kind, from) = match part {
        Part::Rows => ("rows", &seat.names.rows),
        Part::Floors => ("floors", &seat.names.floors),
    };
    let mut cursor = b"0".to_vec();
    loop {
        let mut page = PAGE.call([&member.layout.marker(), from].iter());
        page.arg(&seat.marker).arg(&cursor[..]).arg(PAGE_ROWS);
        let Value::Array(answer) = seat.line.call(page).await.map_err(|fault| fault.at(&member.address))?
        else {
            return Err(nonsense());
        };
        let Ok([Value::BulkString(next), Value::Array(pairs)]) = <[Value; 2]>::try_from(answer) else {
            return Err(nonsense());
        };
        if !pairs.is_empty() {
            let [rows, floors, names, dead, _] = to_names.all();
            let mut merge = MERGE.call([to_marker_key, rows, floors, names, dead].iter());
            merge.arg(to_marker).arg(kind);
            for pair in pairs {
                let Value::BulkString(bytes) = pair else { return Err(nonsense()) };
                merge.arg(bytes);
            }
            to.call(merge).await?;
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

/// Removes what the node has from earlier lives.
async fn forget(line: &Line, layout: &super::layout::Layout, keep: &Names) -> Result<(), Fault> {
    let mut cursor = b"0".to_vec();
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(&cursor[..]).arg("MATCH").arg(layout.all_names()).arg("COUNT").arg(1000);
        let Value::Array(answer) = line.send(scan).await? else { return Err(nonsense()) };
        let Ok([Value::BulkString(next), Value::Array(found)]) = <[Value; 2]>::try_from(answer) else {
            return Err(nonsense());
        };
        for name in found {
            let Value::BulkString(name) = name else { return Err(nonsense()) };
            if !keep.all().iter().any(|own| own.as_bytes() == name) {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(name);
                line.send(unlink).await?;
            }
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}
