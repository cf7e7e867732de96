//! What a message says: a value or a deletion, and which message it replaces.

use bytes::{BufMut, Bytes, BytesMut};

const VALUE: u8 = 3;
const DELETION: u8 = 4;
/// The bytes before the value.
const HEAD: usize = 33;

/// A record's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// Random: by it the sender knows its message when it is delivered. Never 0.
    pub(crate) nonce: u64,
    pub(crate) predecessor: Predecessor,
    /// The greatest floor of the record's deletions so far: a value has to remember it, as it is all that is kept.
    pub(crate) floor: u64,
    pub(crate) content: Content,
}

/// What a message replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Predecessor {
    /// The sequence of the message, or of the marker that its record's absence has as version.
    pub(crate) sequence: u64,
    /// The message's nonce; 0 for an absence without a message.
    pub(crate) nonce: u64,
}

/// What a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Value(Bytes),
    Deleted,
}

impl Envelope {
    pub(crate) fn encode(&self) -> Bytes {
        let (kind, value) = match &self.content {
            Content::Value(value) => (VALUE, value.as_ref()),
            Content::Deleted => (DELETION, &[][..]),
        };
        let mut bytes = BytesMut::with_capacity(HEAD + value.len());
        bytes.put_u8(kind);
        bytes.put_u64(self.nonce);
        bytes.put_u64(self.predecessor.sequence);
        bytes.put_u64(self.predecessor.nonce);
        bytes.put_u64(self.floor);
        bytes.put_slice(value);
        bytes.freeze()
    }

    /// `None` for what dlock never wrote.
    pub(crate) fn decode(payload: &Bytes) -> Option<Envelope> {
        let (kind, rest) = payload.split_first()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (replaced, rest) = rest.split_first_chunk()?;
        let (floor, value) = rest.split_first_chunk()?;
        let content = match *kind {
            VALUE => Content::Value(payload.slice(HEAD..)),
            DELETION if value.is_empty() => Content::Deleted,
            _ => return None,
        };
        let [nonce, sequence, replaced, floor] =
            [nonce, sequence, replaced, floor].map(|number| u64::from_be_bytes(*number));
        Some(Envelope { nonce, predecessor: Predecessor { sequence, nonce: replaced }, floor, content })
    }
}

/// A barrier's message: nothing but its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Barrier {
    /// Random: by it the sender knows its message when it is delivered. Never 0.
    pub(crate) nonce: u64,
}

impl Barrier {
    pub(crate) fn encode(self) -> Bytes {
        Bytes::copy_from_slice(&self.nonce.to_be_bytes())
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Barrier> {
        Some(Barrier { nonce: u64::from_be_bytes(payload.try_into().ok()?) })
    }
}

/// All deletions up to a sequence are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// The last sequence that is.
    pub(crate) cutoff: u64,
    /// The greatest floor among them, and among those of earlier markers.
    pub(crate) floor: u64,
}

impl Marker {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(16);
        bytes.put_u64(self.cutoff);
        bytes.put_u64(self.floor);
        bytes.freeze()
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Marker> {
        let (cutoff, floor) = payload.split_first_chunk()?;
        Some(Marker {
            cutoff: u64::from_be_bytes(*cutoff),
            floor: u64::from_be_bytes(floor.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_back() {
        for content in
            [Content::Value(Bytes::from_static(b"x")), Content::Value(Bytes::new()), Content::Deleted]
        {
            let predecessor = Predecessor { sequence: 7, nonce: 4 };
            let envelope = Envelope { nonce: 5, predecessor, floor: 9, content };
            assert_eq!(Envelope::decode(&envelope.encode()), Some(envelope));
        }
        let marker = Marker { cutoff: 3, floor: 4 };
        assert_eq!(Marker::decode(&marker.encode()), Some(marker));
        let barrier = Barrier { nonce: 6 };
        assert_eq!(Barrier::decode(&barrier.encode()), Some(barrier));
        for foreign in [&b""[..], b"\x03short", &[4; 34], &[9; 33]] {
            assert_eq!(Envelope::decode(&Bytes::from_static(foreign)), None);
        }
    }
}
