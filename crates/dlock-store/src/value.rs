//! Values to be written.

use bytes::Bytes;
use smallvec::SmallVec;

/// A value to be written: bytes, in one piece or in several. Who writes a long value again and again with few changes can
/// share pieces among them. What is read comes in one piece.
#[derive(Clone, Debug, Default)]
pub struct Value(SmallVec<[Bytes; 1]>);

impl Value {
    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its pieces; there may be none, and each may be empty.
    pub fn pieces(&self) -> &[Bytes] {
        &self.0
    }

    /// All of it in one piece: shared if it is in one, else copied.
    pub fn to_bytes(&self) -> Bytes {
        match &*self.0 {
            [only] => only.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

impl PartialEq for Value {
    /// However they are divided.
    fn eq(&self, other: &Value) -> bool {
        self.len() == other.len() && self.0.iter().flatten().eq(other.0.iter().flatten())
    }
}

impl Eq for Value {}

impl PartialEq<Bytes> for Value {
    fn eq(&self, other: &Bytes) -> bool {
        self.len() == other.len() && self.0.iter().flatten().eq(other)
    }
}

impl From<SmallVec<[Bytes; 1]>> for Value {
    /// Pieces.
    fn from(pieces: SmallVec<[Bytes; 1]>) -> Value {
        Value(pieces)
    }
}

impl FromIterator<Bytes> for Value {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Value {
        Value(pieces.into_iter().collect())
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Value {
        Value(SmallVec::from_buf([bytes]))
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Bytes::from(bytes).into()
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Value {
        Bytes::from_static(text.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_its_bytes_however_they_are_divided() {
        let value: Value = ["a", "", "bc"].map(Bytes::from).into_iter().collect();
        assert_eq!((value.len(), value.is_empty(), value.pieces().len()), (3, false, 3));
        assert_eq!(value.to_bytes(), "abc");
        assert_eq!(value, Value::from("abc"));
        assert_eq!(value, Bytes::from("abc"));
        assert_ne!(value, Value::from("abd"));
        assert_ne!(value, Bytes::from("ab"));
        assert!(Value::default().is_empty() && Value::default().to_bytes().is_empty());
    }
}
