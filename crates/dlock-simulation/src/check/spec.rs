//! One resource as the contract describes it, written without a look at `dlock-core`: who holds it in which mode, and the
//! value block.

use crate::history::OperationId;
use dlock_core::Mode;

/// The contract's table, row by row: NL CR CW PR PW EX.
const COMPATIBLE: [[bool; 6]; 6] = {
    const Y: bool = true;
    const N: bool = false;
    [
        [Y, Y, Y, Y, Y, Y],
        [Y, Y, Y, Y, Y, N],
        [Y, Y, Y, N, N, N],
        [Y, Y, N, Y, N, N],
        [Y, Y, N, N, N, N],
        [Y, N, N, N, N, N],
    ]
};

fn row(mode: Mode) -> usize {
    match mode {
        Mode::Null => 0,
        Mode::ConcurrentRead => 1,
        Mode::ConcurrentWrite => 2,
        Mode::ProtectedRead => 3,
        Mode::ProtectedWrite => 4,
        Mode::Exclusive => 5,
    }
}

/// Whether both may be held at one time.
pub(crate) fn compatible(one: Mode, other: Mode) -> bool {
    COMPATIBLE[row(one)][row(other)]
}

/// NL < CR < {CW, PR} < PW < EX.
pub(crate) fn at_or_below(low: Mode, high: Mode) -> bool {
    let height = |mode| [0, 1, 2, 2, 3, 4][row(mode)];
    low == high || height(low) < height(high)
}

/// Whether a holder in this mode may write the value block.
pub(crate) fn writes(mode: Mode) -> bool {
    matches!(mode, Mode::ProtectedWrite | Mode::Exclusive)
}

/// What can happen to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A lock is granted.
    Grant { lock: OperationId, mode: Mode, token: u64 },
    /// A holder is told the value block.
    Read { lock: OperationId, value: u64, valid: bool },
    /// A lock's mode is changed.
    Convert { lock: OperationId, mode: Mode, token: Option<u64>, value: Option<u64> },
    /// A lock is let go.
    Release { lock: OperationId, value: Option<u64> },
    /// A lock goes with its session.
    Vanish { lock: OperationId },
    /// A *try* to get this mode is refused; by the holder `lock` if it was a conversion.
    Refuse { lock: OperationId, mode: Mode },
    /// The value block is marked as not valid, by a lock that nobody knows of.
    Spoil,
}

/// A resource's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// In the order of the locks' numbers.
    pub(crate) holders: Vec<(OperationId, Mode)>,
    pub(crate) value: u64,
    pub(crate) valid: bool,
    /// The greatest token granted.
    pub(crate) token: u64,
}

impl State {
    pub(crate) fn new() -> State {
        State { holders: Vec::new(), value: 0, valid: true, token: 0 }
    }

    fn fits(&self, lock: OperationId, mode: Mode) -> bool {
        self.holders.iter().all(|(other, held)| *other == lock || compatible(*held, mode))
    }

    fn mode(&self, lock: OperationId) -> Option<Mode> {
        self.holders.iter().find(|(other, _)| *other == lock).map(|(_, mode)| *mode)
    }

    fn set(&mut self, lock: OperationId, mode: Mode) {
        self.holders.retain(|(other, _)| *other != lock);
        self.holders.push((lock, mode));
        self.holders.sort_unstable_by_key(|(lock, _)| *lock);
    }

    fn write(&mut self, held: Mode, value: Option<u64>) -> bool {
        let Some(value) = value else { return true };
        (self.value, self.valid) = (value, true);
        writes(held)
    }

    /// The state after the step; `None` if it can't happen now.
    pub(crate) fn after(&self, step: &Step) -> Option<State> {
        let mut next = self.clone();
        let possible = match *step {
            Step::Grant { lock, mode, token } => {
                next.set(lock, mode);
                next.token = token;
                self.fits(lock, mode) && token >= self.token
            }
            Step::Read { lock, value, valid } => {
                // The mark of an empty value block may be forgotten with the record of a resource that nobody uses.
                let forgotten = value == 0 && valid;
                self.mode(lock).is_some() && self.value == value && (self.valid == valid || forgotten)
            }
            Step::Convert { lock, mode, token, value } => {
                let held = self.mode(lock)?;
                let down = at_or_below(mode, held);
                if !down {
                    next.token = token.unwrap_or(self.token);
                }
                next.set(lock, mode);
                next.write(held, value) && (down || self.fits(lock, mode)) && next.token >= self.token
            }
            Step::Release { lock, value } => {
                let held = self.mode(lock)?;
                next.holders.retain(|(other, _)| *other != lock);
                next.write(held, value)
            }
            Step::Vanish { lock } => {
                let held = self.mode(lock)?;
                next.holders.retain(|(other, _)| *other != lock);
                next.valid &= !writes(held);
                true
            }
            Step::Refuse { lock, mode } => !self.fits(lock, mode),
            Step::Spoil => std::mem::replace(&mut next.valid, false),
        };
        possible.then_some(next)
    }
}
