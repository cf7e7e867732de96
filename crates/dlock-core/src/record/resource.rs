//! A resource's record.

use super::{RecordError, decode, encode};
use crate::resource::{Conversion, Granted, Queue, Resource, Waiter};
use crate::{LockId, LockKey, Mode, SessionId, Token, ValueBlock};
use bytes::Bytes;
use std::collections::BTreeSet;

#[derive(Clone, PartialEq, prost::Message)]
struct RawResource {
    #[prost(uint64, tag = "1")]
    last_token: u64,
    #[prost(message, repeated, tag = "2")]
    holders: Vec<RawHolder>,
    #[prost(message, repeated, tag = "3")]
    conversions: Vec<RawConversion>,
    #[prost(message, repeated, tag = "4")]
    waiters: Vec<RawWaiter>,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
    #[prost(bool, tag = "6")]
    value_stale: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawHolder {
    #[prost(fixed64, tag = "1")]
    session_high: u64,
    #[prost(fixed64, tag = "2")]
    session_low: u64,
    #[prost(uint64, tag = "3")]
    lock: u64,
    #[prost(uint32, tag = "4")]
    mode: u32,
    #[prost(uint64, tag = "5")]
    token: u64,
    #[prost(uint64, tag = "6")]
    since_unix_ms: u64,
    #[prost(uint64, repeated, tag = "7")]
    aliases: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct RawConversion {
    #[prost(uint32, tag = "1")]
    holder: u32,
    #[prost(uint32, tag = "2")]
    to: u32,
    #[prost(uint64, tag = "3")]
    asked_by_lock: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct RawWaiter {
    #[prost(fixed64, tag = "1")]
    session_high: u64,
    #[prost(fixed64, tag = "2")]
    session_low: u64,
    #[prost(uint64, tag = "3")]
    lock: u64,
    #[prost(uint32, tag = "4")]
    mode: u32,
    #[prost(uint64, tag = "5")]
    since_unix_ms: u64,
}

fn split(session: SessionId) -> (u64, u64) {
    ((session.0 >> 64) as u64, session.0 as u64)
}

fn key(high: u64, low: u64, lock: u64) -> LockKey {
    LockKey { session: SessionId(u128::from(high) << 64 | u128::from(low)), lock: LockId(lock) }
}

fn mode(number: u32) -> Result<Mode, RecordError> {
    let mode = u8::try_from(number).ok().and_then(Mode::from_u8);
    mode.ok_or_else(|| RecordError::corrupt(format!("{number} is no mode")))
}

fn token(number: u64, last: Token) -> Result<Token, RecordError> {
    let token = Token::from_u64(number).filter(|token| *token <= last);
    token.ok_or_else(|| RecordError::corrupt(format!("{number} is no token up to {last}")))
}

impl Resource {
    /// As it is stored.
    pub fn encode(&self) -> Bytes {
        let holders = self.granted().iter().map(|(key, granted)| {
            let (session_high, session_low) = split(key.session);
            RawHolder {
                session_high,
                session_low,
                lock: key.lock.0,
                mode: granted.mode as u32,
                token: granted.token.get(),
                since_unix_ms: granted.since_unix_ms,
                aliases: granted
                    .aliases
                    .iter()
                    .flat_map(|aliases| aliases.iter())
                    .map(|lock| lock.0)
                    .collect(),
            }
        });
        let queue = self.waiting_queue();
        let conversions = queue.iter().flat_map(|queue| queue.conversions()).map(|conversion| {
            let holder =
                self.granted().get_index_of(&conversion.key).and_then(|index| u32::try_from(index).ok());
            let asked_by_lock = conversion.asked_by.lock.0;
            RawConversion { holder: holder.unwrap_or(u32::MAX), to: conversion.to as u32, asked_by_lock }
        });
        let waiters = queue.iter().flat_map(|queue| queue.waiters()).map(|waiter| {
            let (session_high, session_low) = split(waiter.key.session);
            RawWaiter {
                session_high,
                session_low,
                lock: waiter.key.lock.0,
                mode: waiter.mode as u32,
                since_unix_ms: waiter.since_unix_ms,
            }
        });
        let value = self.value();
        encode(&RawResource {
            last_token: self.last_token().get(),
            holders: holders.collect(),
            conversions: conversions.collect(),
            waiters: waiters.collect(),
            value: value.block.into_bytes(),
            value_stale: !value.valid,
        })
    }

    /// Reads a stored record; one that no sequence of commands could have made is refused.
    pub fn decode(bytes: &[u8]) -> Result<Resource, RecordError> {
        let raw: RawResource = decode(bytes)?;
        let last =
            Token::from_u64(raw.last_token).ok_or_else(|| RecordError::corrupt("the last token is none"))?;
        let mut seen = Keys::default();
        let mut granted = Vec::with_capacity(raw.holders.len());
        for holder in &raw.holders {
            let key = key(holder.session_high, holder.session_low, holder.lock);
            seen.take(key)?;
            let aliases: Vec<LockId> = holder.aliases.iter().map(|lock| LockId(*lock)).collect();
            for lock in &aliases {
                seen.take(LockKey { session: key.session, lock: *lock })?;
            }
            granted.push((
                key,
                Granted {
                    mode: mode(holder.mode)?,
                    token: token(holder.token, last)?,
                    since_unix_ms: holder.since_unix_ms,
                    converting: None,
                    aliases: (!aliases.is_empty()).then(|| Box::new(aliases)),
                },
            ));
        }
        let queue = decode_queue(&raw, &mut granted, &mut seen)?;
        let value = ValueBlock::new(raw.value).map_err(|error| RecordError::corrupt(error.to_string()))?;
        Resource::restore(last, granted, queue, value, !raw.value_stale).map_err(RecordError::corrupt)
    }
}

/// Lock keys met so far: none may come twice.
#[derive(Default)]
struct Keys(BTreeSet<LockKey>);

impl Keys {
    fn take(&mut self, key: LockKey) -> Result<(), RecordError> {
        if self.0.insert(key) {
            Ok(())
        } else {
            Err(RecordError::corrupt(format!("the lock {key} stands twice")))
        }
    }
}

fn decode_queue(
    raw: &RawResource,
    granted: &mut [(LockKey, Granted)],
    seen: &mut Keys,
) -> Result<Queue, RecordError> {
    let mut queue = Queue::default();
    for conversion in &raw.conversions {
        let holder =
            granted.get_mut(conversion.holder as usize).filter(|(_, granted)| granted.converting.is_none());
        let (key, granted) = holder
            .ok_or_else(|| RecordError::corrupt("a conversion of no lock, or a second one of a lock"))?;
        let lock = LockId(conversion.asked_by_lock);
        let own = lock == key.lock || granted.aliases.iter().any(|aliases| aliases.contains(&lock));
        if !own {
            return Err(RecordError::corrupt("a conversion that nobody asked for"));
        }
        let to = mode(conversion.to)?;
        let asked_by = LockKey { session: key.session, lock };
        granted.converting = Some(queue.push_conversion(Conversion { key: *key, asked_by, to }));
    }
    for waiter in &raw.waiters {
        let key = key(waiter.session_high, waiter.session_low, waiter.lock);
        seen.take(key)?;
        let (mode, since_unix_ms) = (mode(waiter.mode)?, waiter.since_unix_ms);
        queue.push_waiter(Waiter { key, mode, since_unix_ms });
    }
    Ok(queue)
}
