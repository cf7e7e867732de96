//! A commit under way: the commands it carries and what they will be told if it succeeds.

use super::{Action, Change, Commit, Content, Rules, SessionGuard, is_not_found};
use crate::record::Pieces;
use crate::resource::{Applied, Command, Grant, Outcome, Refusal, Resource};
use crate::{LockKey, Token};
use smallvec::SmallVec;

/// A command that waits for its commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending<T> {
    pub(super) ticket: T,
    pub(super) command: Command,
    pub(super) guard: Option<SessionGuard>,
    /// The known record was read, or committed, after this command had come.
    pub(super) fresh: bool,
    /// A reading has begun since this command came: when it ends, the command is fresh.
    pub(super) read_begun: bool,
    /// A former commit of this command may have taken effect.
    pub(super) retried: bool,
}

impl<T> Pending<T> {
    /// Whether this command ends the lock with this key.
    pub(super) fn ends(&self, key: LockKey) -> bool {
        match &self.command {
            Command::Release { key: own, .. } | Command::Cancel { key: own } => *own == key,
            Command::Purge { sessions } => sessions.contains(&key.session),
            _ => false,
        }
    }
}

/// A command with what it did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Done<T> {
    pending: Pending<T>,
    outcome: Outcome,
    promoted: Vec<Grant>,
    vanished: Vec<LockKey>,
}

impl<T> Done<T> {
    /// Applies a command. Says, too, whether there is anything to write for it.
    #[inline]
    fn of(pending: Pending<T>, resource: &mut Resource, rules: &Rules) -> (Done<T>, bool) {
        let vanished = match &pending.command {
            Command::Revoke { key, .. } => keys_of(resource, *key),
            _ => Vec::new(),
        };
        let applied = resource.apply(&pending.command, rules.generation);
        let revoked = applied.outcome == Outcome::Released;
        let outcome = after_retry(&pending, applied.outcome, resource, rules);
        // Without guards, a late commit of the session's former home might still change this, or begin to master the resource
        // with the session's locks on it: make it fail.
        let touch = !rules.guards && (may_be_undone(&pending, &outcome) || may_be_mastered(&pending, rules));
        let vanished = if revoked { vanished } else { Vec::new() };
        (Done { pending, outcome, promoted: applied.promoted, vanished }, applied.changed || touch)
    }

    /// Tells what it did.
    #[inline]
    fn answer(self, out: &mut Vec<Action<T>>) {
        out.push(Action::Answer { ticket: self.pending.ticket, outcome: self.outcome });
        out.extend(self.vanished.into_iter().map(Action::Vanished));
        out.extend(self.promoted.into_iter().map(Action::Promoted));
    }
}

/// Applies commands and tells what they did, without a commit.
pub(super) fn answer_from_memory<T>(
    commands: Vec<Pending<T>>,
    resource: &mut Resource,
    rules: &Rules,
    out: &mut Vec<Action<T>>,
) {
    for pending in commands {
        Done::of(pending, resource, rules).0.answer(out);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FlightKind {
    /// Carries commands.
    Commands,
    /// Deletes a record that nobody uses.
    Collection,
    /// Asks for a resource that another server masters.
    Recall,
}

/// A commit and its commands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flight<T> {
    pub(super) kind: FlightKind,
    pub(super) expected: u64,
    pub(super) resends: u32,
    /// It was sent, and nobody knows what became of it.
    pub(super) may_arrive: bool,
    /// Whether there is anything to write.
    pub(super) writes: bool,
    /// This server's lease period when it was sent.
    pub(super) period: Option<u64>,
    change: Change,
    guards: SmallVec<[SessionGuard; 2]>,
    done: Vec<Done<T>>,
}

impl<T> Flight<T> {
    /// Applies the commands, in their order.
    pub(super) fn of(
        commands: Vec<Pending<T>>,
        expected: u64,
        resource: &mut Resource,
        rules: &Rules,
    ) -> Flight<T> {
        let mut flight = Flight::empty(FlightKind::Commands, expected, rules.period);
        flight.done.reserve_exact(commands.len());
        for pending in commands {
            let (done, writes) = Done::of(pending, resource, rules);
            flight.writes |= writes;
            flight.add(done);
        }
        flight
    }

    /// Believes clients what they claim of a resource whose master is dead.
    pub(super) fn of_claims(
        claims: Vec<Pending<T>>,
        expected: u64,
        resource: &mut Resource,
        rules: &Rules,
    ) -> Flight<T> {
        let mut flight = Flight::empty(FlightKind::Commands, expected, rules.period);
        for pending in claims {
            let Command::Claim(claim) = &pending.command else { continue };
            let Applied { outcome, promoted, .. } = resource.claim(claim);
            flight.add(Done { pending, outcome, promoted, vanished: Vec::new() });
        }
        flight
    }

    /// One that carries no commands.
    pub(super) fn empty(kind: FlightKind, expected: u64, period: Option<u64>) -> Flight<T> {
        Flight {
            kind,
            expected,
            resends: 0,
            may_arrive: false,
            writes: false,
            period,
            change: Change::Put(Pieces::new()),
            guards: SmallVec::new(),
            done: Vec::new(),
        }
    }

    /// Deletes the record, remembering its last token.
    pub(super) fn collection(expected: u64, last_token: Token) -> Flight<T> {
        let change = Change::Delete { floor: last_token.get() };
        Flight { change, writes: true, ..Flight::empty(FlightKind::Collection, expected, None) }
    }

    #[inline]
    fn add(&mut self, done: Done<T>) {
        if let Some(guard) = done.pending.guard {
            self.guard_by(guard);
        }
        self.done.push(done);
    }

    /// Binds the commit to one more session's record.
    pub(super) fn guard_by(&mut self, guard: SessionGuard) {
        if !self.guards.contains(&guard) {
            self.guards.push(guard);
        }
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = &Pending<T>> + Clone {
        self.done.iter().map(|done| &done.pending)
    }

    pub(super) fn guards(&self) -> &[SessionGuard] {
        &self.guards
    }

    /// Whether the answers hold though nothing is written.
    pub(super) fn is_fresh(&self) -> bool {
        self.done.iter().all(|done| done.pending.fresh)
    }

    pub(super) fn change_to(&mut self, record: Pieces) {
        self.change = Change::Put(record);
    }

    pub(super) fn commit(&self) -> Commit {
        Commit { expected: self.expected, change: self.change.clone(), guards: self.guards.clone() }
    }

    /// Whether the record holds what this commit would have made of it.
    pub(super) fn is_effect(&self, content: &Content) -> bool {
        match (&self.change, content) {
            (Change::Put(sent), Content::Present(found)) => sent.iter().flatten().eq(found),
            (Change::Delete { .. }, Content::Absent { .. }) => true,
            _ => false,
        }
    }

    /// Tells everybody; the commit has succeeded.
    pub(super) fn answer(self, out: &mut Vec<Action<T>>) {
        self.done.into_iter().for_each(|done| done.answer(out));
    }

    /// Locks of others that the commit would have granted.
    pub(super) fn promoted(&self) -> impl Iterator<Item = LockKey> {
        self.done.iter().flat_map(|done| done.promoted.iter().map(|grant| grant.key))
    }

    /// Locks that the commit would have ended, each for its own sender.
    pub(super) fn ended(&self) -> impl Iterator<Item = LockKey> {
        self.done.iter().filter_map(|done| match &done.pending.command {
            Command::Release { key, .. } | Command::Cancel { key } => Some(*key),
            _ => None,
        })
    }

    /// The commands, to be decided anew on a record that is read after they came.
    pub(super) fn into_pending(self) -> Vec<Pending<T>> {
        let may_arrive = self.may_arrive;
        let again = |mut pending: Pending<T>| {
            pending.retried |= may_arrive;
            pending.read_begun = true;
            pending
        };
        self.done.into_iter().map(|done| again(done.pending)).collect()
    }
}

/// A command whose former commit may have taken effect finds nothing left to end, or to convert with a value block that
/// others may have written since: it did that.
fn after_retry<T>(pending: &Pending<T>, outcome: Outcome, resource: &mut Resource, rules: &Rules) -> Outcome {
    if !pending.retried {
        return outcome;
    }
    match (&pending.command, &outcome) {
        (Command::Release { .. }, _) if is_not_found(&outcome) => Outcome::Released,
        (Command::Cancel { .. }, _) if is_not_found(&outcome) => Outcome::Cancelled,
        (Command::Convert(convert), Outcome::Refused(Refusal::ValueNotWritable { held, to }))
            if held == to =>
        {
            resource.apply(&Command::Query { key: convert.key }, rules.generation).outcome
        }
        _ => outcome,
    }
}

/// Whether the command's sender takes from the outcome that it has no such lock, or does not get the mode, while a
/// commit that was sent for it before may say otherwise.
fn may_be_undone<T>(pending: &Pending<T>, outcome: &Outcome) -> bool {
    let moved = pending.guard.is_some_and(|guard| guard.moved);
    match &pending.command {
        Command::Release { .. } => is_not_found(outcome),
        Command::Cancel { .. } => moved || is_not_found(outcome),
        Command::Acquire(_) | Command::Convert(_) => moved && matches!(outcome, Outcome::Refused(_)),
        Command::Revoke { .. } | Command::Purge { .. } | Command::Query { .. } | Command::Claim(_) => false,
    }
}

/// Whether the sender's former home may be about to become the resource's master: it knows the session from before.
fn may_be_mastered<T>(pending: &Pending<T>, rules: &Rules) -> bool {
    rules.peers_master && pending.guard.is_some_and(|guard| guard.moved)
}

/// The lock's key with those of its re-entrant siblings.
fn keys_of(resource: &Resource, key: LockKey) -> Vec<LockKey> {
    let siblings = resource
        .holders()
        .map(|holder| std::iter::once(holder.key).chain(holder.aliases()).collect::<Vec<LockKey>>())
        .find(|keys| keys.contains(&key));
    siblings.unwrap_or_else(|| vec![key])
}
