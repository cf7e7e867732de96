//! Watches. Every node announces what it accepts; what a majority has accepted in one ballot has been committed, and is
//! told. What fewer are heard of is looked into after a while: it may have been committed all the same, where a
//! subscription is missing, or may yet be; then it is finished or made impossible, and only then told.

use super::ballot::{BALLOT_BYTES, Ballot};
use super::council::Council;
use super::line::nonsense;
use super::member::Member;
use super::proposer::{Goal, Outcome};
use super::register::State;
use crate::fault::Fault;
use crate::link::succeeded;
use crate::record::{Announced, NUMBER_BYTES};
use crate::watch::Hub;
use bytes::Bytes;
use dlock_store::{Key, Record};
use foldhash::HashMap;
use futures::future::join_all;
use parking_lot::Mutex;
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{PushInfo, PushKind, Value};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// For how long the rest of a majority's announcements are waited for.
const PATIENCE: Duration = Duration::from_millis(150);
/// For how long it is remembered what was told, so that late announcements of it are no news.
const MEMORY: Duration = Duration::from_secs(5);
/// How many keys are remembered at most; beyond, everybody reads again.
const KEYS_MAX: usize = 65_536;
/// How many are looked into at a time.
const LOOKED_INTO: usize = 64;
/// How often it is looked for what has waited long enough.
const INTERVAL: Duration = Duration::from_millis(50);
/// How often a subscription's connection is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// The pause before a subscription is made anew.
const PAUSE: Duration = Duration::from_millis(100);

/// What was heard of a key.
struct Heard {
    ballot: Ballot,
    version: u64,
    /// Which nodes have announced it, a bit each.
    nodes: u64,
    /// Since when something has not been told, or when it was.
    since: Instant,
    told: bool,
}

/// All announcements of all nodes.
pub(super) struct Announcements {
    hub: Arc<Hub>,
    majority: usize,
    heard: Mutex<HashMap<Key, Heard>>,
    /// Which nodes are subscribed to, a bit each.
    subscribed: Mutex<u64>,
    /// For how long a write may be under way.
    timeout: Duration,
}

impl Announcements {
    pub(super) fn new(hub: Arc<Hub>, majority: usize, timeout: Duration) -> Arc<Announcements> {
        Arc::new(Announcements { hub, majority, heard: Mutex::default(), subscribed: Mutex::new(0), timeout })
    }

    fn take(&self, node: usize, message: Vec<u8>) {
        let Some(accepted) = accepted(message) else {
            // Not ours, or a newer dlock's: there may have been something in it.
            return self.hub.resync();
        };
        let mut told = Vec::new();
        {
            let mut heard = self.heard.lock();
            for Accepted { key, ballot, version, record } in accepted {
                if !self.hub.has_watcher(&key) {
                    continue;
                }
                if heard.len() >= KEYS_MAX && !heard.contains_key(&key) {
                    heard.clear();
                    self.hub.resync();
                }
                let now = Instant::now();
                let fresh = || Heard { ballot, version, nodes: 0, since: now, told: false };
                let known = heard.entry(key.clone()).or_insert_with(fresh);
                if known.ballot < ballot {
                    let since = if known.told { now } else { known.since };
                    *known = Heard { since, ..fresh() };
                }
                if known.ballot != ballot || known.told {
                    continue;
                }
                known.nodes |= 1 << node;
                if known.nodes.count_ones() as usize >= self.majority {
                    known.told = true;
                    known.since = now;
                    told.push(Announced { key, record });
                }
            }
        }
        if !told.is_empty() {
            self.hub.tell(told);
        }
    }

    /// From now on the node is heard. What it announced before may have been missed, and what was accepted by it before
    /// may be committed by nodes that are not heard: so it is read again now, and once that can't be any more.
    fn hear(self: &Arc<Self>, node: usize) {
        self.hub.resync();
        self.count(|subscribed| *subscribed |= 1 << node);
        let (later, hub) = (self.timeout * 2, Arc::downgrade(&self.hub));
        tokio::spawn(async move {
            tokio::time::sleep(later).await;
            if let Some(hub) = Weak::upgrade(&hub) {
                hub.resync();
            }
        });
    }

    fn unhear(&self, node: usize) {
        self.count(|subscribed| *subscribed &= !(1 << node));
    }

    /// Whether a majority is heard is told under the lock: else the earlier of two changes might be told after the
    /// later, and a majority that is heard for ever be taken for none.
    fn count(&self, change: impl FnOnce(&mut u64)) {
        let mut subscribed = self.subscribed.lock();
        change(&mut subscribed);
        self.hub.set_complete(subscribed.count_ones() as usize >= self.majority);
    }

    /// What has waited long enough.
    fn overdue(&self) -> Vec<(Key, Ballot, u64)> {
        let mut heard = self.heard.lock();
        heard.retain(|_, known| !known.told || known.since.elapsed() < MEMORY);
        let overdue = heard.iter().filter(|(_, known)| !known.told && known.since.elapsed() >= PATIENCE);
        let overdue = overdue.map(|(key, known)| (key.clone(), known.ballot, known.version));
        overdue.take(LOOKED_INTO).collect()
    }

    /// Nothing of this ballot is under way any more; the record is at least as new.
    fn settled(&self, key: &Key, ballot: Ballot, record: Record) {
        match self.heard.lock().get_mut(key) {
            Some(known) if known.ballot == ballot && !known.told => {
                known.told = true;
                known.since = Instant::now();
            }
            // Told meanwhile, or there is something newer, which has its own time.
            Some(known) if known.told => return,
            _ => {}
        }
        self.hub.tell(vec![Announced { key: key.clone(), record: Some(record) }]);
    }
}

/// Looks into what was not announced by a majority, for ever.
pub(super) async fn look_into(announcements: Arc<Announcements>, council: Arc<Council>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let overdue = announcements.overdue();
        join_all(overdue.into_iter().map(|(key, ballot, version)| {
            let (announcements, council) = (&announcements, &council);
            async move {
                if let Some(record) = resolve(council, &key, version).await {
                    announcements.settled(&key, ballot, record);
                }
            }
        }))
        .await;
    }
}

/// The record, once nothing that gave the version can change it any more.
async fn resolve(council: &Council, key: &Key, version: u64) -> Option<Record> {
    let found = |outcome| match outcome {
        Outcome::Found(record) => Some(record),
        _ => None,
    };
    // Mostly it has been committed, and just not been heard of enough. Who wrote it last writes faster if let alone.
    if let Some(record) = found(council.run(key, Goal::Read, None).await.0)
        && record.version.0 >= version
    {
        return Some(record);
    }
    found(council.run(key, Goal::Settle, None).await.0)
}

/// Keeps a subscription at a node, for ever.
pub(super) async fn follow(announcements: Arc<Announcements>, member: Arc<Member>) {
    loop {
        match subscribe(&announcements, &member).await {
            Ok((mut connection, ended)) => {
                announcements.hear(member.number);
                let why = broken(&mut connection, &ended).await;
                announcements.unhear(member.number);
                tracing::debug!(node = %member.address, why, "a subscription is made anew");
            }
            Err(fault) => tracing::debug!(node = %member.address, ?fault, "no subscription"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn subscribe(
    announcements: &Arc<Announcements>,
    member: &Member,
) -> Result<(MultiplexedConnection, Arc<Notify>), Fault> {
    let ended = Arc::new(Notify::new());
    let receiver = Receiver {
        node: member.number,
        announcements: Arc::downgrade(announcements),
        ended: Arc::clone(&ended),
    };
    let connected = member.connector().connect(&member.address, Some(Arc::new(receiver)));
    let mut connection = tokio::time::timeout(member.timeout, connected)
        .await
        .unwrap_or_else(|_| Err(Fault::Unreached("no connection in time".to_owned())))?;
    connection.set_response_timeout(member.timeout);
    let mut commands = redis::pipe();
    commands.cmd("SUBSCRIBE").arg(member.layout.channel());
    let answers = connection.send_packed_commands(&commands, 0, 1).await;
    for answer in answers.map_err(|error| Fault::from_connection(&error))? {
        succeeded(answer)?;
    }
    Ok((connection, ended))
}

/// Returns, and says why, when announcements may be missed.
async fn broken(connection: &mut MultiplexedConnection, ended: &Notify) -> String {
    loop {
        tokio::select! {
            () = ended.notified() => return "the connection or the channel has ended".to_owned(),
            () = tokio::time::sleep(PING_INTERVAL) => {}
        }
        let mut commands = redis::pipe();
        commands.cmd("PING");
        let answer = match connection.send_packed_commands(&commands, 0, 1).await {
            Ok(mut answers) => answers.pop().ok_or_else(nonsense).and_then(succeeded),
            Err(error) => Err(Fault::from_connection(&error)),
        };
        if let Err(fault) = answer {
            return format!("{fault:?}");
        }
    }
}

/// Takes what a node pushes, in the connection's own task.
struct Receiver {
    node: usize,
    announcements: Weak<Announcements>,
    ended: Arc<Notify>,
}

impl AsyncPushSender for Receiver {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        match info.kind {
            PushKind::Message => {
                let Some(announcements) = self.announcements.upgrade() else { return Ok(()) };
                match info.data.into_iter().nth(1) {
                    Some(Value::BulkString(message)) => announcements.take(self.node, message),
                    _ => announcements.hub.resync(),
                }
            }
            PushKind::Disconnection | PushKind::Unsubscribe => self.ended.notify_one(),
            _ => {}
        }
        Ok(())
    }
}

/// See [`crate::fuzzing::read`].
#[cfg(feature = "fuzzing")]
pub(super) fn read_any(message: &[u8]) {
    drop(accepted(message.to_vec()));
}

/// What a node has accepted.
struct Accepted {
    key: Key,
    ballot: Ballot,
    version: u64,
    record: Option<Record>,
}

/// Takes apart what the script has published: lengths of name and state (2 and 4 bytes), ballot, name, and the state or
/// its version alone; and so on. `None` if it isn't that.
fn accepted(message: Vec<u8>) -> Option<Vec<Accepted>> {
    const HEAD: usize = 6;
    let message = Bytes::from(message);
    let (mut accepted, mut at) = (Vec::new(), 0);
    while at < message.len() {
        let [n0, n1, s0, s1, s2, s3]: [u8; HEAD] = message.get(at..at + HEAD)?.try_into().ok()?;
        let ballot = at + HEAD;
        let name = ballot + BALLOT_BYTES;
        let state = name + usize::from(u16::from_be_bytes([n0, n1]));
        let end = state + usize::try_from(u32::from_be_bytes([s0, s1, s2, s3])).ok()?;
        let key = Key::new(std::str::from_utf8(message.get(name..state)?).ok()?).ok()?;
        let version = u64::from_be_bytes(message.get(state..state + NUMBER_BYTES)?.try_into().ok()?);
        if end > message.len() {
            return None;
        }
        let record = State::from_bytes(message.slice(state..end)).map(|state| state.record());
        let ballot = Ballot::from_bytes(&message[ballot..name])?;
        accepted.push(Accepted { key, ballot, version, record });
        at = end;
    }
    Some(accepted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[tokio::test]
    async fn a_majority_that_is_heard_is_known_however_many_begin_at_once() {
        const NODES: usize = 5;
        let runtime = tokio::runtime::Handle::current();
        for _ in 0..2_000 {
            let announcements = Announcements::new(Hub::new(0), 3, Duration::from_millis(1));
            let start = Barrier::new(NODES);
            std::thread::scope(|scope| {
                for node in 0..NODES {
                    let (announcements, start, runtime) = (&announcements, &start, &runtime);
                    scope.spawn(move || {
                        let _runtime = runtime.enter();
                        start.wait();
                        announcements.hear(node);
                    });
                }
            });
            let known = tokio::time::timeout(Duration::from_secs(5), announcements.hub.complete()).await;
            known.expect("all are heard, and it is not known");
        }
    }
}
