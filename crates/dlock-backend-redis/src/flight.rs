//! One call of the commit script: many writes of one tag, sent until it is certain what became of them.

use crate::fault::Fault;
use crate::layout::Tag;
use crate::link::{Epoch, Link, succeeded};
use crate::patience::Patience;
use crate::record::{self, next_version};
use crate::script::COMMIT;
use crate::topology::Topology;
use dlock_store::{Change, Guard, StoreError, Verdict, Version, Write};
use indexmap::IndexSet;
use redis::{Cmd, Pipeline, Value};
use std::sync::Arc;
use std::time::Duration;

/// The longest value that is announced with its key, in bytes.
const ANNOUNCED_BYTES_MAX: i64 = 16 * 1024;

/// What became of each write.
pub(crate) type Answers = Vec<Result<Verdict, StoreError>>;

/// How writes are sent.
pub(crate) struct Sending {
    pub(crate) topology: Arc<Topology>,
    /// How many replicas must have a write before it counts.
    pub(crate) replicas: u32,
    pub(crate) timeout: Duration,
}

/// What one sending of the script has come to.
enum Sent {
    Answered(Answers),
    /// Nothing was written: the epoch that was sent is not the tag's.
    EpochChanged,
}

impl Sending {
    /// Sends writes of one tag. What certainly was not applied, for a reason that passes, is sent again for a while.
    pub(crate) async fn send(&self, tag: Tag, writes: &[Write]) -> Answers {
        let mut patience = Patience::new(self.timeout);
        loop {
            let fault = match self.try_send(tag, writes).await {
                Ok(Sent::Answered(answers)) => return answers,
                Ok(Sent::EpochChanged) => Fault::NotNow("the epoch changes too often".to_owned()),
                Err(fault) => fault,
            };
            if let Err(fault) = patience.after(fault, &self.topology).await {
                return vec![Err(fault.of_write()); writes.len()];
            }
        }
    }

    async fn try_send(&self, tag: Tag, writes: &[Write]) -> Result<Sent, Fault> {
        let node = self.topology.view().node(tag)?;
        let link = node.writes().await?;
        let sent = self.send_over(&link, tag, writes).await;
        if let Err(Fault::NoScript) = &sent {
            link.load().await?;
        }
        sent.map_err(|fault| fault.at(&node.address))
    }

    async fn send_over(&self, link: &Link, tag: Tag, writes: &[Write]) -> Result<Sent, Fault> {
        // No write is under way yet: a connection that fails here has left nothing behind.
        let epoch = link.epoch(tag).await.map_err(|fault| match fault {
            Fault::Unknown(reason) => Fault::Unreached(reason),
            fault => fault,
        })?;
        let mut commands = redis::pipe();
        commands.add_command(self.call(link, tag, writes, &epoch));
        let mut answers = self.send_on(link, &commands).await?.into_iter();
        let answer = succeeded(answers.next().unwrap_or_default())?;
        let Value::Array(answers_of_writes) = answer else {
            link.forget_epoch(tag);
            return Ok(Sent::EpochChanged);
        };
        if answers_of_writes.len() != writes.len() {
            let (found, asked) = (answers_of_writes.len(), writes.len());
            return Err(Fault::Unknown(format!("{found} verdicts on {asked} writes")));
        }
        // The script has run: whatever the waiting comes to, its writes are there.
        let unknown = self.replicated(link, tag).await.err().map(Fault::after_run);
        let verdicts = answers_of_writes.into_iter().zip(writes).map(|(answer, write)| {
            let verdict = verdict(answer, write, &epoch)?;
            match (verdict, &unknown) {
                (Verdict::Committed { .. }, Some(unknown)) => Err(unknown.clone()),
                // What the replicas may not have is not told.
                (Verdict::Conflict { .. }, Some(_)) => Ok(Verdict::Conflict { current: None }),
                (verdict, _) => Ok(verdict),
            }
        });
        Ok(Sent::Answered(verdicts.collect()))
    }

    /// Sends commands where others may wait for replicas, which holds up all who come after them.
    pub(crate) async fn send_on(&self, link: &Link, commands: &Pipeline) -> Result<Vec<Value>, Fault> {
        let timeout = (self.replicas > 0).then_some(self.timeout * 2);
        link.send_within(commands, timeout).await
    }

    /// Returns once as many replicas as must have all that was answered on this connection before.
    pub(crate) async fn replicated(&self, link: &Link, tag: Tag) -> Result<(), Fault> {
        match self.replicas {
            0 => Ok(()),
            replicas => link.replicated(tag, replicas, self.timeout).await,
        }
    }

    fn call(&self, link: &Link, tag: Tag, writes: &[Write], epoch: &Epoch) -> Cmd {
        let layout = &self.topology.place().layout;
        // Many writes have the same guard: the session's that made them.
        let guards: IndexSet<&Guard> = writes.iter().flat_map(|write| &write.guards).collect();
        let mut keys = Vec::with_capacity(2 + 2 * (guards.len() + writes.len()));
        keys.extend([layout.epoch(tag), layout.index(tag)]);
        let records = guards.iter().map(|guard| &guard.key).chain(writes.iter().map(|write| &write.key));
        for key in records {
            keys.push(layout.record(tag, key.as_str()));
            keys.push(layout.absence(tag, key));
        }
        let mut call = COMMIT.call(keys.iter());
        // Where replicas are waited for, nobody is told more than that there is something new: it may yet be lost.
        let announced_max = if self.replicas > 0 { -1 } else { ANNOUNCED_BYTES_MAX };
        call.arg(&*epoch.token).arg(link.publish()).arg(layout.channel(tag));
        call.arg(layout.record_stem_bytes(tag)).arg(announced_max);
        call.arg(guards.len());
        for guard in &guards {
            call.arg(&bytes(guard.version)[..]);
        }
        for write in writes {
            let (operation, floor, whole);
            let payload: &[u8] = match &write.change {
                Change::Put(value) => {
                    (operation, whole) = ("P", value.to_bytes());
                    &whole
                }
                Change::Delete { floor: number } => {
                    (operation, floor) = ("D", number.to_be_bytes());
                    &floor
                }
            };
            let new = next_version(write.expected, epoch.first_version);
            call.arg(operation).arg(&bytes(write.expected)[..]).arg(&bytes(new)[..]).arg(payload);
            call.arg(write.guards.len());
            for number in write.guards.iter().filter_map(|guard| guards.get_index_of(guard)) {
                call.arg(number + 1);
            }
        }
        call
    }
}

fn bytes(version: Version) -> [u8; record::NUMBER_BYTES] {
    version.0.to_be_bytes()
}

fn verdict(answer: Value, write: &Write, epoch: &Epoch) -> Result<Verdict, StoreError> {
    match answer {
        Value::Int(1) => {
            Ok(Verdict::Committed { version: next_version(write.expected, epoch.first_version) })
        }
        Value::Int(0) => Ok(Verdict::Conflict { current: None }),
        Value::Int(negative) => {
            let number = usize::try_from(negative.unsigned_abs()).unwrap_or_default();
            let guard = number.checked_sub(1).and_then(|index| write.guards.get(index));
            match guard {
                Some(guard) => Ok(Verdict::GuardFailed { key: guard.key.clone() }),
                None => Err(nonsense()),
            }
        }
        Value::BulkString(version) => {
            Ok(Verdict::Committed { version: Version(record::number(&version, 0)?) })
        }
        Value::Array(found) => match <[Value; 2]>::try_from(found) {
            Ok([record, absence]) => {
                let current = record::read(optional(record)?, optional(absence)?)?;
                Ok(Verdict::Conflict { current: Some(current) })
            }
            Err(_) => Err(nonsense()),
        },
        _ => Err(nonsense()),
    }
}

/// The bytes of an answer that may be nil.
pub(crate) fn optional(answer: Value) -> Result<Option<Vec<u8>>, StoreError> {
    match answer {
        Value::Nil | Value::Boolean(false) => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        _ => Err(nonsense()),
    }
}

fn nonsense() -> StoreError {
    StoreError::Ambiguous { reason: "the script's answer is none that it gives".to_owned() }
}
