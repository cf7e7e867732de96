//! From a coordinator's actions to the sessions that are at home here.

use crate::home::{Home, Waiting};
use crate::io::Effects;
use crate::request::Event;
use crate::shard::Input;
use crate::shared::{Counters, Shared};
use crate::ticket::{Kind, RequestTicket, Ticket};
use dlock_core::ResourceId;
use dlock_core::coordinator::{Action, Failure};
use dlock_core::resource::{Command, Grant, Outcome, Queued, Refusal, Resource};
use std::sync::Arc;

impl Shared {
    /// Carries out an action that concerns sessions. `latest` is how the resource stands.
    pub(crate) fn tell(
        self: &Arc<Self>,
        resource: &ResourceId,
        latest: Option<&Resource>,
        action: Action<Ticket>,
        effects: &mut Effects,
    ) {
        match action {
            Action::Load | Action::Commit(_) => debug_assert!(false, "the store's actions are not told"),
            Action::Answer { ticket, outcome } => self.answer(resource, latest, ticket, outcome, effects),
            Action::Fail { ticket, failure } => self.fail(resource, ticket, failure),
            Action::Promoted(grant) => {
                Counters::add(&self.counters.grants, 1);
                let Some(home) = self.home(grant.key.session) else { return };
                home.promoted(grant.clone());
                tell_blocking(&home, resource, latest, &grant);
            }
            Action::Vanished(key) => {
                let Some(home) = self.home(key.session) else { return };
                let events = home.vanished(key.lock);
                if !events.is_empty() {
                    effects.others.push(Box::pin(Arc::clone(self).tell_vanished(home, events)));
                }
            }
            Action::WentBack => self.suspect("a resource's last token is smaller than it was"),
            Action::Contention => self.tell_contention(resource, latest),
        }
    }

    fn answer(
        self: &Arc<Self>,
        resource: &ResourceId,
        latest: Option<&Resource>,
        ticket: Ticket,
        outcome: Outcome,
        effects: &mut Effects,
    ) {
        match ticket {
            Ticket::Request(ticket) => self.answer_request(resource, latest, ticket, outcome, effects),
            Ticket::Timeout { home, request, lock } => match outcome {
                Outcome::Granted(_) => home.timed_out(request, lock, true),
                _ => home.timed_out(request, lock, false),
            },
            Ticket::Purge => {}
            // Nobody waits any more: fine, the effect stands.
            Ticket::Call(reply) => drop(reply.send(Ok(outcome))),
        }
    }

    fn answer_request(
        self: &Arc<Self>,
        resource: &ResourceId,
        latest: Option<&Resource>,
        mut ticket: RequestTicket,
        outcome: Outcome,
        effects: &mut Effects,
    ) {
        let RequestTicket { request, lock, kind, .. } = ticket;
        match outcome {
            Outcome::Granted(grant) => match kind {
                Kind::Ask { .. } => {
                    Counters::add(&self.counters.grants, 1);
                    ticket.home.granted(request, grant.clone());
                    tell_blocking(&ticket.home, resource, latest, &grant);
                }
                Kind::Release | Kind::Cancel => ticket.home.ended_wait(request, grant),
                Kind::Query => ticket.home.looked_up(request, grant),
            },
            Outcome::Queued(place) => {
                self.wait(resource, &ticket, place);
                if place.ahead == 0 {
                    self.verify_sessions(resource, latest, None, effects);
                }
            }
            Outcome::Released | Outcome::Cancelled => {
                Counters::add(&self.counters.releases, 1);
                ticket.home.ended_lock(request, lock, kind == Kind::Cancel);
            }
            Outcome::Purged => debug_assert!(false, "no session asks for a purge"),
            Outcome::Refused(Refusal::WouldBlock) if ticket.unverified.is_some() => {
                let command = ticket.unverified.take();
                self.verify_sessions(resource, latest, command.map(|command| (ticket, *command)), effects);
            }
            Outcome::Refused(refusal) => {
                let nothing_there = match kind {
                    Kind::Ask { converts, .. } => !converts || refusal == Refusal::NotFound,
                    Kind::Release | Kind::Cancel | Kind::Query => refusal == Refusal::NotFound,
                };
                ticket.home.failed(request, lock, refusal.into(), nothing_there);
            }
        }
    }

    fn wait(&self, resource: &ResourceId, ticket: &RequestTicket, place: Queued) {
        let Kind::Ask { deadline, report_position, .. } = ticket.kind else {
            return ticket.home.looked_up_waiting(ticket.request, place);
        };
        let waiting = Waiting { request: ticket.request, report_position, told_ahead: place.ahead };
        ticket.home.queued(waiting, place);
        if let Some(deadline) = deadline {
            self.timers.wait_until(deadline, &ticket.home, ticket.request, ticket.lock, resource);
        }
    }

    fn fail(self: &Arc<Self>, resource: &ResourceId, ticket: Ticket, failure: Failure) {
        match ticket {
            Ticket::Request(ticket) => {
                if failure == Failure::SessionRefused {
                    self.look_after(Arc::clone(&ticket.home));
                }
                // The lock stays noted: the record may have it, and the session's end must find it there.
                ticket.home.failed(ticket.request, ticket.lock, failure.into(), false);
            }
            Ticket::Timeout { home, request, lock } => {
                if failure != Failure::SessionRefused {
                    let again = self.now() + crate::timers::RETRY;
                    self.timers.wait_until(again, &home, request, lock, resource);
                }
            }
            // What is not purged now is met by those who wait for it, or by the sweeper.
            Ticket::Purge => tracing::debug!(%resource, ?failure, "a purge is left to the sweeper"),
            Ticket::Call(reply) => drop(reply.send(Err(failure))),
        }
    }

    /// Tells that a lock or a place in the queue was taken away, unless its session has ended or moved: others may have
    /// forgotten the locks of a session whose end its home has yet to hear of.
    async fn tell_vanished(self: Arc<Self>, home: Arc<Home>, events: Vec<Event>) -> Vec<(ResourceId, Input)> {
        self.look_after_now(Arc::clone(&home)).await;
        home.tell(events);
        Vec::new()
    }

    /// Tells holders at home here that they block somebody, or forgets that they did.
    fn tell_contention(&self, id: &ResourceId, latest: Option<&Resource>) {
        let Some(resource) = latest else { return };
        for holder in resource.holders() {
            if let Some(home) = self.home(holder.key.session) {
                home.blocks(holder.key.lock, id, resource.blocks(holder.key));
            }
        }
    }

    /// Looks whether sessions that stand in the way, and are not at home here, have ended unnoticed; purges those
    /// that have, and then sends `again`, if it is given.
    fn verify_sessions(
        self: &Arc<Self>,
        resource: &ResourceId,
        latest: Option<&Resource>,
        again: Option<(RequestTicket, Command)>,
        effects: &mut Effects,
    ) {
        let mut foreign = match latest {
            Some(latest) => self.foreign_sessions(latest),
            None => Vec::new(),
        };
        foreign.dedup();
        let again = again.map(|(ticket, command)| Input::TryAgain { ticket, command });
        if foreign.is_empty() {
            if let Some(again) = again {
                let resource = resource.clone();
                effects.others.push(Box::pin(std::future::ready(vec![(resource, again)])));
            }
            return;
        }
        let (shared, resource) = (Arc::clone(self), resource.clone());
        effects.others.push(Box::pin(async move {
            let ended = shared.find_ended(foreign).await;
            let purge = (!ended.is_empty()).then(|| purge(ended));
            purge.into_iter().chain(again).map(|input| (resource.clone(), input)).collect()
        }));
    }
}

/// An input that forgets ended sessions.
pub(crate) fn purge(sessions: Vec<dlock_core::SessionId>) -> Input {
    Input::Submit { ticket: Ticket::Purge, command: Command::Purge { sessions }, guard: None }
}

/// A lock that is granted while others wait may block them from its first moment.
fn tell_blocking(home: &Home, id: &ResourceId, latest: Option<&Resource>, grant: &Grant) {
    if let Some(resource) = latest
        && !resource.queued_modes().is_empty()
    {
        home.blocks(grant.key.lock, id, resource.blocks(grant.key));
    }
}
