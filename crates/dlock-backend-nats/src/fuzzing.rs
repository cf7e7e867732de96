//! For the fuzzer: reads any bytes as what is in a bucket.

use crate::envelope::{Barrier, Envelope, Marker};
use crate::subject::{Meaning, Subjects};
use bytes::Bytes;

/// Reads a message, a marker, a barrier and a subject: what is read is written as the same bytes.
///
/// # Panics
/// When it isn't.
pub fn read(data: &[u8]) {
    let payload = Bytes::copy_from_slice(data);
    if let Some(envelope) = Envelope::decode(&payload) {
        assert_eq!(envelope.encode(), payload);
    }
    if let Some(marker) = Marker::decode(data) {
        assert_eq!(marker.encode(), payload);
    }
    if let Some(barrier) = Barrier::decode(data) {
        assert_eq!(barrier.encode(), payload);
    }
    let subjects = Subjects::new("b");
    if let Ok(text) = std::str::from_utf8(data) {
        let subject = format!("$KV.b.{text}");
        if let Some(Meaning::Record(key)) = subjects.meaning(&subject) {
            assert_eq!(subjects.record(&key), subject);
        }
    }
}
