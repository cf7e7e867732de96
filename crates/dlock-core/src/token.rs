//! Fencing tokens: numbers that a protected resource compares to refuse a holder whose lock has passed on.

use std::fmt;

/// A fencing token: greater for a later grant than for every earlier conflicting grant of its resource.
///
/// The high bits are the store's *generation*, raised when the store is found to have gone back in time; the low
/// ones a counter kept with the resource. The sign bit stays clear, so that a token fits PostgreSQL's `bigint`
/// and Java's `long` and compares there as it does here.
///
/// ```
/// use dlock_core::Token;
/// let first = Token::new(0, 7).unwrap();
/// assert!(first < first.next().unwrap());
/// assert!(first.next().unwrap() < Token::new(1, 0).unwrap()); // a new generation outranks every counter
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// Bits of the counter.
    pub const COUNTER_BITS: u32 = 48;
    /// The greatest counter: at a million grants a second it lasts nine years, and then only that resource stops.
    pub const COUNTER_MAX: u64 = (1 << Self::COUNTER_BITS) - 1;
    /// The greatest generation (15 bits).
    pub const GENERATION_MAX: u16 = 0x7fff;
    /// Before any grant.
    pub const ZERO: Token = Token(0);

    /// A token of its two parts; `None` where one is out of range.
    pub const fn new(generation: u16, counter: u64) -> Option<Token> {
        if generation > Self::GENERATION_MAX || counter > Self::COUNTER_MAX {
            return None;
        }
        Some(Token(((generation as u64) << Self::COUNTER_BITS) | counter))
    }

    /// The token with this number; `None` where the sign bit is set.
    pub const fn from_u64(number: u64) -> Option<Token> {
        if number > i64::MAX as u64 { None } else { Some(Token(number)) }
    }

    /// The number, as it is sent and stored.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The store's generation.
    pub const fn generation(self) -> u16 {
        (self.0 >> Self::COUNTER_BITS) as u16
    }

    /// The resource's counter.
    pub const fn counter(self) -> u64 {
        self.0 & Self::COUNTER_MAX
    }

    /// The next token of the same generation; `None` when the counter is used up.
    pub const fn next(self) -> Option<Token> {
        if self.counter() == Self::COUNTER_MAX { None } else { Some(Token(self.0 + 1)) }
    }

    /// This token, or the first of `generation` where that is greater.
    pub fn raised_to(self, generation: u16) -> Token {
        self.max(Token::new(generation.min(Self::GENERATION_MAX), 0).unwrap_or(Token::ZERO))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_never_runs_into_the_generation() {
        let last = Token::new(3, Token::COUNTER_MAX).unwrap();
        assert_eq!(last.next(), None);
        assert_eq!(last.generation(), 3);
        assert_eq!(Token::new(Token::GENERATION_MAX + 1, 0), None);
        assert!(
            Token::from_u64(Token::new(Token::GENERATION_MAX, Token::COUNTER_MAX).unwrap().get()).is_some()
        );
        assert_eq!(Token::from_u64(1 << 63), None);
    }

    #[test]
    fn raising_never_lowers() {
        let token = Token::new(2, 9).unwrap();
        assert_eq!(token.raised_to(1), token);
        assert_eq!(token.raised_to(3), Token::new(3, 0).unwrap());
    }
}
