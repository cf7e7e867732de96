//! The protocol without one of its rules: in each *mutant* the checker finds what the rule prevents.

use crate::catalogue::{
    client, collecting, expiring, holder, holding, keeper, long, mastered, members, moving, recovered,
    repeating, safe, served_without_news, short, silent, staying, taker,
};
use crate::config::Operation::{Convert, Lock, Unlock};
use crate::config::{ClientSetup, Config, Limits, News, Rule};
use crate::service::{
    EVERYBODY_IS_SERVED, EXCLUSION, GRANTS_STAND, NO_ORPHANED_LOCK, RELEASES_STAND, Service, TOKENS_GROW,
};
use dlock_core::Mode::{Exclusive, ProtectedRead};
use dlock_core::lease::LeaseTerms;
use stateright::{CheckerBuilder, HasDiscoveries, Model};

/// A configuration that goes without a rule, or several.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The configuration, named after what is missing.
    pub config: Config,
    /// The property that it violates.
    pub violates: &'static str,
}

impl Mutant {
    /// A checker that stops when it has found the violation.
    pub fn checker(&self) -> CheckerBuilder<Service> {
        let found = HasDiscoveries::AnyOf([self.violates].into());
        Service { config: self.config.clone() }.checker().finish_when(found)
    }
}

fn mutant(name: &'static str, rules: &[Rule], violates: &'static str, config: Config) -> Mutant {
    Mutant { config: Config { name, without: rules.to_vec(), ..config }, violates }
}

/// Both at one server.
fn together(ticks: u8) -> Config {
    let clients = vec![holder(0), taker(0)];
    Config { servers: 1, clients, ticks, limits: Limits::default(), ..expiring(true) }
}

/// The holder at a server that may fall silent; nobody attaches anew.
fn judged(ticks: u8, terms: LeaseTerms) -> Config {
    let clients = vec![ClientSetup { terms, ..holder(0) }, taker(1)];
    Config {
        clients,
        ticks,
        steady: vec![1],
        slow_members: false,
        limits: Limits::default(),
        ..members(true)
    }
}

/// The master dies, after it has granted its client a lock; the same is wanted elsewhere.
fn granted_last() -> Config {
    let (mover, other) = (safe(0, &[Lock(Exclusive)]), staying(safe(1, &[Lock(Exclusive)])));
    Config { clients: vec![mover, other], ..recovered(true) }
}

/// Three servers: the session moves from the first to the second, and the resource is wanted at the third.
fn wanted_by_a_third() -> Config {
    let (mover, other) = (holding(safe(0, &[Lock(Exclusive)])), staying(safe(2, &[Lock(Exclusive)])));
    Config { servers: 3, steady: vec![0, 1, 2], clients: vec![mover, other], ..recovered(true) }
}

/// A session moves away from the dead master while it gives way.
fn giving_way() -> Config {
    let writer = holding(safe(0, &[Lock(Exclusive), Convert(ProtectedRead)]));
    Config { clients: vec![writer], ..recovered(true) }
}

/// A master falls silent, while its client moves away; the same is wanted elsewhere.
fn silent_master() -> Config {
    Config {
        clients: vec![safe(0, &[Lock(Exclusive)]), staying(safe(1, &[Lock(Exclusive)]))],
        members: true,
        steady: vec![1],
        ticks: 2,
        news: News::Never,
        limits: Limits { attaches: 1, ..Limits::default() },
        ..mastered(true)
    }
}

/// A master without clients falls silent, comes back, and a session comes to it; the same resource is wanted elsewhere.
fn coming_back() -> Config {
    Config {
        clients: vec![safe(1, &[Lock(Exclusive)]), staying(safe(1, &[Lock(Exclusive)]))],
        members: true,
        steady: vec![1],
        slow_members: true,
        ticks: 2,
        limits: Limits { attaches: 1, ..Limits::default() },
        news: News::Never,
        ..mastered(true)
    }
}

/// A server becomes the master while a session moves away from it, and gives its request up.
fn taken_late() -> Config {
    Config {
        mastered: false,
        clients: vec![safe(0, &[Lock(Exclusive)]), staying(safe(0, &[Lock(Exclusive), Unlock]))],
        limits: Limits { attaches: 1, withdrawals: 1, ..Limits::default() },
        ..mastered(true)
    }
}

/// All mutants.
pub fn all() -> Vec<Mutant> {
    use Rule::*;
    let apart = Config { ticks: 1, clients: vec![holder(0), taker(1)], ..expiring(true) };
    let attached = Config {
        clients: vec![keeper(0), taker(1)],
        limits: Limits { attaches: 1, ..Limits::default() },
        ..judged(3, short())
    };
    let twice = Config {
        clients: vec![client(0, &[Lock(Exclusive), Unlock, Lock(Exclusive)]), taker(1)],
        limits: Limits { attaches: 1, ..Limits::default() },
        ..moving(false)
    };
    let trying_again = Config { limits: Limits { attaches: 2, ..Limits::default() }, ..apart.clone() };
    let slow_clock = Config { client_clock_percent: 91, ..together(1) };
    let without_news = Config { news: News::Never, ..moving(true) };
    vec![
        mutant("expiry-not-bound-to-epoch", &[ExpiryBoundToEpoch], EXCLUSION, apart),
        mutant("commit-not-guarded", &[CommitBoundToSessions], NO_ORPHANED_LOCK, moving(true)),
        mutant("commit-not-verified", &[CommitBoundToSessions], NO_ORPHANED_LOCK, moving(false)),
        mutant("verify-before-read", &[VerifyAfterRead], NO_ORPHANED_LOCK, moving(false)),
        mutant("release-names-only-session", &[ReleaseNamesLock, VerifyAfterRead], EXCLUSION, twice),
        mutant("no-sequence", &[SequenceGrows], NO_ORPHANED_LOCK, repeating(true)),
        mutant("no-member-deadline", &[MemberDeadline], EXCLUSION, judged(3, short())),
        mutant("no-lapse", &[LapseGivesUp], EXCLUSION, judged(3, short())),
        mutant("late-attachment", &[AttachmentInTime], EXCLUSION, attached),
        mutant("attempts-not-numbered", &[AttemptsNumbered], EXCLUSION, trying_again),
        mutant("orphans-do-not-wait", &[OrphansWait], EXCLUSION, judged(2, long())),
        mutant("deadline-from-acknowledgement", &[DeadlineFromSending], EXCLUSION, together(2)),
        mutant("no-margin", &[DeadlineMargin], EXCLUSION, slow_clock),
        mutant("ambiguity-is-failure", &[AmbiguityIsNotFailure], NO_ORPHANED_LOCK, silent(true)),
        mutant("floor-lost", &[FloorOutlivesRecord], TOKENS_GROW, collecting(true)),
        mutant("absence-not-written", &[AbsenceWrites], NO_ORPHANED_LOCK, moving(false)),
        mutant("stale-answers", &[FreshAnswers], NO_ORPHANED_LOCK, without_news),
        mutant("no-recheck", &[Recheck], EVERYBODY_IS_SERVED, served_without_news()),
        mutant("try-loses-its-place", &[TryKeepsItsPlace], RELEASES_STAND, silent(true)),
        mutant("lapse-overlooked", &[LapseEndsMastering], TOKENS_GROW, silent_master()),
        mutant(
            "lapse-overlooked-unverified",
            &[LapseEndsMastering, VerifiedByMaster],
            EXCLUSION,
            coming_back(),
        ),
        mutant("not-verified-by-master", &[VerifiedByMaster], NO_ORPHANED_LOCK, taken_late()),
        mutant("recovery-ignores-homes", &[RecoveryWaitsForHomes], EXCLUSION, recovered(true)),
        mutant("recovery-ignores-moving", &[RecoveryWaitsForMoving], EXCLUSION, wanted_by_a_third()),
        mutant("moving-is-not-noted", &[MovingIsNoted], EXCLUSION, wanted_by_a_third()),
        mutant("recovery-not-bound-to-record", &[RecoveryBoundToRecord], EXCLUSION, coming_back()),
        mutant("grant-after-claims", &[ClaimsAreTheLastWord], EXCLUSION, granted_last()),
        mutant("note-deleted-early", &[NoteOutlivesClaims], EXCLUSION, wanted_by_a_third()),
        mutant("claimed-too-high", &[ClaimsAreLow], GRANTS_STAND, giving_way()),
    ]
}
