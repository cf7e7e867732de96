//! What a message says: a value or a deletion, and which message it replaces.

use bytes::{BufMut, Bytes, BytesMut};

const VALUE: u8 = 1;
const DELETION: u8 = 2;
/// The bytes before the value.
const HEAD: usize = 25;

/// A record's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// Random: by it the sender knows its message when it is delivered.
    pub(crate) nonce: u64,
    /// The sequence of the message that it replaces, or of the marker that its record's absence has as version.
    pub(crate) predecessor: u64,
    /// The greatest floor of the record's deletions so far: a value has to remember it, as it is all that is kept.
    pub(crate) floor: u64,
    pub(crate) content: Content,
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
        bytes.put_u64(self.predecessor);
        bytes.put_u64(self.floor);
        bytes.put_slice(value);
        bytes.freeze()
    }

    /// `None` for what dlock never wrote.
    pub(crate) fn decode(payload: &Bytes) -> Option<Envelope> {
        let (kind, rest) = payload.split_first()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (predecessor, rest) = rest.split_first_chunk()?;
        let (floor, value) = rest.split_first_chunk()?;
        let content = match *kind {
            VALUE => Content::Value(payload.slice(HEAD..)),
            DELETION if value.is_empty() => Content::Deleted,
            _ => return None,
        };
        let [nonce, predecessor, floor] =
            [nonce, predecessor, floor].map(|number| u64::from_be_bytes(*number));
        Some(Envelope { nonce, predecessor, floor, content })
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
            let envelope = Envelope { nonce: 5, predecessor: 7, floor: 9, content };
            assert_eq!(Envelope::decode(&envelope.encode()), Some(envelope));
        }
        let marker = Marker { cutoff: 3, floor: 4 };
        assert_eq!(Marker::decode(&marker.encode()), Some(marker));
        for foreign in [&b""[..], b"\x01short", &[2; 26], &[9; 25]] {
            assert_eq!(Envelope::decode(&Bytes::from_static(foreign)), None);
        }
    }
}
