//! Inputs to resources, and what they set in motion: reads and commits.
//!
//! [`Shared::feed`] takes inputs, lets the resources' coordinators decide, tells the sessions, and starts the reads
//! and commits that follow; their results are inputs again. A store that answers at once (the one in memory) is asked
//! in place, within the resource's step; what has to wait goes to the driver's task.

use crate::error::RequestError;
use crate::keys;
use crate::shard::{Input, Slot};
use crate::shared::{Counters, Shared};
use crate::ticket::Ticket;
use dlock_core::coordinator::{
    self, Action, Commit, CommitResult, Content, Loaded, SessionGuard, is_recalled,
};
use dlock_core::resource::{Command, Outcome, Refusal};
use dlock_core::{ResourceId, SessionId};
use dlock_store::{AtOnce, Change, Guard, Key, Record, StoreError, Verdict, Version, Write};
use foldhash::HashMap;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use indexmap::IndexSet;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::mpsc;

// What the coordinators put into one commit, a store must take.
const _: () = assert!(coordinator::GUARDS_MAX <= dlock_store::GUARDS_MAX);

/// Inputs to come.
pub(crate) type IoFuture = BoxFuture<'static, Vec<(ResourceId, Input)>>;

/// What the coordinators want done with the store.
#[derive(Default)]
pub(crate) struct Effects {
    loads: Vec<ResourceId>,
    commits: Vec<(ResourceId, Commit)>,
    /// Checks of sessions that may have ended unnoticed, and other work that ends in inputs.
    pub(crate) others: Vec<IoFuture>,
    /// Room for those of a step.
    actions: Vec<Action<Ticket>>,
    /// Whether this server may commit, once that was asked.
    may_act: Option<Result<(), String>>,
    /// The period of its lease, once that was asked.
    period: Option<Option<u64>>,
    session_keys: SessionKeys,
}

/// The key of the session that was asked for last: many commits in a row are guarded by the same one.
#[derive(Default)]
struct SessionKeys(Option<(SessionId, Key)>);

impl SessionKeys {
    fn of(&mut self, session: SessionId) -> Key {
        match &self.0 {
            Some((known, key)) if *known == session => key.clone(),
            _ => {
                let key = keys::session(session);
                self.0 = Some((session, key.clone()));
                key
            }
        }
    }
}

impl Shared {
    /// Takes inputs and follows what they set in motion.
    pub(crate) fn feed(self: &Arc<Self>, mut inputs: Vec<(ResourceId, Input)>) {
        while !inputs.is_empty() {
            let mut effects = Effects::default();
            let mut inputs_left = inputs.drain(..);
            while let Some((resource, first)) = inputs_left.next() {
                let wanted = match &first {
                    Input::Submit { .. } | Input::TryAgain { .. } => true,
                    Input::Changed(Some(news)) => self.may_master() && is_recalled(news, self.member),
                    _ => false,
                };
                let mut shard = self.shards.of(&resource);
                shard.step(&resource, wanted, |slot| {
                    let next = || {
                        inputs_left.as_slice().first().filter(|(other, _)| *other == resource)?;
                        Some(inputs_left.next()?.1)
                    };
                    self.step(slot, &resource, first, next, &mut effects);
                });
            }
            drop(inputs_left);
            inputs = self.carry_out(effects);
        }
    }

    /// Has a resource carry out a command that no session sends, and waits for the answer.
    pub(crate) async fn call(
        self: &Arc<Self>,
        resource: &ResourceId,
        command: Command,
    ) -> Result<Outcome, RequestError> {
        let (ticket, answer) = Ticket::call();
        self.feed(vec![(resource.clone(), Input::Submit { ticket, command, guard: None })]);
        answer.await
    }

    /// Takes the inputs of a resource that came together, the first and the next ones. Its commands share a commit.
    fn step(
        self: &Arc<Self>,
        slot: &mut Slot,
        resource: &ResourceId,
        first: Input,
        mut next: impl FnMut() -> Option<Input>,
        effects: &mut Effects,
    ) {
        let rules = self.rules(resource, &mut effects.period);
        let mut actions = std::mem::take(&mut effects.actions);
        let (tick, coordinator) = (self.timers.tick(), &mut slot.coordinator);
        let mut inputs_left = Some(first);
        while let Some(input) = inputs_left {
            // A look at the record is no use of the resource.
            if !matches!(input, Input::Changed(None) | Input::Loaded(_)) {
                slot.used = tick;
            }
            match input {
                Input::Submit { ticket, command, guard } => {
                    coordinator.gather(ticket, command, guard, &rules);
                }
                Input::TryAgain { ticket, command } => {
                    if ticket.home.is_newest(ticket.request, ticket.lock) {
                        let guard = Some(ticket.home.guard());
                        coordinator.gather(Ticket::Request(ticket), command, guard, &rules);
                    } else {
                        // Behind what was asked of the lock since, a release above all, it would undo that: it stays
                        // refused.
                        ticket.home.failed(ticket.request, ticket.lock, Refusal::WouldBlock.into(), false);
                    }
                }
                Input::Loaded(result) => coordinator.loaded(result, &rules, &mut actions),
                Input::Committed(result) => coordinator.committed(result, &rules, &mut actions),
                Input::Changed(news) => coordinator.changed(news, &rules, &mut actions),
                Input::Recheck => coordinator.recheck(&rules, &mut actions),
                Input::Collect => {
                    coordinator.collect(&mut actions);
                }
                Input::GiveBack => coordinator.give_back(&rules, &mut actions),
                Input::MasterDead { mark, recovered } => {
                    coordinator.master_dead(mark, recovered, &rules, &mut actions);
                }
            }
            inputs_left = next();
        }
        coordinator.advance(&rules, &mut actions);
        self.count_from_memory(coordinator.is_master(), &actions);
        let mut answered = None;
        loop {
            for action in actions.drain(..) {
                match (action, self.store.at_once()) {
                    (Action::Load, Some(store)) => {
                        let result = store.get(&keys::resource(resource));
                        answered = Some(Input::Loaded(result.map(loaded).map_err(reason)));
                    }
                    (Action::Load, None) => effects.loads.push(resource.clone()),
                    (Action::Commit(commit), Some(store)) => {
                        let result = self.commit_at_once(store, resource, commit, effects);
                        answered = Some(Input::Committed(result));
                    }
                    (Action::Commit(commit), None) => effects.commits.push((resource.clone(), commit)),
                    (told, _) => self.tell(resource, coordinator.latest(), told, effects),
                }
            }
            // A coordinator has one call of the store under way at most.
            match answered.take() {
                Some(Input::Loaded(result)) => coordinator.loaded(result, &rules, &mut actions),
                Some(Input::Committed(result)) => coordinator.committed(result, &rules, &mut actions),
                _ => break,
            }
        }
        effects.actions = actions;
    }

    fn count_from_memory(&self, is_master: bool, actions: &[Action<Ticket>]) {
        if is_master && !actions.iter().any(|action| matches!(action, Action::Commit(_))) {
            let answers = actions.iter().filter(|action| matches!(action, Action::Answer { .. }));
            Counters::add(&self.counters.from_memory, answers.count() as u64);
        }
    }

    fn commit_at_once(
        &self,
        store: &dyn AtOnce,
        resource: &ResourceId,
        commit: Commit,
        effects: &mut Effects,
    ) -> CommitResult {
        let may_act = effects.may_act.get_or_insert_with(|| self.check_may_act());
        if let Err(reason) = may_act {
            return CommitResult::NotApplied { reason: reason.clone() };
        }
        Counters::add(&self.counters.commits, 1);
        let guards = commit.guards.clone();
        let write = write(resource, commit, self.capabilities.guards, &mut effects.session_keys);
        self.result(&guards, store.commit(write))
    }

    /// Starts reads and commits; returns the inputs of those that were done at once.
    fn carry_out(self: &Arc<Self>, effects: Effects) -> Vec<(ResourceId, Input)> {
        let mut inputs = Vec::new();
        for resource in effects.loads {
            let shared = Arc::clone(self);
            self.start(Box::pin(async move { vec![shared.load(resource).await] }), &mut inputs);
        }
        if !effects.commits.is_empty() {
            match effects.may_act.unwrap_or_else(|| self.check_may_act()) {
                Ok(()) => {
                    let shared = Arc::clone(self);
                    let commits = effects.commits;
                    self.start(Box::pin(async move { shared.commit(commits).await }), &mut inputs);
                }
                Err(reason) => {
                    let refused = CommitResult::NotApplied { reason };
                    let refuse = |(resource, _)| (resource, Input::Committed(refused.clone()));
                    inputs.extend(effects.commits.into_iter().map(refuse));
                }
            }
        }
        for other in effects.others {
            self.start(other, &mut inputs);
        }
        inputs
    }

    /// Polls once, and leaves to the driver what isn't done then.
    fn start(&self, mut future: IoFuture, inputs: &mut Vec<(ResourceId, Input)>) {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => inputs.extend(done),
            Poll::Pending => self.spawn_io(future),
        }
    }

    /// Leaves a future to the driver; its inputs are fed when it is done.
    pub(crate) fn spawn_io(&self, future: IoFuture) {
        if self.io.send(future).is_err() {
            tracing::debug!("the engine has stopped: a store call is dropped");
        }
    }

    async fn load(&self, resource: ResourceId) -> (ResourceId, Input) {
        let key = keys::resource(&resource);
        let result = self.within(self.store.get(&key)).await.unwrap_or_else(|| Err(self.timed_out()));
        (resource, Input::Loaded(result.map(loaded).map_err(reason)))
    }

    async fn commit(&self, commits: Vec<(ResourceId, Commit)>) -> Vec<(ResourceId, Input)> {
        Counters::add(&self.counters.commits, commits.len() as u64);
        if self.capabilities.guards {
            return self.write(commits).await;
        }
        // The store can't guard: the resources have been read, now the sessions are, and then the writes are tried.
        let refused = self.verify_guards(&commits).await;
        let (mut checked, mut inputs) = (Vec::new(), Vec::new());
        for (resource, commit) in commits {
            match commit.guards.iter().find_map(|guard| refused.get(guard)) {
                None => checked.push((resource, commit)),
                Some(result) => inputs.push((resource, Input::Committed(result.clone()))),
            }
        }
        if !checked.is_empty() {
            inputs.extend(self.write(checked).await);
        }
        inputs
    }

    /// Reads each session that the commits are guarded by, once and all at a time; returns those that are not as they
    /// were, with what comes of their commits.
    async fn verify_guards(&self, commits: &[(ResourceId, Commit)]) -> HashMap<SessionGuard, CommitResult> {
        let guards: IndexSet<SessionGuard> =
            commits.iter().flat_map(|(_, commit)| commit.guards.iter().copied()).collect();
        let looks = guards.into_iter().map(async |guard| Some((guard, self.verify(guard).await.err()?)));
        join_all(looks).await.into_iter().flatten().collect()
    }

    async fn verify(&self, guard: SessionGuard) -> Result<(), CommitResult> {
        match self.within(self.store.get(&keys::session(guard.session))).await {
            Some(Ok(record)) if record.version == Version(guard.version) => Ok(()),
            Some(Ok(_)) => Err(CommitResult::SessionRefused(guard)),
            Some(Err(error)) => Err(CommitResult::NotApplied { reason: error.to_string() }),
            None => Err(CommitResult::NotApplied { reason: self.timed_out().to_string() }),
        }
    }

    async fn write(&self, commits: Vec<(ResourceId, Commit)>) -> Vec<(ResourceId, Input)> {
        let (mut session_keys, mut writes) = (SessionKeys::default(), Vec::with_capacity(commits.len()));
        let mut guards = Vec::with_capacity(commits.len());
        for (resource, commit) in commits {
            guards.push((resource.clone(), commit.guards.clone()));
            writes.push(write(&resource, commit, self.capabilities.guards, &mut session_keys));
        }
        let answers = match self.within(self.store.commit(writes)).await {
            Some(answers) => answers,
            None => {
                let reason = self.timed_out().to_string();
                vec![Err(StoreError::Ambiguous { reason }); guards.len()]
            }
        };
        debug_assert_eq!(answers.len(), guards.len(), "a store answers each write");
        let results = guards.into_iter().zip(answers);
        results
            .map(|((resource, guards), answer)| (resource, Input::Committed(self.result(&guards, answer))))
            .collect()
    }

    fn result(&self, guards: &[SessionGuard], answer: Result<Verdict, StoreError>) -> CommitResult {
        match answer {
            Ok(Verdict::Committed { version }) => CommitResult::Committed { version: version.0 },
            Ok(Verdict::Conflict { current }) => {
                Counters::add(&self.counters.conflicts, 1);
                CommitResult::Conflict { current: current.map(loaded) }
            }
            Ok(Verdict::GuardFailed { key }) => {
                let guard = guards.iter().find(|guard| keys::session(guard.session) == key);
                match guard {
                    Some(guard) => CommitResult::SessionRefused(*guard),
                    None => {
                        CommitResult::NotApplied { reason: format!("the store names a foreign guard {key}") }
                    }
                }
            }
            Err(StoreError::Ambiguous { reason }) => CommitResult::Ambiguous { reason },
            Err(
                error @ (StoreError::Unavailable { .. }
                | StoreError::Full { .. }
                | StoreError::Invalid { .. }),
            ) => CommitResult::NotApplied { reason: error.to_string() },
        }
    }

    /// Bounds a call of the store; `None` when its time is up.
    pub(crate) async fn within<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let mut call = std::pin::pin!(call);
        // Most calls of a store in memory are done at the first look, and need no timer.
        if let Poll::Ready(done) = futures::poll!(&mut call) {
            return Some(done);
        }
        tokio::select! {
            biased;
            done = call => Some(done),
            () = self.environment.clock.sleep(self.config.store_timeout) => None,
        }
    }

    pub(crate) fn timed_out(&self) -> StoreError {
        StoreError::Unavailable { reason: format!("no answer within {:?}", self.config.store_timeout) }
    }
}

/// Carries what could not be done at once, until the engine stops.
pub(crate) async fn drive(shared: Arc<Shared>, mut incoming: mpsc::UnboundedReceiver<IoFuture>) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            Some(future) = incoming.recv() => running.push(future),
            Some(inputs) = running.next(), if !running.is_empty() => shared.feed(inputs),
        }
    }
}

fn loaded(record: Record) -> Loaded {
    let content = match record.content {
        dlock_store::Content::Present(bytes) => Content::Present(bytes),
        dlock_store::Content::Absent { floor } => Content::Absent { floor },
    };
    Loaded { version: record.version.0, content }
}

/// The news that a watch brings.
pub(crate) fn news(record: Option<Record>) -> Input {
    Input::Changed(record.map(loaded))
}

fn reason(error: StoreError) -> String {
    error.to_string()
}

fn write(resource: &ResourceId, commit: Commit, guarded: bool, session_keys: &mut SessionKeys) -> Write {
    let guard =
        |guard: &SessionGuard| Guard { key: session_keys.of(guard.session), version: Version(guard.version) };
    Write {
        key: keys::resource(resource),
        expected: Version(commit.expected),
        change: match commit.change {
            coordinator::Change::Put(pieces) => Change::Put(pieces.into()),
            coordinator::Change::Delete { floor } => Change::Delete { floor },
        },
        guards: if guarded { commit.guards.iter().map(guard).collect() } else { Default::default() },
    }
}
