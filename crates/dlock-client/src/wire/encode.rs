//! A frame for the wire, written straight from this crate's types: what a client says most often is not worth a detour by
//! way of the generated messages, which own their names. The bytes are the same, field by field.

use super::session::{ClientIdentity, attach_to_proto, open_to_proto};
use crate::session::message::{Frame, Outgoing, Patience, Request, RequestId};
use dlock_core::resource::ValueUpdate;
use dlock_core::{Epoch, ResourceId};
use dlock_proto::{duration_to_proto, mode_to_proto};
use prost::Message;

/// Appends a frame, as a `dlock.v1.SessionRequest`.
pub(crate) fn encode(frame: &Frame, identity: &ClientIdentity, to: &mut Vec<u8>) {
    to.number(1, frame.received);
    for message in &frame.messages {
        match message {
            // Once in the life of a link: by way of the generated messages.
            Outgoing::Open { ttl, lock_delay } => {
                to.bytes(2, &open_to_proto(*ttl, *lock_delay, identity).encode_to_vec());
            }
            Outgoing::Attach { session, secret, attempt, last_request, claims } => {
                let attach = attach_to_proto(*session, secret, *attempt, *last_request, claims);
                to.bytes(2, &attach.encode_to_vec());
            }
            Outgoing::Heartbeat { epoch, nonce } => to.message(2, &Heartbeat(*epoch, *nonce)),
            Outgoing::Request(id, request) => to.message(2, &Numbered(*id, request)),
            Outgoing::Close(id) => to.message(2, &Close(*id)),
        }
    }
}

/// Takes a message's fields, in the order of their tags. As everywhere in the protocol, what is 0 or empty is left out,
/// unless its being there says something.
trait Fields {
    /// A number, `bool` or `enum`, written even if it is 0.
    fn number_even_zero(&mut self, tag: u8, number: u64);
    /// The same, left out if it is 0.
    fn number(&mut self, tag: u8, number: u64);
    /// Bytes or text, written even if empty.
    fn bytes(&mut self, tag: u8, bytes: &[u8]);
    /// A message, written even if empty.
    fn message(&mut self, tag: u8, message: &impl Fielded);
}

/// What has fields.
trait Fielded {
    fn fields(&self, to: &mut Vec<u8>);
}

/// How a field is written.
#[derive(Clone, Copy)]
enum WireType {
    Varint = 0,
    Bytes = 2,
}

impl Fields for Vec<u8> {
    fn number_even_zero(&mut self, tag: u8, number: u64) {
        self.push(key(tag, WireType::Varint));
        varint(self, number);
    }

    fn number(&mut self, tag: u8, number: u64) {
        if number != 0 {
            self.number_even_zero(tag, number);
        }
    }

    fn bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.push(key(tag, WireType::Bytes));
        varint(self, bytes.len() as u64);
        self.extend_from_slice(bytes);
    }

    fn message(&mut self, tag: u8, message: &impl Fielded) {
        self.extend([key(tag, WireType::Bytes), 0]);
        let start = self.len();
        message.fields(self);
        // The length stands before the fields. Mostly, the byte that is kept for it is enough.
        let length = self.len() - start;
        if length < 0x80 {
            self[start - 1] = length as u8;
        } else {
            let mut longer = Vec::new();
            varint(&mut longer, length as u64);
            self.splice(start - 1..start, longer);
        }
    }
}

/// One byte: all tags of these messages are below 16.
fn key(tag: u8, wire_type: WireType) -> u8 {
    debug_assert!(tag < 16, "field {tag} needs a longer key");
    (tag << 3) | wire_type as u8
}

fn varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

struct Heartbeat(Epoch, u64);

impl Fielded for Heartbeat {
    fn fields(&self, to: &mut Vec<u8>) {
        to.message(4, &Pair(self.0.0, self.1));
    }
}

struct Close(RequestId);

impl Fielded for Close {
    fn fields(&self, to: &mut Vec<u8>) {
        to.number(1, self.0.0);
        to.bytes(10, &[]);
    }
}

struct Numbered<'a>(RequestId, &'a Request);

impl Fielded for Numbered<'_> {
    fn fields(&self, to: &mut Vec<u8>) {
        to.number(1, self.0.0);
        to.message(request_tag(self.1), self.1);
    }
}

/// Two numbers, as fields 1 and 2.
struct Pair(u64, u64);

impl Fielded for Pair {
    fn fields(&self, to: &mut Vec<u8>) {
        to.number(1, self.0);
        to.number(2, self.1);
    }
}

/// Which field of a `dlock.v1.ClientMessage` it is.
fn request_tag(request: &Request) -> u8 {
    match request {
        Request::Acquire { .. } => 5,
        Request::Convert { .. } => 6,
        Request::Release { .. } => 7,
        Request::Cancel { .. } => 8,
        Request::Query { .. } => 9,
    }
}

impl Fielded for Request {
    fn fields(&self, to: &mut Vec<u8>) {
        let (Request::Acquire { lock, resource, .. }
        | Request::Convert { lock, resource, .. }
        | Request::Release { lock, resource, .. }
        | Request::Cancel { lock, resource, .. }
        | Request::Query { lock, resource }) = self;
        to.number(1, lock.0);
        to.message(2, resource);
        match self {
            Request::Acquire { mode, patience, reentrant, report_position, .. } => {
                to.number(3, mode_to_proto(*mode) as u64);
                patience.field(4, to);
                to.number(5, u64::from(*reentrant));
                to.number(6, u64::from(*report_position));
            }
            Request::Convert { mode, patience, value, .. } => {
                to.number(3, mode_to_proto(*mode) as u64);
                patience.field(4, to);
                value_field(value, 5, to);
            }
            Request::Release { value, .. } => value_field(value, 3, to),
            Request::Cancel { release_if_granted, .. } => to.number(3, u64::from(*release_if_granted)),
            Request::Query { .. } => {}
        }
    }
}

impl Fielded for ResourceId {
    fn fields(&self, to: &mut Vec<u8>) {
        // Neither is ever empty.
        to.bytes(1, self.namespace().as_bytes());
        to.bytes(2, self.name().as_bytes());
    }
}

impl Patience {
    /// Left out, it is endless.
    fn field(&self, tag: u8, to: &mut Vec<u8>) {
        if *self != Patience::Forever {
            to.message(tag, self);
        }
    }
}

impl Fielded for Patience {
    fn fields(&self, to: &mut Vec<u8>) {
        match self {
            Patience::Try => to.number(1, 1),
            Patience::For(duration) => {
                let duration = duration_to_proto(*duration);
                to.message(2, &Pair(duration.seconds as u64, duration.nanos as u64));
            }
            Patience::Forever => {}
        }
    }
}

/// Left out, the value stays.
fn value_field(value: &ValueUpdate, tag: u8, to: &mut Vec<u8>) {
    if *value != ValueUpdate::Keep {
        to.message(tag, value);
    }
}

impl Fielded for ValueUpdate {
    fn fields(&self, to: &mut Vec<u8>) {
        match self {
            ValueUpdate::Keep => {}
            ValueUpdate::Write(block) => to.bytes(1, block.bytes()),
            ValueUpdate::Invalidate => to.number(2, 1),
        }
    }
}
