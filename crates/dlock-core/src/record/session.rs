//! A session's record.

use super::{FORMAT_VERSION, PLAIN_FORMAT, RecordError, decode_u128, decode_up_to, encode_around};
use crate::lease::LeaseTerms;
use crate::session::{ClientInfo, EndReason, SessionRecord, SessionState};
use crate::{Epoch, MemberId};
use bytes::Bytes;
use std::time::Duration;

/// At a million attachments a second, it lasts 292,000 years.
const EPOCH_MAX: u64 = i64::MAX as u64;

#[derive(Clone, PartialEq, prost::Message)]
struct RawSession {
    #[prost(bytes = "vec", tag = "1")]
    owner: Vec<u8>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    ttl_ms: u64,
    #[prost(uint64, tag = "4")]
    lock_delay_ms: u64,
    #[prost(string, tag = "5")]
    principal: String,
    #[prost(bytes = "vec", tag = "6")]
    secret_hash: Vec<u8>,
    #[prost(uint32, tag = "7")]
    state: u32,
    #[prost(string, tag = "8")]
    client_name: String,
    #[prost(string, tag = "9")]
    client_host: String,
    #[prost(uint32, tag = "10")]
    client_pid: u32,
    #[prost(string, tag = "11")]
    client_version: String,
    #[prost(uint64, tag = "12")]
    opened_unix_ms: u64,
    #[prost(uint64, tag = "13")]
    attempt: u64,
    #[prost(bool, tag = "14")]
    mastered: bool,
}

impl SessionRecord {
    /// As it is stored.
    pub fn encode(&self) -> Bytes {
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        // A release that does not know of mastering must not take over such a session.
        let format = if self.mastered { FORMAT_VERSION } else { PLAIN_FORMAT };
        let raw = RawSession {
            owner: self.owner.0.to_be_bytes().to_vec(),
            epoch: self.epoch.0,
            ttl_ms: milliseconds(self.terms.ttl()),
            lock_delay_ms: milliseconds(self.terms.lock_delay()),
            principal: self.principal.clone(),
            secret_hash: self.secret_hash.to_vec(),
            state: match self.state {
                SessionState::Active => 0,
                SessionState::Ended(EndReason::Expired) => 1,
                SessionState::Ended(EndReason::Closed) => 2,
                SessionState::Ended(EndReason::Revoked) => 3,
            },
            client_name: self.client.name().to_owned(),
            client_host: self.client.host().to_owned(),
            client_pid: self.client.pid(),
            client_version: self.client.version().to_owned(),
            opened_unix_ms: self.opened_unix_ms,
            attempt: self.attempt,
            mastered: self.mastered,
        };
        encode_around(format, &raw, &[], &())
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<SessionRecord, RecordError> {
        let raw: RawSession = decode_up_to(FORMAT_VERSION, bytes)?;
        let (ttl, lock_delay) = (Duration::from_millis(raw.ttl_ms), Duration::from_millis(raw.lock_delay_ms));
        let secret_hash = <[u8; 32]>::try_from(raw.secret_hash.as_slice());
        let client = ClientInfo::new(raw.client_name, raw.client_host, raw.client_pid, raw.client_version);
        Ok(SessionRecord {
            owner: MemberId(decode_u128(&raw.owner, "the owner's id")?),
            epoch: epoch(raw.epoch)?,
            attempt: raw.attempt,
            terms: LeaseTerms::new(ttl, lock_delay)
                .map_err(|error| RecordError::corrupt(error.to_string()))?,
            principal: raw.principal,
            secret_hash: secret_hash
                .map_err(|_| RecordError::corrupt("the secret's hash is not 32 bytes"))?,
            state: match raw.state {
                0 => SessionState::Active,
                1 => SessionState::Ended(EndReason::Expired),
                2 => SessionState::Ended(EndReason::Closed),
                3 => SessionState::Ended(EndReason::Revoked),
                other => return Err(RecordError::corrupt(format!("{other} is no state of a session"))),
            },
            client: client.map_err(|error| RecordError::corrupt(error.to_string()))?,
            opened_unix_ms: raw.opened_unix_ms,
            mastered: raw.mastered,
        })
    }
}

/// Epochs begin with 1, and none comes near the end of its numbers: attaching can always add one.
fn epoch(number: u64) -> Result<Epoch, RecordError> {
    match number {
        1..=EPOCH_MAX => Ok(Epoch(number)),
        _ => Err(RecordError::corrupt(format!("{number} is no epoch"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;

    #[test]
    fn a_session_is_read_back_and_keeps_its_bytes() {
        let record = SessionRecord {
            owner: MemberId(1),
            epoch: Epoch(2),
            attempt: 5,
            terms: LeaseTerms::new(Duration::from_secs(10), Duration::ZERO).unwrap(),
            principal: "p".into(),
            secret_hash: [9; 32],
            state: SessionState::Ended(EndReason::Closed),
            client: ClientInfo::new("n", "h", 3, "v").unwrap(),
            opened_unix_ms: 4,
            mastered: false,
        };
        assert_eq!(SessionRecord::decode(&record.encode()), Ok(record.clone()));
        let golden = [
            &b"\x01\x0a\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x10\x02\x18\x90\x4e\x2a\x01p\x32\x20"[..],
            &[9; 32],
            b"\x38\x02\x42\x01n\x4a\x01h\x50\x03\x5a\x01v\x60\x04\x68\x05",
        ];
        assert_eq!(record.encode().as_ref(), golden.concat());
        let mastered = SessionRecord { mastered: true, ..record };
        assert_eq!(SessionRecord::decode(&mastered.encode()), Ok(mastered.clone()));
        assert_eq!(mastered.encode().as_ref(), [b"\x02", &golden.concat()[1..], b"\x70\x01"].concat());
    }

    #[test]
    fn an_impossible_session_is_not_guessed_at() {
        let raw = RawSession {
            owner: vec![0; 16],
            secret_hash: vec![0; 32],
            epoch: 1,
            ttl_ms: 1000,
            ..Default::default()
        };
        assert!(SessionRecord::decode(&encode(&raw)).is_ok());
        for impossible in [
            RawSession { state: 4, ..raw.clone() },
            RawSession { epoch: 0, ..raw.clone() },
            RawSession { epoch: u64::MAX, ..raw.clone() },
            RawSession { ttl_ms: 999, ..raw.clone() },
            RawSession { lock_delay_ms: 60_001, ..raw.clone() },
            RawSession { owner: vec![0; 15], ..raw.clone() },
            RawSession { secret_hash: vec![0; 33], ..raw.clone() },
            RawSession { client_name: "a\nb".into(), ..raw.clone() },
        ] {
            let decoded = SessionRecord::decode(&encode(&impossible));
            assert!(matches!(decoded, Err(RecordError::Corrupt { .. })), "{impossible:?}");
        }
    }
}
