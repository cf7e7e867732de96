//! Planted bugs: what the checker must find, or it could not be trusted when it finds nothing.

use clap::ValueEnum;

/// A bug to be planted in the store, in a clock or in the client. None is in the code of dlock itself, which runs as it
/// is; each is what a wrong implementation of that part would look like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Bug {
    /// The store says "committed" of writes that it loses.
    StoreLosesWrites,
    /// The store does not compare versions of resources: the last write wins.
    StoreIgnoresVersions,
    /// The store does not look at guards, though it says that it can.
    StoreIgnoresGuards,
    /// The store's reads are out of date at times.
    StoreReadsStale,
    /// The store forgets the floor of tokens with the record.
    StoreForgetsFloor,
    /// A session's record is written whatever its version: its expiry is not bound to the epoch.
    ExpiryNotBoundToEpoch,
    /// A server's counter stands still in the store while the server hears that it was written: its lease never ends.
    MemberLeaseNeverEnds,
    /// Wake-ups are lost, and a look at the record shows what was last heard of it.
    LostWakeupNoRecheck,
    /// The client uses its guards without looking at the deadline.
    ClientIgnoresDeadline,
    /// The client's clock stands still while its process does.
    ClientClockStopsInPause,
    /// The client's clock is slow by a third.
    ClientClockSlow,
    /// The client says for a new grant the token of an earlier one.
    ClientReusesTokens,
    /// The client forgets to release locks.
    ClientForgetsRelease,
    /// The client forgets the value block that it was to write.
    ClientForgetsValue,
    /// The client says "would block" of a *try* that has failed for another reason.
    ClientGuessesWouldBlock,
    /// The client takes any grant for one in the mode that it likes best, EX.
    ClientConfusesModes,
}
