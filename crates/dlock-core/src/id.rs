//! Identifiers of sessions, locks, members and epochs.

use std::fmt;
use std::str::FromStr;

/// The text is not an identifier of 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id: expected 32 hexadecimal digits")]
pub struct ParseIdError {
    /// What was given.
    pub text: String,
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        // As two words: a plain u128 must begin at a multiple of 16 bytes, and would have all that contains it padded and
        // allocated in that manner, which costs memory and time.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(Rust, packed(8))]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{:032x}", { self.0 }))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:032x})"), { self.0 })
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let valid = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                match u128::from_str_radix(text, 16) {
                    Ok(id) if valid => Ok($name(id)),
                    _ => Err(ParseIdError { text: text.to_owned() }),
                }
            }
        }
    };
}

random_id! {
    /// A session: 128 random bits, never reused. Shown as 32 hexadecimal digits.
    SessionId
}
random_id! {
    /// A member (a running server): 128 random bits, new at every start. Shown as 32 hexadecimal digits.
    MemberId
}

/// A lock within its session: chosen by the client when it acquires, and never used again in that session.
///
/// It is also the request's identity: the same acquire sent again with the same lock id has the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockId(pub u64);

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One session's claim on one resource: unique in the whole service, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockKey {
    /// Whose lock it is.
    pub session: SessionId,
    /// Which of the session's locks.
    pub lock: LockId,
}

impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.session, self.lock)
    }
}

/// How often a session has changed its home: 1 when opened, one more at each attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_from_their_text() {
        let id = SessionId(0x00ff_1234);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().len(), 32);
        for bad in ["", "xyz", "+0000000000000000000000000000001", &"0".repeat(33)] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad}");
        }
    }
}
