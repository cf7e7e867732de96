//! Records that are data and no more.

use super::{RecordError, decode, decode_u128, encode};
use crate::MemberId;
use bytes::Bytes;
use std::time::Duration;

/// A running server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberRecord {
    /// Greater at each beat.
    pub counter: u64,
    /// How clients reach it; empty if unknown.
    pub address: String,
    /// When it started, in milliseconds of Unix time.
    pub started_unix_ms: u64,
    /// Its release.
    pub version: String,
}

/// The store itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreRecord {
    /// Random, made when the store was first used.
    pub store_id: u128,
    /// Raised when the store is found to have gone back in time; the high bits of every token.
    pub generation: u16,
    /// The longest time to live and lock delay together of any session that was ever opened: for so long a client may
    /// count on what the store forgot.
    pub longest_lease: Duration,
}

/// A session on its way from homes that may have granted it locks which stand in no record: what its client holds has yet to
/// be claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MovingRecord {
    /// Those homes.
    pub former: Vec<MemberId>,
    /// While the session's own record has this version, it has arrived: all was claimed.
    pub settled: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawMoving {
    #[prost(bytes = "vec", repeated, tag = "1")]
    former: Vec<Vec<u8>>,
    #[prost(uint64, tag = "2")]
    settled: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawMember {
    #[prost(uint64, tag = "1")]
    counter: u64,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint64, tag = "3")]
    started_unix_ms: u64,
    #[prost(string, tag = "4")]
    version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawStore {
    #[prost(bytes = "vec", tag = "1")]
    store_id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    generation: u32,
    #[prost(uint64, tag = "3")]
    longest_lease_ms: u64,
}

impl MemberRecord {
    /// As it is stored.
    pub fn encode(&self) -> Bytes {
        encode(&RawMember {
            counter: self.counter,
            address: self.address.clone(),
            started_unix_ms: self.started_unix_ms,
            version: self.version.clone(),
        })
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<MemberRecord, RecordError> {
        let RawMember { counter, address, started_unix_ms, version } = decode(bytes)?;
        Ok(MemberRecord { counter, address, started_unix_ms, version })
    }
}

impl MovingRecord {
    /// As it is stored.
    pub fn encode(&self) -> Bytes {
        let former = self.former.iter().map(|member| member.0.to_be_bytes().to_vec());
        encode(&RawMoving { former: former.collect(), settled: self.settled })
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<MovingRecord, RecordError> {
        let raw: RawMoving = decode(bytes)?;
        let former = raw.former.iter().map(|id| decode_u128(id, "a former home").map(MemberId));
        Ok(MovingRecord { former: former.collect::<Result<_, _>>()?, settled: raw.settled })
    }
}

impl StoreRecord {
    /// As it is stored.
    pub fn encode(&self) -> Bytes {
        encode(&RawStore {
            store_id: self.store_id.to_be_bytes().to_vec(),
            generation: u32::from(self.generation),
            longest_lease_ms: u64::try_from(self.longest_lease.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<StoreRecord, RecordError> {
        let raw: RawStore = decode(bytes)?;
        let generation = u16::try_from(raw.generation).ok().filter(|g| *g <= crate::Token::GENERATION_MAX);
        Ok(StoreRecord {
            store_id: decode_u128(&raw.store_id, "the store's id")?,
            generation: generation.ok_or_else(|| RecordError::corrupt("the generation is out of range"))?,
            longest_lease: Duration::from_millis(raw.longest_lease_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_records_are_read_back_and_keep_their_bytes() {
        let member =
            MemberRecord { counter: 7, address: "a:1".into(), started_unix_ms: 9, version: "0.1.0".into() };
        assert_eq!(MemberRecord::decode(&member.encode()), Ok(member.clone()));
        assert_eq!(member.encode().as_ref(), b"\x01\x08\x07\x12\x03a:1\x18\x09\x22\x050.1.0");
        let moving = MovingRecord { former: vec![MemberId(1), MemberId(u128::MAX)], settled: 7 };
        assert_eq!(MovingRecord::decode(&moving.encode()), Ok(moving.clone()));
        assert_eq!(moving.encode()[..4], *b"\x01\x0a\x10\0");
        let store = StoreRecord { store_id: 5, generation: 3, longest_lease: Duration::from_millis(9) };
        assert_eq!(StoreRecord::decode(&store.encode()), Ok(store));
        assert_eq!(
            store.encode().as_ref(),
            b"\x01\x0a\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\x10\x03\x18\x09"
        );
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        assert_eq!(MemberRecord::decode(b""), Err(RecordError::Empty));
        assert_eq!(MemberRecord::decode(b"\x02"), Err(RecordError::Newer { found: 2 }));
        assert!(MemberRecord::decode(b"\x02").unwrap_err().to_string().contains("upgrade this server"));
        assert!(matches!(MemberRecord::decode(b"\0"), Err(RecordError::Corrupt { .. })));
        assert!(matches!(StoreRecord::decode(b"\x01\x0a\x01x"), Err(RecordError::Corrupt { .. })));
    }
}
