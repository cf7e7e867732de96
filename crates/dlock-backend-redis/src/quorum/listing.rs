//! Listing: the names that a majority of nodes knows, each then read like any other register. A node knows the names of
//! all its rows, also of those without a value: what was chosen is known to one node of every majority, even while a
//! deletion of it is under way.

use super::council::Council;
use super::line::nonsense;
use super::member::{Member, Seat};
use crate::fault::Fault;
use dlock_store::{Key, StoreError};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::Value;
use std::collections::BTreeSet;
use tokio::time::{Instant, timeout_at};

/// What comes after every name that begins with a prefix: no UTF-8 text has this byte.
const AFTER_ALL: u8 = 0xff;

/// Where a listing is.
pub(super) enum From {
    /// At this name, or what comes after it.
    At(String),
    After(String),
}

/// Some names in order, and where to go on; none there is the end.
pub(super) struct Names {
    pub(super) names: Vec<Key>,
    pub(super) next: Option<From>,
}

/// The names of a prefix from some place on, about as many as are asked for.
pub(super) async fn names(
    council: &Council,
    prefix: &str,
    from: &From,
    count: usize,
) -> Result<Names, StoreError> {
    let deadline = Instant::now() + council.timeout;
    let asked = council.members.iter().filter_map(|member| Some((member, member.seat()?)));
    let mut asked: FuturesUnordered<_> =
        asked.map(|(member, seat)| async move { of_one(member, &seat, prefix, from, count).await }).collect();
    let (mut found, mut answered) = (BTreeSet::new(), 0);
    // Up to here everybody who has answered has given all that it has.
    let mut complete: Option<String> = None;
    let mut failure = None;
    while answered < council.majority() {
        match timeout_at(deadline, asked.next()).await {
            Ok(Some(Ok(names))) => {
                answered += 1;
                if names.len() >= count
                    && let Some(last) = names.last()
                    && complete.as_ref().is_none_or(|complete| last < complete)
                {
                    complete = Some(last.clone());
                }
                found.extend(names);
            }
            Ok(Some(Err(fault))) => failure = Some(fault),
            Ok(None) | Err(_) => {
                let reason = format!(
                    "{answered} of {} nodes have listed their names, and {} are needed{}",
                    council.members.len(),
                    council.majority(),
                    failure.map(|fault| format!(" ({fault:?})")).unwrap_or_default()
                );
                return Err(StoreError::Unavailable { reason });
            }
        }
    }
    let names = found.iter().filter(|name| complete.as_ref().is_none_or(|complete| *name <= complete));
    let names: Result<Vec<Key>, _> = names.map(|name| Key::new(name)).collect();
    let names = names.map_err(|error| StoreError::Invalid { reason: error.to_string() })?;
    Ok(Names { names, next: complete.map(From::After) })
}

async fn of_one(
    member: &Member,
    seat: &Seat,
    prefix: &str,
    from: &From,
    count: usize,
) -> Result<Vec<String>, Fault> {
    let (sign, start) = match from {
        From::At(name) => (b'[', name),
        From::After(name) => (b'(', name),
    };
    let start = [&[sign], start.as_bytes()].concat();
    let end = [b"(", prefix.as_bytes(), &[AFTER_ALL]].concat();
    let mut command = redis::cmd("ZRANGEBYLEX");
    command.arg(&seat.names.names).arg(start).arg(end).arg("LIMIT").arg(0).arg(count);
    let answer = seat.line.send(command).await.map_err(|fault| fault.at(&member.address))?;
    let Value::Array(found) = answer else { return Err(nonsense()) };
    // A node that has forgotten everything has no names. That it had not, when it answered, is asked after it answered.
    let mut marker = redis::cmd("GET");
    marker.arg(member.layout.marker());
    match seat.line.send(marker).await? {
        Value::BulkString(marker) if marker == seat.marker.as_bytes() => {}
        _ => return Err(Fault::NotNow("the node takes part no more".to_owned()).at(&member.address)),
    }
    found
        .into_iter()
        .map(|name| match name {
            Value::BulkString(name) => String::from_utf8(name).map_err(|_| nonsense()),
            _ => Err(nonsense()),
        })
        .collect()
}
