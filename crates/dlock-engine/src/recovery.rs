//! What dead servers mastered: put together from what their sessions' clients claim.
//!
//! A session that leaves a home which may have granted it locks from memory is first noted to be *moving*, then attached,
//! and then its claims are answered; when all are, it has arrived, and the note is deleted. So long as any session of the dead
//! server has not been attached elsewhere, and any is moving from there, there may be claims to come, and nothing that it
//! mastered is given to others. What it answered from memory, it answered to these sessions only.

use crate::directory::read_active;
use crate::engine::{Claim, ClaimState};
use crate::error::{RequestError, SessionError};
use crate::home::Home;
use crate::keys;
use crate::sessions::claim_state;
use crate::shard::Input;
use crate::shared::Shared;
use crate::ticket::{Answer, Ticket};
use crate::timers::RETRY;
use dlock_core::record::MovingRecord;
use dlock_core::resource::{self, Command};
use dlock_core::{MemberId, Mode, ResourceId, SessionId, Timestamp};
use dlock_store::{Change, Record, StoreError, Verdict, Version, Write};
use foldhash::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A resource that another server masters, while somebody here waits for it: the mark in its record, and that server.
pub(crate) type Mastered = (ResourceId, u64, MemberId);

/// The note that a session is moving, as it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moving(Version);

/// What became of a note that a session is moving.
pub(crate) enum Noted {
    /// It is written, or need not be.
    Done(Option<Moving>),
    /// It is to be tried again over this one, and over the session's record as it is read after it.
    Again(Record),
}

/// So long an attachment waits for the answers to its claims at most.
const PATIENCE_MAX: Duration = Duration::from_millis(500);

impl Shared {
    /// The resources that others master and somebody here waits for.
    pub(crate) fn mastered_elsewhere(&self) -> Vec<Mastered> {
        let mut mastered = Vec::new();
        for shard in self.shards.iter() {
            let shard = shard.lock();
            for resource in &shard.contended {
                let waits = shard.slots.get(resource).and_then(|slot| slot.coordinator.waits_for());
                mastered.extend(waits.map(|(member, mark)| (resource.clone(), mark, member)));
            }
        }
        mastered.sort_unstable(); // as in every run of a simulation
        mastered
    }

    /// Goes on with those whose masters the last look found dead. It must have been sent after they were `mastered`.
    pub(crate) async fn recover(self: &Arc<Self>, mastered: Vec<Mastered>) {
        if mastered.is_empty() || self.check_may_act().is_err() {
            return;
        }
        let mut recovered: HashMap<MemberId, bool> = HashMap::default();
        let mut inputs = Vec::new();
        for (resource, mark, member) in mastered {
            if !self.is_dead_master(member) {
                continue;
            }
            let recovered = match recovered.get(&member) {
                Some(known) => *known,
                None => {
                    let all = self.has_claimed_all(member).await.unwrap_or_else(|error| {
                        tracing::warn!(%member, %error, "it can't be told yet what a dead server had mastered");
                        false
                    });
                    recovered.insert(member, all);
                    all
                }
            };
            inputs.push((resource, Input::MasterDead { mark, recovered }));
        }
        self.feed(inputs);
    }

    pub(crate) fn is_dead_master(&self, member: MemberId) -> bool {
        if self.capabilities.exclusive {
            return true; // one that had this store before
        }
        let mut observer = self.observer.lock();
        // It may have been gone before this server came.
        observer.expect(member, self.now());
        observer.is_dead(member)
    }

    /// Whether no session is at home at a dead server, and none is on its way from there.
    async fn has_claimed_all(self: &Arc<Self>, dead: MemberId) -> Result<bool, StoreError> {
        if self.directory.lock().iter().any(|(_, foreign)| foreign.owner == dead) {
            return Ok(false); // to look at all of them each second would be a burden on the store
        }
        for (_, record) in self.list_all(keys::SESSIONS).await? {
            // One that can't be read may be one of its sessions.
            if read_active(&record).map_or(true, |active| active.is_some_and(|active| active.owner == dead)) {
                return Ok(false);
            }
        }
        for (key, record) in self.list_all(keys::MOVING).await? {
            let Some(session) = keys::parse_moving(&key) else { continue };
            let settled = match record.value().map(|bytes| MovingRecord::decode(bytes)) {
                Some(Ok(moving)) if moving.former.contains(&dead) => Some(moving.settled),
                Some(Err(_)) => None,
                _ => continue,
            };
            let session = self.get(&keys::session(session)).await?;
            let active = read_active(&session).map_or(true, |active| active.is_some());
            if active && settled != Some(session.version.0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The note that a session is moving, or the want of one.
    pub(crate) async fn read_moving(&self, session: SessionId) -> Result<Record, SessionError> {
        Ok(self.get(&keys::moving(session)).await?)
    }

    /// Notes that a session is about to move here, whose homes may have granted it locks from memory. To be done before it is
    /// attached over its record as it was `found`. The former note must have been read before that: whoever attaches the
    /// session after its record was read writes a note before that, and then this one is not written any more. (Found by
    /// simulation: it was written after the session had come and gone.)
    pub(crate) async fn note_moving(
        &self,
        session: SessionId,
        noted: Option<Record>,
        found: &Record,
    ) -> Result<Noted, SessionError> {
        let Some(noted) = noted else { return Ok(Noted::Again(self.read_moving(session).await?)) };
        let owner = read_active(found)?.map(|record| record.owner);
        let known = noted.value().map(|bytes| MovingRecord::decode(bytes)).transpose()?;
        let mut moving = known.unwrap_or_default();
        let elsewhere = owner.filter(|owner| *owner != self.member);
        if elsewhere.is_none() && moving.former.is_empty() {
            return Ok(Noted::Done(None)); // this very server has what it granted
        }
        moving.former.extend(elsewhere.filter(|owner| !moving.former.contains(owner)));
        // Written even if it says so already: whoever answers the claims of another attachment must not delete it.
        let change = Change::Put(moving.encode().into());
        let key = keys::moving(session);
        let write = Write { key, expected: noted.version, change, guards: Default::default() };
        match self.commit_one(write).await {
            Ok(Verdict::Committed { version }) => Ok(Noted::Done(Some(Moving(version)))),
            Ok(Verdict::Conflict { .. } | Verdict::GuardFailed { .. })
            | Err(StoreError::Ambiguous { .. }) => Ok(Noted::Again(self.read_moving(session).await?)),
            Err(error) => Err(error.into()),
        }
    }

    /// Claims what the client says that it holds, for as long as this attachment lasts or until all of it is answered; then
    /// the session is not moving any more. Returns what is answered in a short time since the attachment `began`: the client
    /// is to have its heartbeats acknowledged though the death of its former home has yet to be noticed.
    pub(crate) async fn claim_all(
        self: &Arc<Self>,
        home: &Arc<Home>,
        claims: Vec<Claim>,
        moving: Moving,
        began: Timestamp,
    ) -> Vec<ClaimState> {
        let deadline = began + (home.terms().ttl() / 10).min(PATIENCE_MAX);
        let (mut states, mut rest) = (Vec::with_capacity(claims.len()), Vec::new());
        for (claim, mut answer) in self.send_claims(home, claims, true) {
            let answered = tokio::select! {
                biased;
                answered = &mut answer => Some(answered),
                () = self.environment.clock.sleep_until(deadline) => None,
            };
            let (state, answer) = match answered {
                Some(answered) => (claim_state(answered), None),
                None => (being_asked_for(), Some(answer)),
            };
            home.claim_answered(claim.lock, &state);
            if matches!(state, ClaimState::Unknown(_)) && claim.token.is_some() {
                rest.push((claim, answer));
            }
            states.push(state);
        }
        let (shared, home) = (Arc::clone(self), Arc::clone(home));
        self.spawn_io(Box::pin(async move {
            if shared.claim_rest(&home, rest).await {
                shared.arrive(&home, moving).await;
            }
            Vec::new()
        }));
        states
    }

    /// Waits for the answers to what the client says that it holds, and asks again where there was none. False if this
    /// attachment is over before that.
    async fn claim_rest(self: &Arc<Self>, home: &Arc<Home>, mut rest: Vec<(Claim, Option<Answer>)>) -> bool {
        while !rest.is_empty() {
            let mut again = Vec::new();
            for (claim, answer) in rest {
                let answered = match answer {
                    Some(answer) => answer.await.is_ok(),
                    None => false,
                };
                if !answered {
                    again.push(claim);
                }
            }
            if !again.is_empty() {
                self.environment.clock.sleep(RETRY).await;
                if home.check_live().is_err() {
                    return false;
                }
            }
            let sent = self.send_claims(home, again, true);
            rest = sent.into_iter().map(|(claim, answer)| (claim, Some(answer))).collect();
        }
        true
    }

    /// The session's locks are all claimed: it is not moving any more.
    async fn arrive(&self, home: &Home, moving: Moving) {
        while home.check_live().is_ok() {
            match self.note_arrival(home, moving).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(session = %home.id, %error, "a session's arrival can't be noted yet");
                    self.environment.clock.sleep(RETRY).await;
                }
            }
        }
    }

    /// Deletes the note that the session is moving. If it was written for another attachment since, which may yet take effect
    /// or never, it stays and says that the session had arrived before. False if it has to be tried again.
    async fn note_arrival(&self, home: &Home, Moving(version): Moving) -> Result<bool, StoreError> {
        let key = keys::moving(home.id);
        if let Verdict::Committed { .. } = self.delete(key.clone(), version).await? {
            return Ok(true);
        }
        let noted = self.get(&key).await?;
        let Some(Ok(moving)) = noted.value().map(|bytes| MovingRecord::decode(bytes)) else {
            return Ok(true);
        };
        let arrived = MovingRecord { settled: home.version, ..moving };
        let change = Change::Put(arrived.encode().into());
        let write = Write { key, expected: noted.version, change, guards: Default::default() };
        Ok(matches!(self.commit_one(write).await?, Verdict::Committed { .. }))
    }

    /// Asks how the claimed locks stand; a client that is to be believed (`claims`) may know of what is held better than
    /// anybody.
    pub(crate) fn send_claims(
        self: &Arc<Self>,
        home: &Arc<Home>,
        claims: Vec<Claim>,
        believed: bool,
    ) -> Vec<(Claim, Answer)> {
        let (mut answers, mut inputs) = (Vec::with_capacity(claims.len()), Vec::with_capacity(claims.len()));
        let since_unix_ms = self.unix_ms();
        for claim in claims {
            let (ticket, answer) = Ticket::call();
            let key = home.key(claim.lock);
            let command = match claim.token.filter(|_| believed) {
                // Of one that does not say its mode, the strictest is assumed.
                Some(token) => Command::Claim(resource::Claim {
                    key,
                    mode: claim.mode.unwrap_or(Mode::Exclusive),
                    token,
                    since_unix_ms,
                }),
                None => Command::Query { key },
            };
            let input = Input::Submit { ticket, command, guard: Some(home.guard()) };
            inputs.push((claim.resource.clone(), input));
            answers.push((claim, answer));
        }
        self.feed(inputs);
        answers
    }
}

fn being_asked_for() -> ClaimState {
    let reason = "the server that knows of the lock has yet to be heard of".to_owned();
    ClaimState::Unknown(RequestError::StoreUnavailable { reason })
}
