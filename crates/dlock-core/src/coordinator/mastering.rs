//! What a coordinator does about a resource that this server masters, or another one: see
//! [`mastery`](super::mastery) for the rules.

use super::flight::{Flight, FlightKind, Pending};
use super::mastery::Mastery;
use super::{Action, Content, Coordinator, GUARDS_MAX, Loaded, Rules, State};
use crate::MemberId;
use crate::resource::{Command, Resource};

impl<T> Coordinator<T> {
    /// Whether this server masters the resource: then it must be given back before it is forgotten.
    pub fn is_master(&self) -> bool {
        self.mastery.as_deref().is_some_and(Mastery::is_master)
    }

    /// The resource as only its master knows it, where that is this server.
    pub fn mastered(&self) -> Option<&Resource> {
        self.latest().filter(|_| self.is_master())
    }

    /// Gives the resource back, if this server masters it.
    pub fn give_back(&mut self, rules: &Rules, out: &mut Vec<Action<T>>) {
        if let Some(mastery) = self.mastery.as_deref_mut().filter(|mastery| mastery.is_master()) {
            mastery.give_back();
            self.advance(rules, out);
        }
    }

    /// The server that masters the resource, and the [mark](crate::resource::Master::mark) of its last writing, where commands
    /// wait for the resource to be given back.
    pub fn waits_for(&self) -> Option<(MemberId, u64)> {
        let State::Elsewhere { resource, .. } = &self.state else { return None };
        let master = resource.master().filter(|_| !self.pending.is_empty())?;
        Some((master.member, master.mark))
    }

    /// The server that wrote the record with this mark is dead: it was found silent by a look that was sent after
    /// [`Coordinator::waits_for`] had said so. From then on it answers nothing from memory before it has written the
    /// record once more, with another mark.
    ///
    /// What clients claim is believed. If it is `recovered`, which is to say that since then no session was at home there, and
    /// none was on its way from there with claims, they have claimed all, and the rest is free.
    pub fn master_dead(&mut self, mark: u64, recovered: bool, rules: &Rules, out: &mut Vec<Action<T>>) {
        let State::Elsewhere { version, resource } = &mut self.state else { return };
        if resource.master().is_none_or(|master| master.mark != mark) {
            return;
        }
        let (version, mut resource) = (*version, resource.clone());
        let is_claim = |pending: &Pending<T>| matches!(pending.command, Command::Claim(_));
        let (mut claims, others) =
            std::mem::take(&mut self.pending).into_iter().partition::<Vec<_>, _>(is_claim);
        let more = claims.split_off(claims.len().min(GUARDS_MAX));
        self.pending = more.into_iter().chain(others).collect();
        let mut flight = if !claims.is_empty() {
            Flight::of_claims(claims, version, &mut resource, rules)
        } else if let Some(recovered) = resource.recovered().filter(|_| recovered) {
            *resource = recovered;
            Flight::empty(FlightKind::Commands, version, rules.period)
        } else {
            return;
        };
        flight.writes = true;
        self.send(resource, flight, out);
    }

    /// Asks for a resource that another server masters. To ask again wakes that server again.
    pub(super) fn recall(&mut self, rules: &Rules, out: &mut Vec<Action<T>>) {
        match std::mem::replace(&mut self.state, State::Unknown) {
            State::Elsewhere { version, mut resource } => {
                resource.recall();
                self.send(resource, Flight::empty(FlightKind::Recall, version, rules.period), out);
            }
            state => self.state = state,
        }
    }

    pub(super) fn truth(&self) -> Option<&Resource> {
        self.mastery.as_deref()?.truth()
    }

    pub(super) fn keep(&mut self, resource: Box<Resource>) {
        if let Some(mastery) = self.mastery.as_deref_mut() {
            mastery.keep(resource);
        }
    }

    /// The state is to be replaced: keeps how the resource stood.
    pub(super) fn set_aside(&mut self) {
        if let State::Settled { resource, .. } = std::mem::replace(&mut self.state, State::Unknown) {
            if self.is_master() {
                self.keep(resource);
            } else if self.base.is_none() {
                self.base = Some(resource);
            }
        }
    }

    /// What a master knows, with its mark as it stands in the record, if that still says that it is the master.
    pub(super) fn truth_over(&mut self, record: &Resource, rules: &Rules) -> Option<Box<Resource>> {
        let master = record.master().filter(|master| master.member == rules.member)?.clone();
        let mut truth = self.mastery.as_deref_mut()?.take_truth()?;
        truth.set_master(Some(master));
        Some(truth)
    }

    /// Somebody else has written the record: what this server knew as its master is what it told.
    pub(super) fn lose_mastery(&mut self, version: u64) {
        if let Some(truth) = self.mastery.as_deref_mut().and_then(|mastery| mastery.lost(version)) {
            self.base = Some(truth);
        }
    }

    pub(super) fn answers_from_memory(
        &self,
        resource: &Resource,
        commands: &[Pending<T>],
        rules: &Rules,
    ) -> bool {
        let Some(mastery) = self.mastery.as_deref().filter(|_| rules.masters) else { return false };
        mastery.answers(resource, commands, rules)
    }

    /// Makes this server the resource's master with this commit, or keeps it so, or gives the resource back.
    pub(super) fn mark(&mut self, flight: &mut Flight<T>, resource: &mut Resource, rules: &Rules) {
        let mastery = self.mastery.as_deref().filter(|_| rules.masters);
        let mark =
            mastery.and_then(|mastery| mastery.mark(rules, flight.expected, resource, flight.commands()));
        let (master, guards) = mark.unzip();
        guards.into_iter().flatten().for_each(|guard| flight.guard_by(guard));
        resource.set_master(master);
    }
}

/// Whether another server masters the resource.
pub(super) fn is_elsewhere(resource: &Resource, rules: &Rules) -> bool {
    resource.master().is_some_and(|master| master.member != rules.member)
}

/// Whether the record says that others ask this server for the resource: who gets such news and has it not in memory gives
/// it back all the same.
pub fn is_recalled(news: &Loaded, member: MemberId) -> bool {
    let Content::Present(bytes) = &news.content else { return false };
    if !crate::record::is_mastered(bytes) {
        return false;
    }
    let resource = Resource::decode(bytes).ok();
    let master = resource.as_ref().and_then(Resource::master);
    master.is_some_and(|master| master.member == member && master.is_asked())
}
