//! Reads: of one record, and of pages of them.

use crate::fault::Fault;
use crate::flight::{Sending, optional};
use crate::layout::Tag;
use crate::link::succeeded;
use crate::patience::Patience;
use crate::record;
use dlock_store::{Key, Page, Record, StoreError};
use futures::future::try_join_all;
use redis::{Cmd, Pipeline, Value};
use std::collections::{BTreeMap, VecDeque};

/// How many names an index is asked for at least: most of a question is its way.
const CHUNK_MIN: usize = 16;

/// What comes after every name that begins with a prefix: no UTF-8 text has this byte.
const AFTER_ALL: u8 = 0xff;

impl Sending {
    /// Reads one record.
    pub(crate) async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        let layout = &self.topology.place().layout;
        let tag = layout.tag(key);
        let mut command = redis::cmd("MGET");
        command.arg(layout.record(tag, key.as_str())).arg(layout.absence(tag, key));
        match self.ask(tag, command).await? {
            Value::Array(found) => match <[Value; 2]>::try_from(found) {
                Ok([record, absence]) => record::read(optional(record)?, optional(absence)?),
                Err(_) => Err(nonsense()),
            },
            _ => Err(nonsense()),
        }
    }

    /// The present records of a prefix, in the order of their keys.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let tags: Vec<Tag> = self.topology.place().layout.tags().collect();
        // Each index is asked for its share and a bit, and again if it turns out to have more.
        let chunk = (2 * (limit + 1) / tags.len()).clamp(CHUNK_MIN, limit.max(CHUNK_MIN) + 1);
        let mut start = match after {
            Some(after) if after.as_str() >= prefix => bound(b'(', after.as_str().as_bytes()),
            _ => bound(b'[', prefix.as_bytes()),
        };
        loop {
            let names = self.names(prefix, &start, limit + 1, chunk, &tags).await?;
            let more = names.len() > limit;
            let wanted = &names[..names.len().min(limit)];
            let records = self.records(wanted).await?;
            // All that were there may have been deleted meanwhile, and a page must not be empty if there are more.
            match wanted.last() {
                Some((last, _)) if records.is_empty() && more => start = bound(b'(', last.as_bytes()),
                _ => return Ok(Page { records, more }),
            }
        }
    }

    /// The first names from `start` on, each with its tag.
    async fn names(
        &self,
        prefix: &str,
        start: &[u8],
        count: usize,
        chunk: usize,
        tags: &[Tag],
    ) -> Result<Vec<(String, Tag)>, StoreError> {
        let mut sources: BTreeMap<Tag, Source> = BTreeMap::new();
        let first = tags.iter().map(|tag| self.chunk(*tag, prefix, start.to_vec(), chunk));
        for (tag, source) in tags.iter().zip(try_join_all(first).await?) {
            sources.insert(*tag, source);
        }
        let mut names = Vec::with_capacity(count);
        while names.len() < count {
            let dry = sources.iter().find(|(_, source)| source.names.is_empty() && !source.ended);
            if let Some((tag, source)) = dry {
                let (tag, last) = (*tag, bound(b'(', source.last.as_bytes()));
                let next = self.chunk(tag, prefix, last, chunk).await?;
                sources.insert(tag, next);
                continue;
            }
            let heads = sources.iter().filter_map(|(tag, source)| Some((source.names.front()?, *tag)));
            let Some(tag) = heads.min().map(|(_, tag)| tag) else { break };
            let next = sources.get_mut(&tag).and_then(|source| source.names.pop_front());
            names.extend(next.map(|name| (name, tag)));
        }
        Ok(names)
    }

    async fn chunk(
        &self,
        tag: Tag,
        prefix: &str,
        start: Vec<u8>,
        count: usize,
    ) -> Result<Source, StoreError> {
        let mut end = bound(b'(', prefix.as_bytes());
        end.push(AFTER_ALL);
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(self.topology.place().layout.index(tag)).arg(start).arg(end);
        command.arg("LIMIT").arg(0).arg(count);
        let Value::Array(found) = self.ask(tag, command).await? else { return Err(nonsense()) };
        let ended = found.len() < count;
        let mut names = VecDeque::with_capacity(found.len());
        for name in found {
            match optional(name)?.map(String::from_utf8) {
                Some(Ok(name)) => names.push_back(name),
                _ => return Err(nonsense()),
            }
        }
        let last = names.back().cloned().unwrap_or_default();
        Ok(Source { names, last, ended })
    }

    async fn records(&self, names: &[(String, Tag)]) -> Result<Vec<(Key, Record)>, StoreError> {
        let layout = &self.topology.place().layout;
        let mut by_tag: BTreeMap<Tag, (Cmd, Vec<usize>)> = BTreeMap::new();
        for (number, (name, tag)) in names.iter().enumerate() {
            let (command, numbers) = by_tag.entry(*tag).or_insert_with(|| (redis::cmd("MGET"), Vec::new()));
            command.arg(layout.record(*tag, name));
            numbers.push(number);
        }
        let asked = by_tag.into_iter().map(async |(tag, (command, numbers))| {
            let Value::Array(found) = self.ask(tag, command).await? else { return Err(nonsense()) };
            if found.len() != numbers.len() {
                return Err(nonsense());
            }
            Ok(numbers.into_iter().zip(found))
        });
        let mut found: Vec<Option<Vec<u8>>> = vec![None; names.len()];
        for (number, value) in try_join_all(asked).await?.into_iter().flatten() {
            found[number] = optional(value)?;
        }
        let mut records = Vec::with_capacity(names.len());
        for ((name, _), value) in names.iter().zip(found) {
            let Some(value) = value else { continue };
            let key = Key::new(name).map_err(|_| nonsense())?;
            records.push((key, record::read(Some(value), None)?));
        }
        Ok(records)
    }

    /// Asks whoever has the tag, until there is an answer or the time is up: a read can be repeated.
    async fn ask(&self, tag: Tag, command: Cmd) -> Result<Value, StoreError> {
        let mut commands = redis::pipe();
        commands.add_command(command);
        let mut patience = Patience::new(self.timeout);
        loop {
            let fault = match self.try_ask(tag, &commands).await {
                Ok(answer) => return Ok(answer),
                Err(Fault::Unknown(reason)) => Fault::Unreached(reason),
                Err(fault) => fault,
            };
            patience.after(fault, &self.topology).await.map_err(Fault::of_read)?;
        }
    }

    async fn try_ask(&self, tag: Tag, commands: &Pipeline) -> Result<Value, Fault> {
        let node = self.topology.view().node(tag)?;
        let asked = async {
            // What was read is told only when the replicas have it: else a write of unknown outcome would be read back
            // as done, and lost all the same at a failover.
            let link = if self.replicas > 0 { node.writes().await? } else { node.reads().await? };
            let answer =
                succeeded(self.send_on(&link, commands).await?.into_iter().next().unwrap_or_default())?;
            self.replicated(&link, tag).await?;
            Ok(answer)
        };
        asked.await.map_err(|fault: Fault| fault.at(&node.address))
    }
}

/// What one index has given and not yet been used.
struct Source {
    names: VecDeque<String>,
    /// The last that it gave.
    last: String,
    /// Whether it has no more.
    ended: bool,
}

/// An end of a range: the sign says whether the name itself is in it.
fn bound(sign: u8, name: &[u8]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(name.len() + 2);
    bound.push(sign);
    bound.extend_from_slice(name);
    bound
}

fn nonsense() -> StoreError {
    StoreError::Invalid { reason: "Redis gives an answer of the wrong kind".to_owned() }
}
