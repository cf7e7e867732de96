//! Between the protocol's types and those of Rust and of the core.

use crate::v1;
use dlock_core::Mode;
use std::time::Duration;

/// The longest duration that makes sense anywhere in the protocol: ten years.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The number is no mode of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{number} is no mode: use 1 (NL) to 6 (EX)")]
pub struct UnknownMode {
    /// What was sent.
    pub number: i32,
}

/// Strictly: [`v1::Mode::Unspecified`] is no mode. For answers, which always name one.
impl TryFrom<v1::Mode> for Mode {
    type Error = UnknownMode;

    fn try_from(mode: v1::Mode) -> Result<Mode, UnknownMode> {
        match mode {
            v1::Mode::Unspecified => Err(UnknownMode { number: mode as i32 }),
            v1::Mode::Null => Ok(Mode::Null),
            v1::Mode::ConcurrentRead => Ok(Mode::ConcurrentRead),
            v1::Mode::ConcurrentWrite => Ok(Mode::ConcurrentWrite),
            v1::Mode::ProtectedRead => Ok(Mode::ProtectedRead),
            v1::Mode::ProtectedWrite => Ok(Mode::ProtectedWrite),
            v1::Mode::Exclusive => Ok(Mode::Exclusive),
        }
    }
}

impl From<Mode> for v1::Mode {
    fn from(mode: Mode) -> v1::Mode {
        match mode {
            Mode::Null => v1::Mode::Null,
            Mode::ConcurrentRead => v1::Mode::ConcurrentRead,
            Mode::ConcurrentWrite => v1::Mode::ConcurrentWrite,
            Mode::ProtectedRead => v1::Mode::ProtectedRead,
            Mode::ProtectedWrite => v1::Mode::ProtectedWrite,
            Mode::Exclusive => v1::Mode::Exclusive,
        }
    }
}

/// A mode from an answer on the wire, where leaving it out is an error.
pub fn named_mode(number: i32) -> Result<Mode, UnknownMode> {
    v1::Mode::try_from(number).map_err(|_| UnknownMode { number })?.try_into()
}

/// A mode from a request on the wire; left out (0), it is `default`.
pub fn mode(number: i32, default: Mode) -> Result<Mode, UnknownMode> {
    if number == v1::Mode::Unspecified as i32 { Ok(default) } else { named_mode(number) }
}

/// A mode for the wire.
pub fn mode_to_proto(mode: Mode) -> v1::Mode {
    mode.into()
}

/// The duration is negative, not well formed or longer than [`DURATION_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the duration of {seconds} s and {nanos} ns is not between 0 and ten years")]
pub struct BadDuration {
    /// Its seconds.
    pub seconds: i64,
    /// Its nanoseconds.
    pub nanos: i32,
}

/// A duration from the wire.
pub fn duration(duration: &prost_types::Duration) -> Result<Duration, BadDuration> {
    let prost_types::Duration { seconds, nanos } = *duration;
    let parts = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok());
    parts
        .filter(|(_, nanos)| *nanos < 1_000_000_000)
        .map(|(seconds, nanos)| Duration::new(seconds, nanos))
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or(BadDuration { seconds, nanos })
}

/// A duration for the wire; one beyond [`DURATION_MAX`] is cut to it.
pub fn duration_to_proto(duration: Duration) -> prost_types::Duration {
    let duration = duration.min(DURATION_MAX);
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1alpha1;
    use prost::Message;

    #[test]
    fn modes_come_back_and_unknown_ones_are_named() {
        for each in Mode::ALL {
            assert_eq!(mode(mode_to_proto(each) as i32, Mode::Null), Ok(each));
            assert_eq!(named_mode(mode_to_proto(each) as i32), Ok(each));
        }
        assert_eq!(mode(0, Mode::Exclusive), Ok(Mode::Exclusive));
        assert_eq!(named_mode(0), Err(UnknownMode { number: 0 }));
        assert_eq!(mode(7, Mode::Exclusive), Err(UnknownMode { number: 7 }));
        assert_eq!(mode(-1, Mode::Exclusive), Err(UnknownMode { number: -1 }));
    }

    #[test]
    fn durations_come_back_and_absurd_ones_are_refused() {
        for each in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1500), DURATION_MAX] {
            assert_eq!(duration(&duration_to_proto(each)), Ok(each));
        }
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0), (315_360_000, 1)] {
            let bad = prost_types::Duration { seconds, nanos };
            assert_eq!(duration(&bad), Err(BadDuration { seconds, nanos }));
        }
        assert_eq!(duration(&duration_to_proto(Duration::MAX)), Ok(DURATION_MAX));
    }

    #[test]
    fn the_first_dlocks_messages_have_its_bytes() {
        let request = v1alpha1::LockRequest { key: "a".into(), try_lock: true };
        assert_eq!(request.encode_to_vec(), b"\x0a\x01a\x10\x01");
        let failed = v1alpha1::LockResponse { event: v1alpha1::LockEvent::Failed as i32 };
        assert_eq!(failed.encode_to_vec(), b"\x08\x01");
        assert!(
            v1alpha1::LockResponse { event: v1alpha1::LockEvent::Acquired as i32 }.encode_to_vec().is_empty()
        );
    }
}
