//! A resource's record.

use super::holders::EncodedHolders;
use super::{
    FORMAT_VERSION, PLAIN_FORMAT, Pieces, RecordError, decode_u128, decode_up_to, encode_around,
    encode_beside,
};
use crate::resource::{Alias, Conversion, Granted, Master, Resource, Waiter};
use crate::{LockId, LockKey, MemberId, Mode, SessionId, Token, ValueBlock};
use bytes::Bytes;

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
    #[prost(message, optional, boxed, tag = "7")]
    master: Option<Box<RawMaster>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawMaster {
    #[prost(bytes = "vec", tag = "1")]
    member: Vec<u8>,
    #[prost(bool, tag = "2")]
    recalled: bool,
    #[prost(message, optional, tag = "3")]
    claims: Option<RawResource>,
    #[prost(uint64, tag = "4")]
    mark: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RawHolder {
    #[prost(fixed64, tag = "1")]
    session_high: u64,
    #[prost(fixed64, tag = "2")]
    session_low: u64,
    #[prost(uint64, tag = "3")]
    lock: u64,
    #[prost(uint32, tag = "4")]
    mode: u32,
    #[prost(uint32, tag = "5")]
    asked: u32,
    #[prost(uint64, tag = "6")]
    token: u64,
    #[prost(uint64, tag = "7")]
    since_unix_ms: u64,
    #[prost(message, repeated, tag = "8")]
    aliases: Vec<RawAlias>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct RawAlias {
    #[prost(uint64, tag = "1")]
    lock: u64,
    #[prost(uint32, tag = "2")]
    asked: u32,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct RawConversion {
    #[prost(fixed64, tag = "1")]
    session_high: u64,
    #[prost(fixed64, tag = "2")]
    session_low: u64,
    #[prost(uint64, tag = "3")]
    lock: u64,
    #[prost(uint32, tag = "4")]
    to: u32,
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

impl RawHolder {
    pub(super) fn of(key: LockKey, granted: &Granted) -> RawHolder {
        let (session_high, session_low) = split(key.session);
        let alias = |alias: &Alias| RawAlias { lock: alias.lock.0, asked: alias.asked as u32 };
        RawHolder {
            session_high,
            session_low,
            lock: key.lock.0,
            mode: granted.mode() as u32,
            asked: granted.asked as u32,
            token: granted.token.get(),
            since_unix_ms: granted.since_unix_ms,
            aliases: granted.aliases().iter().map(alias).collect(),
        }
    }
}

impl RawMaster {
    fn of(master: &Master) -> RawMaster {
        let claims = &master.claims;
        RawMaster {
            member: master.member.0.to_be_bytes().to_vec(),
            recalled: master.recalled,
            claims: Some(RawResource {
                last_token: claims.last_token.get(),
                holders: claims.holders.iter().map(|(key, granted)| RawHolder::of(key, granted)).collect(),
                value_stale: !claims.value_valid,
                ..RawResource::default()
            }),
            mark: master.mark,
        }
    }
}

impl Resource {
    /// As it is stored. Equal resources have equal bytes.
    pub fn encode(&self) -> Bytes {
        let mut pieces = self.encode_in_pieces();
        if pieces.len() == 1 { pieces.swap_remove(0) } else { pieces.concat().into() }
    }

    /// The same; where many hold it, most pieces are those of the last time, and cost nothing.
    pub fn encode_in_pieces(&self) -> Pieces {
        let conversions = self.queue.iter().flat_map(|queue| queue.conversions()).map(|conversion| {
            let (session_high, session_low) = split(conversion.asked_by.session);
            let (lock, to) = (conversion.asked_by.lock.0, conversion.to as u32);
            RawConversion { session_high, session_low, lock, to }
        });
        let waiters = self.queue.iter().flat_map(|queue| queue.waiters()).map(|waiter| {
            let (session_high, session_low) = split(waiter.key.session);
            let (lock, mode) = (waiter.key.lock.0, waiter.mode as u32);
            RawWaiter { session_high, session_low, lock, mode, since_unix_ms: waiter.since_unix_ms }
        });
        // Many holders are kept encoded. They stand between two parts, each of which leaves out what is in the other.
        let before = RawResource {
            last_token: self.last_token.get(),
            holders: self
                .holders
                .only()
                .map(|(key, granted)| RawHolder::of(key, granted))
                .into_iter()
                .collect(),
            ..RawResource::default()
        };
        let after = RawResource {
            conversions: conversions.collect(),
            waiters: waiters.collect(),
            value: self.value.bytes().clone(),
            value_stale: !self.value_valid,
            master: self.master.as_deref().map(|master| Box::new(RawMaster::of(master))),
            ..RawResource::default()
        };
        let format = if self.master.is_some() { FORMAT_VERSION } else { PLAIN_FORMAT };
        let mut holders = self.holders.encoded().map(EncodedHolders::pieces).into_iter().flatten();
        match (holders.next(), holders.next()) {
            (only, None) => {
                let only = only.map(Bytes::as_ref).unwrap_or_default();
                Pieces::from_buf([encode_around(format, &before, only, &after)])
            }
            (first, second) => {
                encode_beside(format, &before, first.into_iter().chain(second).chain(holders), &after)
            }
        }
    }

    /// Reads a stored record.
    ///
    /// # Errors
    /// [`RecordError::Newer`] if a newer release wrote it; [`RecordError::Corrupt`] if no sequence of commands could
    /// have made it: then it is left alone for a person to look at, rather than guessed at.
    pub fn decode(bytes: &[u8]) -> Result<Resource, RecordError> {
        Resource::from_raw(decode_up_to(FORMAT_VERSION, bytes)?)
    }

    fn from_raw(raw: RawResource) -> Result<Resource, RecordError> {
        let mut resource = Resource::new(token(raw.last_token)?);
        resource.value =
            ValueBlock::new(raw.value).map_err(|error| RecordError::corrupt(error.to_string()))?;
        resource.value_valid = !raw.value_stale;
        raw.holders.into_iter().try_for_each(|holder| resource.add_holder(holder))?;
        raw.conversions.into_iter().try_for_each(|conversion| resource.add_conversion(conversion))?;
        raw.waiters.into_iter().try_for_each(|waiter| resource.add_waiter(waiter))?;
        resource.master = raw.master.map(|raw| Resource::master_of(*raw)).transpose()?;
        resource.check().map_err(RecordError::corrupt)?;
        Ok(resource)
    }

    fn master_of(raw: RawMaster) -> Result<Box<Master>, RecordError> {
        let claims = Resource::from_raw(raw.claims.unwrap_or_default())?;
        let plain = claims.master.is_none() && claims.queue.is_none() && claims.value.is_empty();
        if !plain {
            return Err(RecordError::corrupt("a claim of a mastered resource is no held lock"));
        }
        let member = MemberId(decode_u128(&raw.member, "the master")?);
        Ok(Box::new(Master { member, mark: raw.mark, recalled: raw.recalled, claims }))
    }

    fn add_holder(&mut self, raw: RawHolder) -> Result<(), RecordError> {
        let primary = self.unused(key(raw.session_high, raw.session_low, raw.lock))?;
        let granted = Granted::new(mode(raw.mode)?, mode(raw.asked)?, token(raw.token)?, raw.since_unix_ms);
        self.holders.insert(primary, granted);
        for alias in raw.aliases {
            let key = self.unused(LockKey { session: primary.session, lock: LockId(alias.lock) })?;
            self.holders.share(primary, Alias { lock: key.lock, asked: mode(alias.asked)? });
        }
        Ok(())
    }

    fn add_conversion(&mut self, raw: RawConversion) -> Result<(), RecordError> {
        let asked_by = key(raw.session_high, raw.session_low, raw.lock);
        let held = self.holders.find(asked_by).filter(|(_, granted)| granted.converting.is_none());
        let Some((primary, _)) = held else {
            return Err(RecordError::corrupt(format!("{asked_by} converts twice, or is not held")));
        };
        let conversion = Conversion { asked_by, to: mode(raw.to)? };
        let ticket = self.queue.get_or_insert_default().push_conversion(conversion);
        self.holders.set_converting(primary, Some(ticket));
        Ok(())
    }

    fn add_waiter(&mut self, raw: RawWaiter) -> Result<(), RecordError> {
        let key = self.unused(key(raw.session_high, raw.session_low, raw.lock))?;
        let waiter = Waiter { key, mode: mode(raw.mode)?, since_unix_ms: raw.since_unix_ms };
        self.queue.get_or_insert_default().push_waiter(waiter);
        Ok(())
    }

    /// The key, if no lock has it yet.
    fn unused(&self, key: LockKey) -> Result<LockKey, RecordError> {
        let waits = self.queue.as_deref().is_some_and(|queue| queue.waiter(key).is_some());
        if waits || self.holders.find(key).is_some() {
            return Err(RecordError::corrupt(format!("the lock {key} stands twice")));
        }
        Ok(key)
    }
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

fn token(number: u64) -> Result<Token, RecordError> {
    Token::from_u64(number).ok_or_else(|| RecordError::corrupt(format!("{number} is no token")))
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;

    fn holder(session: u64, lock: u64, mode: Mode) -> RawHolder {
        let (mode, token) = (mode as u32, 1);
        RawHolder { session_low: session, lock, mode, asked: mode, token, ..Default::default() }
    }

    fn conversion(session: u64, lock: u64, to: Mode) -> RawConversion {
        RawConversion { session_low: session, lock, to: to as u32, ..Default::default() }
    }

    fn waiter(session: u64, lock: u64, mode: Mode) -> RawWaiter {
        RawWaiter { session_low: session, lock, mode: mode as u32, ..Default::default() }
    }

    /// Two readers, one of which wants to write; and two writers who wait.
    fn possible() -> RawResource {
        use Mode::{ConcurrentWrite, Exclusive, ProtectedRead};
        let mut shared = holder(1, 1, ProtectedRead);
        shared.aliases = vec![RawAlias { lock: 2, asked: ProtectedRead as u32 }];
        RawResource {
            last_token: 1,
            holders: vec![shared, holder(2, 1, ProtectedRead)],
            conversions: vec![conversion(1, 2, Exclusive)],
            waiters: vec![waiter(3, 1, ConcurrentWrite), waiter(4, 1, Exclusive)],
            ..Default::default()
        }
    }

    /// Says what is wrong with what the change makes of a possible record.
    fn wrong(change: impl Fn(&mut RawResource)) -> String {
        let mut raw = possible();
        change(&mut raw);
        match Resource::decode(&encode(&raw)) {
            Err(RecordError::Corrupt { what }) => what,
            other => panic!("{raw:?} is read as {other:?}"),
        }
    }

    #[test]
    fn a_possible_record_is_read() {
        let resource = Resource::decode(&encode(&possible())).unwrap();
        assert_eq!(resource.encode(), encode(&possible()));
        assert_eq!((resource.holders().count(), resource.queue().count()), (2, 3));
    }

    #[test]
    fn numbers_out_of_their_ranges_are_corrupt() {
        assert!(wrong(|raw| raw.last_token = u64::MAX).contains("is no token"));
        assert!(wrong(|raw| raw.holders[0].mode = 6).contains("6 is no mode"));
        assert!(wrong(|raw| raw.holders[0].asked = 256).contains("256 is no mode"));
        assert!(wrong(|raw| raw.holders[0].aliases[0].asked = 6).contains("6 is no mode"));
        assert!(wrong(|raw| raw.conversions[0].to = 6).contains("6 is no mode"));
        assert!(wrong(|raw| raw.waiters[0].mode = 6).contains("6 is no mode"));
        assert!(wrong(|raw| raw.holders[0].token = 2).contains("greater than the last one"));
        assert!(wrong(|raw| raw.value = vec![0; 1025].into()).contains("1025 bytes"));
    }

    #[test]
    fn a_key_that_stands_twice_is_corrupt() {
        let twice = "stands twice";
        assert!(wrong(|raw| raw.holders.push(raw.holders[1].clone())).contains(twice));
        assert!(wrong(|raw| raw.holders.push(holder(1, 2, Mode::Null))).contains(twice));
        assert!(wrong(|raw| raw.holders[0].aliases[0].lock = 1).contains(twice));
        assert!(wrong(|raw| raw.waiters.push(raw.waiters[0])).contains(twice));
        assert!(wrong(|raw| raw.waiters.push(waiter(1, 2, Mode::Exclusive))).contains(twice));
    }

    #[test]
    fn a_state_that_breaks_the_rules_is_corrupt() {
        let writer = |raw: &mut RawResource| raw.holders.push(holder(9, 1, Mode::ConcurrentWrite));
        assert!(wrong(writer).contains("incompatible mode"));
        assert!(wrong(|raw| raw.conversions.push(raw.conversions[0])).contains("converts twice"));
        assert!(wrong(|raw| raw.conversions[0].lock = 3).contains("is not held"));
        assert!(
            wrong(|raw| raw.conversions[0].to = Mode::ConcurrentRead as u32).contains("waits to go down")
        );
        let deadlock = |raw: &mut RawResource| raw.conversions.push(conversion(2, 1, Mode::Exclusive));
        assert!(wrong(deadlock).contains("waits for a conversion that waits for it"));
        assert!(wrong(|raw| raw.waiters.push(waiter(9, 1, Mode::Null))).contains("waits for NL"));
        assert!(wrong(|raw| raw.holders.truncate(1)).contains("waits who could be granted"));
        let free = |raw: &mut RawResource| {
            raw.holders.clear();
            raw.conversions.clear();
        };
        assert!(wrong(free).contains("waits who could be granted"));
    }
}
