//! Sessions at home here: opened, attached, kept alive, ended. Each of these is one compare-and-swap on the
//! session's record, whatever the number of its locks.

use crate::directory::read_active;
use crate::engine::{AttachSession, Claim, ClaimState, OpenSession, Secret};
use crate::error::{RequestError, SessionError};
use crate::home::{Home, LocalLock, Standing, Waiting};
use crate::keys;
use crate::recovery::Noted;
use crate::request::EventSink;
use crate::shared::{Counters, Shared};
use crate::tell::purge;
use dlock_core::lease::HomeLease;
use dlock_core::resource::Outcome;
use dlock_core::session::{EndReason, SessionRecord, SessionState};
use dlock_core::{Epoch, LockId, SessionId, Timestamp};
use dlock_store::{Change, Record, StoreError, Verdict, Version, Write};
use foldhash::HashMap;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use subtle::ConstantTimeEq;

/// How often an ambiguous or conflicting write of a session's record is decided anew.
const ATTEMPTS_MAX: u32 = 5;

/// What became of a session's write.
enum Written {
    /// The record is as intended, at this version.
    Done(Version),
    /// Somebody else wrote it: this is how it stands.
    Other(Record),
}

fn hash(secret: &Secret) -> [u8; 32] {
    Sha256::digest(secret.0).into()
}

fn unavailable(error: StoreError) -> SessionError {
    SessionError::StoreUnavailable { reason: error.to_string() }
}

impl Shared {
    fn check_open(&self) -> Result<(), SessionError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(SessionError::Draining);
        }
        let limit = self.config.sessions_max;
        if self.homes.read().len() >= limit {
            return Err(SessionError::TooManySessions { limit });
        }
        self.check_may_act().map_err(|reason| SessionError::Fenced { reason })
    }

    pub(crate) async fn open_session(
        self: &Arc<Self>,
        open: OpenSession,
        sink: Arc<dyn EventSink>,
    ) -> Result<(Arc<Home>, Secret), SessionError> {
        self.check_open()?;
        self.note_terms(open.terms).await?;
        let entropy = &self.environment.entropy;
        let id = SessionId(entropy.next_u128());
        let secret = Secret(entropy.next_u128().to_be_bytes());
        let record = SessionRecord {
            owner: self.member,
            epoch: Epoch(1),
            attempt: 0,
            terms: open.terms,
            principal: open.principal,
            secret_hash: hash(&secret),
            state: SessionState::Active,
            client: open.client,
            opened_unix_ms: self.unix_ms(),
            mastered: self.may_master(),
        };
        let absent = self.read_session(id).await?;
        match self.write_session(id, absent.version, Change::Put(record.encode().into())).await? {
            Written::Done(version) => {
                // However long that took: it holds nothing that others could have taken.
                let home = self.settle_in(id, record, version, sink, HashMap::default(), self.now());
                home.map(|home| (home, secret)).ok_or(SessionError::Moved)
            }
            // 128 random bits are not drawn twice; whoever holds this id, it is not ours to take.
            Written::Other(_) => Err(SessionError::Moved),
        }
    }

    pub(crate) async fn attach_session(
        self: &Arc<Self>,
        attach: AttachSession,
        sink: Arc<dyn EventSink>,
    ) -> Result<(Arc<Home>, Vec<ClaimState>), SessionError> {
        self.check_open()?;
        let (id, began) = (attach.session, self.now());
        let mut noted = if self.may_master() { Some(self.read_moving(id).await?) } else { None };
        let mut found = self.read_session(id).await?;
        for _ in 0..ATTEMPTS_MAX {
            let mut next = attachable(&found, &attach.secret)?.attach(self.member, attach.attempt)?;
            let mut moving = None;
            if next.mastered {
                self.peers_master.store(true, Ordering::Relaxed);
                match self.note_moving(id, noted.take(), &found).await? {
                    Noted::Done(noted) => moving = noted,
                    Noted::Again(newer) => {
                        noted = Some(newer);
                        found = self.read_session(id).await?;
                        continue;
                    }
                }
            }
            next.mastered |= self.may_master();
            let sent = self.now();
            match self.write_session(id, found.version, Change::Put(next.encode().into())).await? {
                Written::Done(version) => {
                    let locks = self.home(id).map(|old| old.hand_over()).unwrap_or_default();
                    let locks = with_claims(locks, &attach.claims);
                    let Some(home) = self.settle_in(id, next, version, Arc::clone(&sink), locks, sent) else {
                        found = self.read_session(id).await?;
                        continue;
                    };
                    let states = match moving {
                        Some(moving) => self.claim_all(&home, attach.claims, moving, began).await,
                        None => self.answer_claims(&home, attach.claims).await,
                    };
                    return Ok((home, states));
                }
                Written::Other(current) => found = current, // somebody attached, or ended it: look again
            }
        }
        Err(SessionError::StoreUnavailable { reason: "the session's record keeps changing".to_owned() })
    }

    /// Makes this server the session's home in memory, after the store has said so to a write that was sent at `sent`.
    /// `None` if that was so long ago that the session must be attached once more.
    fn settle_in(
        self: &Arc<Self>,
        id: SessionId,
        record: SessionRecord,
        version: Version,
        sink: Arc<dyn EventSink>,
        locks: HashMap<LockId, LocalLock>,
        sent: Timestamp,
    ) -> Option<Arc<Home>> {
        let mut homes = self.homes.write();
        // With the homes locked: a lapse that ends from now on gives this one up with the others.
        let now = self.now();
        if !HomeLease::may_begin(record.terms, sent, now) {
            return None;
        }
        let home = Arc::new(Home::new(id, record, version.0, sink, locks, now));
        let older = homes.get(&id).is_none_or(|known| known.version < home.version);
        let replaced = if older { homes.insert(id, Arc::clone(&home)) } else { None };
        drop(homes);
        self.directory.lock().forget(id);
        if let Some(replaced) = replaced {
            replaced.finish(Standing::Moved);
        }
        if !older {
            home.finish(Standing::Moved); // a later attachment was quicker to come here
        }
        self.timers.watch_session(&home);
        // News of its end that came before it was at home here were not for it.
        self.look_after(Arc::clone(&home));
        Some(home)
    }

    async fn answer_claims(self: &Arc<Self>, home: &Arc<Home>, claims: Vec<Claim>) -> Vec<ClaimState> {
        let mut states = Vec::with_capacity(claims.len());
        for (claim, answer) in self.send_claims(home, claims, false) {
            let state = claim_state(answer.await);
            home.claim_answered(claim.lock, &state);
            states.push(state);
        }
        states
    }

    /// Ends a session that is at home here, as its client asks.
    pub(crate) async fn close_session(self: &Arc<Self>, home: &Arc<Home>) -> Result<(), SessionError> {
        home.check_live()?;
        self.end_session(home.id, EndReason::Closed).await
    }

    /// Ends any session.
    pub(crate) async fn end_session(
        self: &Arc<Self>,
        id: SessionId,
        reason: EndReason,
    ) -> Result<(), SessionError> {
        self.check_may_act().map_err(|reason| SessionError::Fenced { reason })?;
        let mut found = self.read_session(id).await?;
        for _ in 0..ATTEMPTS_MAX {
            let Some(record) = decode(&found)? else { return Err(SessionError::NotFound) };
            let ended = record.end(reason).map_err(|ended| SessionError::Ended(ended.reason))?;
            // Who closed a session knows why it is over; of the others, their records tell for a while.
            let change = match reason {
                EndReason::Closed => Change::Delete { floor: 0 },
                EndReason::Expired | EndReason::Revoked => Change::Put(ended.encode().into()),
            };
            match self.write_session(id, found.version, change).await? {
                Written::Done(_) => {
                    self.session_ended(id, reason);
                    return Ok(());
                }
                Written::Other(current) => found = current,
            }
        }
        Err(SessionError::StoreUnavailable { reason: "the session's record keeps changing".to_owned() })
    }

    /// Ends the sessions of clients that were silent for too long, each bound to the epoch that was silent.
    pub(crate) fn expire(self: &Arc<Self>, homes: Vec<Arc<Home>>) {
        for home in homes {
            let shared = Arc::clone(self);
            self.spawn_io(Box::pin(async move {
                shared.expire_one(home).await;
                Vec::new()
            }));
        }
    }

    async fn expire_one(self: &Arc<Self>, home: Arc<Home>) {
        let Ok(ended) = home.record.end(EndReason::Expired) else { return };
        let mut wait = crate::timers::RETRY;
        loop {
            if self.check_may_act().is_ok() {
                match self
                    .write_session(home.id, Version(home.version), Change::Put(ended.encode().into()))
                    .await
                {
                    Ok(Written::Done(_)) => {
                        tracing::info!(session = %home.id, "a session has expired: its client was silent");
                        Counters::add(&self.counters.expired, 1);
                        return self.session_ended(home.id, EndReason::Expired);
                    }
                    Ok(Written::Other(_)) => return self.look_after_now(home).await,
                    Err(error) => {
                        tracing::warn!(session = %home.id, %error, "a session could not be expired yet")
                    }
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.environment.clock.sleep(wait) => {}
            }
            wait = (wait * 2).min(crate::timers::RETRY * 8);
        }
    }

    /// A session's record says that it has ended: so do its home, and its locks.
    pub(crate) fn session_ended(self: &Arc<Self>, id: SessionId, reason: EndReason) {
        self.directory.lock().forget(id);
        let home = self.homes.write().remove(&id);
        let mut resources = self.contended_with(id);
        if let Some(home) = home {
            home.finish(Standing::Ended(reason));
            resources.extend(home.resources());
        }
        resources.sort_unstable();
        resources.dedup();
        self.feed(resources.into_iter().map(|resource| (resource, purge(vec![id]))).collect());
    }

    /// Resources here with somebody waiting, on which the session has anything.
    fn contended_with(&self, id: SessionId) -> Vec<dlock_core::ResourceId> {
        let mut found = Vec::new();
        for shard in self.shards.iter() {
            let shard = shard.lock();
            let has = |resource: &&dlock_core::ResourceId| {
                let latest = shard.slots.get(*resource).and_then(|slot| slot.coordinator.latest());
                latest.is_some_and(|latest| latest.sessions().any(|session| session == id))
            };
            found.extend(shard.contended.iter().filter(has).cloned());
        }
        found
    }

    /// A commit was refused because of the session's record: finds out what became of it.
    pub(crate) fn look_after(self: &Arc<Self>, home: Arc<Home>) {
        let shared = Arc::clone(self);
        self.spawn_io(Box::pin(async move {
            shared.look_after_now(home).await;
            Vec::new()
        }));
    }

    pub(crate) async fn look_after_now(self: &Arc<Self>, home: Arc<Home>) {
        let found = match self.read_session(home.id).await {
            Ok(found) => found,
            Err(error) => {
                return tracing::debug!(session = %home.id, %error, "a session could not be looked up");
            }
        };
        match decode(&found) {
            // Nothing can be committed for this attachment any more. Also if this server has written that: the attachment
            // may be on its way here, or be one that took effect in the store and of which this server was told that it failed.
            Ok(Some(record)) if record.is_active() && found.version.0 > home.version => {
                self.detach(&home, found.version.0, &record);
            }
            _ => self.session_seen(home.id, &found),
        }
    }

    /// A session's record, read or announced: acts on what it says of a session at home here, and notes others.
    pub(crate) fn session_seen(self: &Arc<Self>, id: SessionId, found: &Record) {
        let reason = match decode(found) {
            Ok(Some(SessionRecord { state: SessionState::Ended(reason), .. })) => reason,
            Ok(Some(record)) => return self.active_session_seen(id, found.version.0, &record),
            Ok(None) => EndReason::Expired,
            Err(error) => return tracing::error!(session = %id, %error, "a session's record can't be read"),
        };
        // An old announcement can say "absent" of a session only before it was opened, and ids are new.
        let newer = self.home(id).is_none_or(|home| found.version.0 > home.version);
        if newer {
            self.session_ended(id, reason);
        }
    }

    fn active_session_seen(&self, id: SessionId, version: u64, record: &SessionRecord) {
        // One of this server's own that is not at home here may never be: an attachment that took effect in the store, and
        // of which this server was told that it failed. If nobody attaches it in time, it ends as an orphan does.
        let Some(home) = self.note_unless_home(id, version, record) else { return };
        if version > home.version && record.owner != self.member {
            self.detach(&home, version, record);
        }
    }

    /// Serves an attachment no longer: its session goes on elsewhere, or is attached anew.
    pub(crate) fn detach(&self, home: &Arc<Home>, version: u64, record: &SessionRecord) {
        let mut homes = self.homes.write();
        if homes.get(&home.id).is_some_and(|known| Arc::ptr_eq(known, home)) {
            homes.remove(&home.id);
        }
        drop(homes);
        home.finish(Standing::Moved);
        self.note_unless_home(home.id, version, record);
    }

    pub(crate) async fn read_session(&self, id: SessionId) -> Result<Record, SessionError> {
        let answer = self.within(self.store.get(&keys::session(id))).await;
        answer.unwrap_or_else(|| Err(self.timed_out())).map_err(unavailable)
    }

    /// Writes a session's record over `expected`, deciding ambiguous outcomes by reading.
    async fn write_session(
        &self,
        id: SessionId,
        expected: Version,
        change: Change,
    ) -> Result<Written, SessionError> {
        for _ in 0..ATTEMPTS_MAX {
            let key = keys::session(id);
            let write = Write { key, expected, change: change.clone(), guards: Default::default() };
            match self.commit_one(write).await {
                Ok(Verdict::Committed { version }) => return Ok(Written::Done(version)),
                Ok(Verdict::Conflict { current: Some(current) }) => {
                    return Ok(other_or_own(current, &change));
                }
                Ok(Verdict::Conflict { current: None }) => {
                    return Ok(other_or_own(self.read_session(id).await?, &change));
                }
                Ok(Verdict::GuardFailed { .. }) => debug_assert!(false, "there was no guard"),
                Err(StoreError::Ambiguous { .. }) => {
                    let found = self.read_session(id).await?;
                    if found.version != expected {
                        return Ok(other_or_own(found, &change));
                    }
                }
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(SessionError::StoreUnavailable { reason: "the outcome of a write is still not known".to_owned() })
    }

    /// One write outside the resources.
    pub(crate) async fn commit_one(&self, write: Write) -> Result<Verdict, StoreError> {
        let answer = self.within(self.store.commit(vec![write])).await;
        let ambiguous = || StoreError::Ambiguous { reason: self.timed_out().to_string() };
        answer.and_then(|mut answers| answers.pop()).unwrap_or_else(|| Err(ambiguous()))
    }
}

/// The record as somebody else wrote it, or as an earlier try of ours did.
///
/// An earlier try is known by its bytes: an attachment's name its member, epoch and attempt, an end's its reason, and in
/// both cases it does not matter who of those that wrote the very same has done it.
fn other_or_own(found: Record, intended: &Change) -> Written {
    let own = match (intended, found.value()) {
        (Change::Put(intended), Some(bytes)) => intended == bytes,
        (Change::Delete { .. }, None) => true,
        _ => false,
    };
    if own { Written::Done(found.version) } else { Written::Other(found) }
}

fn decode(found: &Record) -> Result<Option<SessionRecord>, SessionError> {
    Ok(found.value().map(|bytes| SessionRecord::decode(bytes)).transpose()?)
}

/// The session's record, if this secret may attach it.
fn attachable(found: &Record, secret: &Secret) -> Result<SessionRecord, SessionError> {
    let Some(record) = decode(found)? else { return Err(SessionError::NotFound) };
    if !bool::from(record.secret_hash.ct_eq(&hash(secret))) {
        return Err(SessionError::WrongSecret);
    }
    match record.state {
        SessionState::Active => {
            debug_assert!(matches!(read_active(found), Ok(Some(_))));
            Ok(record)
        }
        SessionState::Ended(reason) => Err(SessionError::Ended(reason)),
    }
}

/// Whether the secret is that of a session at home here.
pub(crate) fn check_secret(home: &Home, secret: &Secret) -> Result<(), SessionError> {
    let same = bool::from(home.record.secret_hash.ct_eq(&hash(secret)));
    if same { Ok(()) } else { Err(SessionError::WrongSecret) }
}

fn with_claims(mut locks: HashMap<LockId, LocalLock>, claims: &[Claim]) -> HashMap<LockId, LocalLock> {
    for claim in claims {
        let lock = locks.entry(claim.lock).or_insert_with(|| LocalLock::new(claim.resource.clone()));
        lock.waiting = claim
            .waiting
            .map(|request| Box::new(Waiting { request, report_position: false, told_ahead: u32::MAX }));
    }
    locks
}

pub(crate) fn claim_state(answer: Result<Outcome, RequestError>) -> ClaimState {
    match answer {
        Ok(Outcome::Granted(grant)) => ClaimState::Granted(grant),
        Ok(Outcome::Queued(place)) => ClaimState::Queued(place),
        Ok(Outcome::Released | Outcome::Cancelled | Outcome::Purged | Outcome::Refused(_)) => {
            ClaimState::Absent
        }
        Err(error) => ClaimState::Unknown(error),
    }
}
