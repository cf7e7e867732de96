//! Values as they are kept: in one piece, or in those in which they came.

use bytes::Bytes;
use dlock_store::Value;

/// A value that is kept somewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept<'a> {
    /// In one piece.
    Whole(&'a [u8]),
    /// In several.
    Pieces(&'a Value),
}

impl<'a> Kept<'a> {
    pub(crate) fn len(self) -> usize {
        self.pieces().map(<[u8]>::len).sum()
    }

    pub(crate) fn pieces(self) -> impl Iterator<Item = &'a [u8]> {
        let (whole, pieces) = match self {
            Kept::Whole(bytes) => (Some(bytes), None),
            Kept::Pieces(value) => (None, Some(value.pieces())),
        };
        whole.into_iter().chain(pieces.into_iter().flatten().map(|piece| &**piece))
    }

    pub(crate) fn to_bytes(self) -> Bytes {
        match self {
            Kept::Whole(bytes) => Bytes::copy_from_slice(bytes),
            Kept::Pieces(value) => value.to_bytes(),
        }
    }
}

impl<'a> From<&'a Value> for Kept<'a> {
    fn from(value: &'a Value) -> Kept<'a> {
        match value.pieces() {
            [] => Kept::Whole(&[]),
            [only] => Kept::Whole(only),
            _ => Kept::Pieces(value),
        }
    }
}

impl PartialEq for Kept<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.pieces().flatten().eq(other.pieces().flatten())
    }
}

impl Eq for Kept<'_> {}
