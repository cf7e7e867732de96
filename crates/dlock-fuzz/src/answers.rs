//! What a server may say on a session's stream, to the SDK: `dlock_client::fuzzing` says what must hold.

/// What happens to a session, one thing after the other.
pub(crate) fn run(data: &[u8]) {
    dlock_client::fuzzing::play(data);
}
