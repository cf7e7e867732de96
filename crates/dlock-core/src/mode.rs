//! The six lock modes of the classic distributed lock manager, their compatibility and their lattice.
//!
//! The table is that of OpenVMS `$ENQ` and of Linux `fs/dlm`; see [`Mode::compatible`].

use std::fmt;
use std::str::FromStr;

/// How a lock may be shared, from the least to the most restrictive.
///
/// ```
/// use dlock_core::Mode;
/// assert!(Mode::ProtectedRead.compatible(Mode::ProtectedRead)); // readers share
/// assert!(!Mode::ProtectedRead.compatible(Mode::Exclusive)); // a writer is alone
/// assert_eq!(Mode::ConcurrentWrite.join(Mode::ProtectedRead), Mode::ProtectedWrite);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// NL: interest in the resource, no access. Compatible with every mode.
    Null = 0,
    /// CR: read, while others read and write.
    ConcurrentRead = 1,
    /// CW: write, while others read and write.
    ConcurrentWrite = 2,
    /// PR: read, while others only read. The classic shared lock.
    ProtectedRead = 3,
    /// PW: write, while others only read concurrently (CR). The classic update lock.
    ProtectedWrite = 4,
    /// EX: read and write, alone. The classic exclusive lock.
    Exclusive = 5,
}

/// For each mode, the set of modes that it is *not* compatible with, as bits of `1 << mode`.
const CONFLICTS: [u8; 6] = [
    0b00_0000, // NL
    0b10_0000, // CR: EX
    0b11_1000, // CW: PR PW EX
    0b11_0100, // PR: CW PW EX
    0b11_1100, // PW: CW PR PW EX
    0b11_1110, // EX: all but NL
];

impl Mode {
    /// Every mode, least restrictive first (CW before PR, which are not comparable).
    pub const ALL: [Mode; 6] = [
        Mode::Null,
        Mode::ConcurrentRead,
        Mode::ConcurrentWrite,
        Mode::ProtectedRead,
        Mode::ProtectedWrite,
        Mode::Exclusive,
    ];

    /// Whether one lock may be held in this mode while another is held in `other`. Symmetric.
    pub const fn compatible(self, other: Mode) -> bool {
        CONFLICTS[self as usize] & (1 << other as u8) == 0
    }

    /// The modes that this one is not compatible with.
    pub const fn conflicts(self) -> ModeSet {
        ModeSet(CONFLICTS[self as usize])
    }

    /// Whether this mode is at or below `other` in the lattice NL < CR < {CW, PR} < PW < EX.
    ///
    /// Equivalently: every mode compatible with `other` is compatible with this one.
    pub const fn at_or_below(self, other: Mode) -> bool {
        CONFLICTS[self as usize] & !CONFLICTS[other as usize] == 0
    }

    /// The least restrictive mode that is at or above both: the greater of the two, or PW for CW and PR.
    pub const fn join(self, other: Mode) -> Mode {
        if self.at_or_below(other) {
            other
        } else if other.at_or_below(self) {
            self
        } else {
            Mode::ProtectedWrite
        }
    }

    /// The most restrictive mode that is at or below both: the lesser of the two, or CR for CW and PR.
    pub const fn meet(self, other: Mode) -> Mode {
        if self.at_or_below(other) {
            self
        } else if other.at_or_below(self) {
            other
        } else {
            Mode::ConcurrentRead
        }
    }

    /// Whether a holder in this mode may write the value block: PW and EX.
    pub const fn writes_value(self) -> bool {
        matches!(self, Mode::ProtectedWrite | Mode::Exclusive)
    }

    /// Whether a grant in this mode returns the value block: all but NL.
    pub const fn reads_value(self) -> bool {
        !matches!(self, Mode::Null)
    }

    /// The two-letter name: `NL`, `CR`, `CW`, `PR`, `PW` or `EX`.
    pub const fn abbreviation(self) -> &'static str {
        match self {
            Mode::Null => "NL",
            Mode::ConcurrentRead => "CR",
            Mode::ConcurrentWrite => "CW",
            Mode::ProtectedRead => "PR",
            Mode::ProtectedWrite => "PW",
            Mode::Exclusive => "EX",
        }
    }

    /// The mode with this discriminant, if there is one.
    pub const fn from_u8(byte: u8) -> Option<Mode> {
        if (byte as usize) < Mode::ALL.len() { Some(Mode::ALL[byte as usize]) } else { None }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.abbreviation())
    }
}

/// The text is no mode's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown mode {text:?}: use NL, CR, CW, PR, PW or EX (or null, concurrent-read, concurrent-write, protected-read, protected-write, exclusive)"
)]
pub struct ParseModeError {
    /// What was given.
    pub text: String,
}

impl FromStr for Mode {
    type Err = ParseModeError;

    /// Reads the two-letter name or the long one, in any case.
    fn from_str(text: &str) -> Result<Mode, ParseModeError> {
        match text.to_ascii_lowercase().replace('_', "-").as_str() {
            "nl" | "null" => Ok(Mode::Null),
            "cr" | "concurrent-read" => Ok(Mode::ConcurrentRead),
            "cw" | "concurrent-write" => Ok(Mode::ConcurrentWrite),
            "pr" | "protected-read" => Ok(Mode::ProtectedRead),
            "pw" | "protected-write" => Ok(Mode::ProtectedWrite),
            "ex" | "exclusive" => Ok(Mode::Exclusive),
            _ => Err(ParseModeError { text: text.to_owned() }),
        }
    }
}

/// A set of modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModeSet(u8);

impl ModeSet {
    /// No mode.
    pub const EMPTY: ModeSet = ModeSet(0);

    /// Adds a mode.
    pub const fn insert(&mut self, mode: Mode) {
        self.0 |= 1 << mode as u8;
    }

    /// Takes a mode away.
    pub const fn remove(&mut self, mode: Mode) {
        self.0 &= !(1 << mode as u8);
    }

    /// Whether the mode is in the set.
    pub const fn contains(self, mode: Mode) -> bool {
        self.0 & (1 << mode as u8) != 0
    }

    /// Whether the two sets have a mode in common.
    pub const fn intersects(self, other: ModeSet) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is no mode in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The modes of the set, least restrictive first.
    pub fn iter(self) -> impl Iterator<Item = Mode> {
        Mode::ALL.into_iter().filter(move |mode| self.contains(*mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as the field prints it: rows held, columns asked, in the order of [`Mode::ALL`].
    const TABLE: [&str; 6] = ["yyyyyy", "yyyyyn", "yyynnn", "yynynn", "yynnnn", "ynnnnn"];

    #[test]
    fn compatibility_is_the_classic_table() {
        for (held, row) in Mode::ALL.into_iter().zip(TABLE) {
            for (asked, cell) in Mode::ALL.into_iter().zip(row.chars()) {
                assert_eq!(held.compatible(asked), cell == 'y', "{held} held, {asked} asked");
                assert_eq!(held.conflicts().contains(asked), cell == 'n');
            }
        }
    }

    #[test]
    fn the_lattice_is_that_of_the_design() {
        use Mode::*;
        let chain = [Null, ConcurrentRead, ConcurrentWrite, ProtectedWrite, Exclusive];
        assert!(chain.is_sorted_by(|low, high| low.at_or_below(*high) && !high.at_or_below(*low)));
        assert!(ConcurrentRead.at_or_below(ProtectedRead) && ProtectedRead.at_or_below(ProtectedWrite));
        assert!(!ConcurrentWrite.at_or_below(ProtectedRead) && !ProtectedRead.at_or_below(ConcurrentWrite));
    }

    #[test]
    fn join_is_the_least_upper_bound() {
        for a in Mode::ALL {
            for b in Mode::ALL {
                let join = a.join(b);
                assert!(a.at_or_below(join) && b.at_or_below(join));
                for bound in Mode::ALL.into_iter().filter(|m| a.at_or_below(*m) && b.at_or_below(*m)) {
                    assert!(join.at_or_below(bound), "{a} join {b} = {join}, but {bound} is lower");
                }
            }
        }
    }

    #[test]
    fn meet_is_the_greatest_lower_bound() {
        for a in Mode::ALL {
            for b in Mode::ALL {
                let meet = a.meet(b);
                assert!(meet.at_or_below(a) && meet.at_or_below(b));
                for bound in Mode::ALL.into_iter().filter(|m| m.at_or_below(a) && m.at_or_below(b)) {
                    assert!(bound.at_or_below(meet), "{a} meet {b} = {meet}, but {bound} is higher");
                }
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for mode in Mode::ALL {
            assert_eq!(mode.abbreviation().to_lowercase().parse(), Ok(mode));
            assert_eq!(Mode::from_u8(mode as u8), Some(mode));
        }
        assert_eq!("Protected_Read".parse(), Ok(Mode::ProtectedRead));
        assert!("XX".parse::<Mode>().unwrap_err().to_string().contains("\"XX\""));
        assert_eq!(Mode::from_u8(6), None);
    }
}
