//! The protocol without one of its rules: in each *mutant* the checker finds what the rule prevents.

use crate::catalogue::{
    client, collecting, expiring, holder, keeper, long, members, moving, repeating, served_without_news,
    short, silent, taker,
};
use crate::config::Operation::{Lock, Unlock};
use crate::config::{ClientSetup, Config, Limits, News, Rule};
use crate::service::{
    EVERYBODY_IS_SERVED, EXCLUSION, NO_ORPHANED_LOCK, RELEASES_STAND, Service, TOKENS_GROW,
};
use dlock_core::Mode::Exclusive;
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
    ]
}
