//! A frame from the wire. What servers say most often is read straight from the bytes; whatever looks otherwise than
//! expected is left to the generated messages, which know all that the protocol allows.

use super::session::decode_message;
use crate::Error;
use crate::session::message::Incoming;
use bytes::Bytes;
use dlock_proto::v1::server_message::Body;
use dlock_proto::v1::{self, ServerMessage, SessionResponse};
use prost::{DecodeError, Message};

/// What a `dlock.v1.SessionResponse` says.
///
/// # Errors
/// The outer error for what is no such message at all, [`Error::Protocol`] for what the protocol does not allow.
pub(crate) fn decode(frame: &[u8]) -> Result<Result<Vec<Incoming>, Error>, DecodeError> {
    let mut incoming = Vec::new();
    let mut fields = Fields(frame);
    while !fields.is_empty() {
        let Some(message) = fields.bytes(1) else { return decode_any(frame) };
        let message = usual(message).map_or_else(|| ServerMessage::decode(message), Ok)?;
        match decode_message(message) {
            // A message of a newer protocol says nothing that an older client must know.
            Ok(message) => incoming.extend(message),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(incoming))
}

fn decode_any(frame: &[u8]) -> Result<Result<Vec<Incoming>, Error>, DecodeError> {
    let messages = SessionResponse::decode(frame)?.messages;
    Ok(messages.into_iter().filter_map(|message| decode_message(message).transpose()).collect())
}

/// The message, if it is one of the usual ones and has its fields in the usual order, each once.
fn usual(message: &[u8]) -> Option<ServerMessage> {
    let mut fields = Fields(message);
    let sequence = fields.number(1)?;
    let tag = fields.next()?;
    let mut inner = Fields(fields.bytes(tag)?);
    let body = match tag {
        4 => Body::Heartbeat(v1::HeartbeatAcknowledged { epoch: inner.number(1)?, nonce: inner.number(2)? }),
        5 => Body::Queued(v1::LockQueued {
            lock_id: inner.number(1)?,
            ahead: inner.number(2)? as u32,
            held: None,
        }),
        6 => Body::Granted(v1::LockGranted {
            lock_id: inner.number(1)?,
            mode: inner.number(2)? as i32,
            token: inner.number(3)?,
            holds: inner.number(4)? as u32,
            value: if inner.next() == Some(5) { Some(value_block(inner.bytes(5)?)?) } else { None },
        }),
        7 => Body::Released(v1::LockReleased { lock_id: inner.number(1)? }),
        8 => Body::Cancelled(v1::LockCancelled { lock_id: inner.number(1)? }),
        _ => return None,
    };
    (fields.is_empty() && inner.is_empty()).then_some(ServerMessage { sequence, body: Some(body) })
}

fn value_block(block: &[u8]) -> Option<v1::ValueBlock> {
    let mut fields = Fields(block);
    let data = if fields.next() == Some(1) { fields.bytes(1)? } else { &[] };
    let block = v1::ValueBlock { data: Bytes::copy_from_slice(data), valid: fields.number(2)? != 0 };
    fields.is_empty().then_some(block)
}

/// What is left of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which field is next, if its key has one byte.
    fn next(&self) -> Option<u8> {
        self.0.first().filter(|key| **key < 0x80).map(|key| key >> 3)
    }

    /// A number, 0 where it is left out. Nothing if it makes no sense.
    fn number(&mut self, tag: u8) -> Option<u64> {
        if self.0.first() != Some(&(tag << 3)) {
            return Some(0);
        }
        self.0 = &self.0[1..];
        self.varint()
    }

    /// Bytes, text or a message, if that is what comes next.
    fn bytes(&mut self, tag: u8) -> Option<&'a [u8]> {
        let after_key = self.0.strip_prefix(&[(tag << 3) | 2])?;
        let mut rest = Fields(after_key);
        let length = usize::try_from(rest.varint()?).ok()?;
        let (bytes, after) = rest.0.split_at_checked(length)?;
        self.0 = after;
        Some(bytes)
    }

    /// Up to nine bytes of seven bits: longer ones are not usual.
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for (at, byte) in self.0.iter().take(9).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Some(number);
            }
        }
        None
    }
}
