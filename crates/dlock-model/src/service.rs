//! The model as the checker sees it: its steps and its properties.

use crate::config::Config;
use crate::message::Ask;
use crate::part::Part;
use crate::state::{Client, Ending, State, lock_key, server_of};
use crate::step::Step;
use crate::world::World;
use dlock_core::MemberId;
use dlock_core::resource::Resource;
use stateright::{Model, Property};
use std::cell::LazyCell;

/// A service of servers and clients, as a [`Config`] says.
#[derive(Clone, Debug)]
pub struct Service {
    /// What it consists of.
    pub config: Config,
}

/// No two sessions count on conflicting locks at a time, by their clients' own deadlines.
pub const EXCLUSION: &str = "no two clients count on conflicting locks";
/// A lock that a client was told it has, and whose session lives, is in the record, in the mode that was told.
pub const GRANTS_STAND: &str = "a grant that was told stands";
/// A lock that a client was told is released does not come back.
pub const RELEASES_STAND: &str = "a release that was told stands";
/// No lock is in the record whose client was told that it does not have it.
pub const NO_ORPHANED_LOCK: &str = "no lock that nobody can release";
/// Nothing takes a lock of a living session but a release of that very lock.
pub const NO_FOREIGN_RELEASE: &str = "only its own release takes a lock";
/// Each grant's token is greater than those of all earlier conflicting grants.
pub const TOKENS_GROW: &str = "tokens only grow";
/// Everybody comes to the end of its script, or is told that its session is lost, or dies.
pub const EVERYBODY_IS_SERVED: &str = "everybody is served";
/// Some run has every client come to the end of its script: the model does not prove itself right by doing nothing.
pub const SERVICE_IS_POSSIBLE: &str = "a run serves all";

impl Model for Service {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.config)]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        state.steps(&self.config, steps);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut world = World { config: &self.config, state: state.clone() };
        world.step(step);
        Some(world.state)
    }

    fn properties(&self) -> Vec<Property<Service>> {
        let mut properties = vec![
            Property::always(EXCLUSION, exclusion),
            Property::always(GRANTS_STAND, grants_stand),
            Property::always(RELEASES_STAND, |_, state| stays_away(state, Some(Ending::Released))),
            Property::always(NO_ORPHANED_LOCK, |_, state| stays_away(state, None)),
            Property::always(NO_FOREIGN_RELEASE, |_, state: &State| {
                state.store.resources.iter().all(|resource| !resource.witness.taken_unasked)
            }),
            Property::always(TOKENS_GROW, |_, state: &State| {
                state.store.resources.iter().all(|resource| !resource.witness.token_fell)
            }),
            Property::sometimes(SERVICE_IS_POSSIBLE, |service: &Service, state: &State| {
                let mut clients = state.clients.iter().enumerate();
                clients.all(|(index, client)| {
                    let script = &service.config.clients[index].script;
                    !client.over && !client.dead && client.position >= script.len()
                })
            }),
        ];
        if self.config.prompt {
            properties.push(Property::eventually(EVERYBODY_IS_SERVED, |service: &Service, state: &State| {
                let mut clients = state.clients.iter().enumerate();
                clients.all(|(index, client)| client.is_done(&service.config, index))
            }));
        }
        properties
    }
}

fn exclusion(service: &Service, state: &State) -> bool {
    (0..service.config.resources).all(|resource| {
        let counts_on = |client: &Part<Client>| client.counts_on(&service.config, state.ticks, resource);
        let mut counted_on = state.clients.iter().filter_map(counts_on);
        while let Some(mode) = counted_on.next() {
            if !counted_on.clone().all(|other| mode.compatible(other)) {
                return false;
            }
        }
        true
    })
}

/// How a resource stands.
enum Truth<'a> {
    /// Its record says so.
    Stored(Resource),
    /// Its master does, from memory.
    Mastered(&'a Resource),
    /// Its master has a commit under way, or reads: so it stands after that, if that succeeds.
    Unsettled(&'a Resource),
    /// Its master is dead, and this is what was claimed so far.
    Claimed { claims: Resource, master: MemberId },
}

impl Truth<'_> {
    fn of(state: &State, resource: usize) -> Truth<'_> {
        let record = state.store.resources[resource].decoded();
        let Some(member) = record.master().map(|master| master.member) else { return Truth::Stored(record) };
        let master = &state.servers[server_of(member)];
        if master.gone {
            let claims = record.recovered();
            return claims.map_or(Truth::Stored(record), |claims| Truth::Claimed { claims, master: member });
        }
        // One that does not know yet that it is the master has answered nothing from memory.
        let coordinator = &master.slots[resource].coordinator;
        match coordinator.mastered() {
            Some(mastered) if coordinator.settled().is_some() => Truth::Mastered(mastered),
            Some(mastered) => Truth::Unsettled(mastered),
            None => Truth::Stored(record),
        }
    }

    fn resource(&self) -> &Resource {
        match self {
            Truth::Stored(resource) | Truth::Claimed { claims: resource, .. } => resource,
            Truth::Mastered(resource) | Truth::Unsettled(resource) => resource,
        }
    }

    /// Whether a client's locks may have to be claimed yet: its session is at home at the dead master, or on its way from
    /// there.
    fn is_to_be_claimed(&self, state: &State, client: usize) -> bool {
        let Truth::Claimed { master, .. } = self else { return false };
        let moving = state.store.moving[client].value.as_ref();
        state.store.sessions[client].value.owner == *master
            || moving.is_some_and(|former| former.contains(master))
    }
}

fn grants_stand(_: &Service, state: &State) -> bool {
    (0..state.store.resources.len()).all(|resource| {
        let truth = LazyCell::new(|| Truth::of(state, resource));
        state.clients.iter().enumerate().all(|(index, client)| {
            let Some(lock) = client.own.get(&resource).filter(|_| !client.over) else { return true };
            let Some((mode, token)) = lock.held.filter(|_| lock.goal != Some(Ask::Release)) else {
                return true;
            };
            if !state.store.sessions[index].value.is_active() {
                return true;
            }
            let key = lock_key(index, lock.id);
            let Some(holder) = truth.resource().holders().find(|holder| holder.key == key) else {
                return truth.is_to_be_claimed(state, index);
            };
            // A conversion under way may be done, and not be told yet.
            lock.goal.is_some() || (holder.mode == mode && holder.token == token)
        })
    })
}

/// Whether no lock is in the record that its client was told, in this way or in any, it does not have.
fn stays_away(state: &State, ending: Option<Ending>) -> bool {
    (0..state.store.resources.len()).all(|resource| {
        let truth = LazyCell::new(|| Truth::of(state, resource));
        state.clients.iter().enumerate().all(|(index, client)| {
            if client.ended.is_empty() || !state.store.sessions[index].value.is_active() {
                return true;
            }
            let told = client.ended.iter().filter(|(_, known)| ending.is_none_or(|ending| ending == **known));
            let is_gone = |lock| truth.resource().lock(lock_key(index, lock)).is_none();
            // A commit under way may yet be refused.
            told.into_iter().all(|(lock, _)| is_gone(*lock) || matches!(*truth, Truth::Unsettled(_)))
        })
    })
}
