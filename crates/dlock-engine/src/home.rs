//! A session at home here: one attachment of it, with what its client has asked and been told.

use crate::config::EngineConfig;
use crate::engine::ClaimState;
use crate::error::{RequestError, SessionError};
use crate::request::{Event, EventSink, Request, RequestId, ResourceOf};
use dlock_core::coordinator::SessionGuard;
use dlock_core::lease::{HomeLease, LeaseTerms};
use dlock_core::resource::{Grant, Queued, Refusal};
use dlock_core::session::{EndReason, SessionRecord};
use dlock_core::{Epoch, LockId, LockKey, Mode, ResourceId, SessionId, Timestamp};
use foldhash::HashMap;
use parking_lot::Mutex;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How an attachment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The client is served.
    Live,
    /// The client was silent for too long; its end is on the way to the store, and nothing is acknowledged any more.
    Expiring,
    /// The session has ended.
    Ended(EndReason),
    /// Another attachment has taken over.
    Moved,
}

/// A request that waits for its grant.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) request: RequestId,
    pub(crate) report_position: bool,
    /// The place last told.
    pub(crate) told_ahead: u32,
}

/// One of the session's locks, as far as this server has heard of it. A session may have a million of them.
#[derive(Clone, Debug)]
pub(crate) struct LocalLock {
    pub(crate) resource: ResourceId,
    /// It is known to be held.
    pub(crate) granted: bool,
    /// An acquire or a conversion that waits.
    pub(crate) waiting: Option<Box<Waiting>>,
    /// The newest request for it that came here.
    pub(crate) newest: Option<RequestId>,
    /// The mode named by the last blocking notification of this episode.
    pub(crate) blocking_told: Option<Mode>,
}

impl LocalLock {
    pub(crate) fn new(resource: ResourceId) -> LocalLock {
        LocalLock { resource, granted: false, waiting: None, newest: None, blocking_told: None }
    }
}

/// A client can claim so many locks at once, whatever their names, when its session comes to another home. One with more has
/// each of its locks in the store.
const CLAIMS_MAX: usize = 1000;

struct Inner {
    standing: Standing,
    lease: HomeLease,
    locks: HashMap<LockId, LocalLock>,
    in_flight: usize,
}

impl Inner {
    fn check_live(&self) -> Result<(), SessionError> {
        match self.standing {
            Standing::Live => Ok(()),
            // Not "ended": until that is in the store, another attachment may be quicker, and the session live on.
            Standing::Expiring => Err(SessionError::Moved),
            Standing::Ended(reason) => Err(SessionError::Ended(reason)),
            Standing::Moved => Err(SessionError::Moved),
        }
    }
}

/// One attachment of a session.
pub(crate) struct Home {
    pub(crate) id: SessionId,
    /// As it was written when this attachment began.
    pub(crate) record: SessionRecord,
    /// The version of that write.
    pub(crate) version: u64,
    sink: Arc<dyn EventSink>,
    /// It has no more than [`CLAIMS_MAX`] locks.
    claims_all: AtomicBool,
    inner: Mutex<Inner>,
}

impl Home {
    pub(crate) fn new(
        id: SessionId,
        record: SessionRecord,
        version: u64,
        sink: Arc<dyn EventSink>,
        locks: HashMap<LockId, LocalLock>,
        now: Timestamp,
    ) -> Home {
        let lease = HomeLease::new(record.terms, now);
        let claims_all = AtomicBool::new(locks.len() <= CLAIMS_MAX);
        let inner = Inner { standing: Standing::Live, lease, locks, in_flight: 0 };
        Home { id, record, version, sink, claims_all, inner: Mutex::new(inner) }
    }

    pub(crate) fn terms(&self) -> LeaseTerms {
        self.record.terms
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.record.epoch
    }

    /// What a commit for this attachment must find unchanged.
    pub(crate) fn guard(&self) -> SessionGuard {
        SessionGuard {
            session: self.id,
            version: self.version,
            moved: self.epoch() > Epoch(1),
            claims_all: self.claims_all.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn key(&self, lock: LockId) -> LockKey {
        LockKey { session: self.id, lock }
    }

    /// Whether requests are served, and why not.
    pub(crate) fn check_live(&self) -> Result<(), SessionError> {
        self.inner.lock().check_live()
    }

    /// Takes a heartbeat, if the session is still served.
    pub(crate) fn heartbeat(&self, now: Timestamp) -> Result<(), SessionError> {
        self.check_live()?;
        self.inner.lock().lease.received(now);
        Ok(())
    }

    /// When the session expires if nothing more is heard.
    pub(crate) fn expires_at(&self) -> Timestamp {
        self.inner.lock().lease.expires_at()
    }

    /// This server was paused: the client may have tried in vain, and gets its time again.
    pub(crate) fn restart_lease(&self, now: Timestamp) {
        self.inner.lock().lease.restart(now);
    }

    /// Stops serving an attachment whose client was silent for too long. False if it isn't live or isn't due.
    pub(crate) fn begin_expiry(&self, now: Timestamp) -> bool {
        let mut inner = self.inner.lock();
        let due = inner.standing == Standing::Live && inner.lease.is_expired(now);
        if due {
            inner.standing = Standing::Expiring;
        }
        due
    }

    /// Ends the attachment and tells the client. False if it had ended before.
    pub(crate) fn finish(&self, standing: Standing) -> bool {
        let mut inner = self.inner.lock();
        if matches!(inner.standing, Standing::Ended(_) | Standing::Moved) {
            return false;
        }
        inner.standing = standing;
        drop(inner);
        match standing {
            Standing::Ended(reason) => self.sink.deliver(Event::Ended { reason }),
            Standing::Moved => self.sink.deliver(Event::Detached),
            Standing::Live | Standing::Expiring => {}
        }
        true
    }

    /// Sends an event that concerns no request.
    pub(crate) fn notify(&self, event: Event) {
        if self.check_live().is_ok() {
            self.sink.deliver(event);
        }
    }

    /// How many locks the session has here.
    pub(crate) fn lock_count(&self) -> usize {
        self.inner.lock().locks.len()
    }

    /// How many requests wait.
    pub(crate) fn waiting_count(&self) -> usize {
        self.inner.lock().locks.values().filter(|lock| lock.waiting.is_some()).count()
    }

    /// The resources on which the session has anything.
    pub(crate) fn resources(&self) -> Vec<ResourceId> {
        let inner = self.inner.lock();
        let mut resources: Vec<ResourceId> = inner.locks.values().map(|lock| lock.resource.clone()).collect();
        resources.sort_unstable();
        resources.dedup();
        resources
    }

    /// The locks, for the attachment that takes over: known, but nobody waits for their grant yet.
    pub(crate) fn hand_over(&self) -> HashMap<LockId, LocalLock> {
        let mut locks = self.inner.lock().locks.clone();
        for lock in locks.values_mut() {
            lock.waiting = None;
            lock.blocking_told = None;
        }
        locks
    }

    /// A claimed lock's record was read.
    pub(crate) fn claim_answered(&self, lock: LockId, state: &ClaimState) {
        let mut inner = self.inner.lock();
        match state {
            ClaimState::Granted(_) => {
                if let Some(local) = inner.locks.get_mut(&lock) {
                    local.granted = true;
                    local.waiting = None; // the claim's answer says it
                }
            }
            ClaimState::Queued(place) => {
                if let Some(local) = inner.locks.get_mut(&lock) {
                    local.granted = place.held.is_some();
                    if let Some(waiting) = &mut local.waiting {
                        waiting.told_ahead = place.ahead;
                        inner.in_flight += 1;
                    }
                }
            }
            ClaimState::Absent => drop(inner.locks.remove(&lock)),
            ClaimState::Unknown(_) => {}
        }
    }

    /// Counts a request in, within the limits, and notes the lock that it asks for: the same lock again is fine. Returns
    /// the request's resource: as this server knows it, or as the request says.
    pub(crate) fn take_in(
        &self,
        id: RequestId,
        request: &Request,
        config: &EngineConfig,
    ) -> Result<ResourceId, RequestError> {
        let mut inner = self.inner.lock();
        inner.check_live()?;
        if inner.in_flight >= config.requests_in_flight_max {
            return Err(RequestError::TooManyRequests { limit: config.requests_in_flight_max });
        }
        let (has_room, lock) = (inner.locks.len() < config.locks_per_session_max, request.lock_id());
        let resource = match (request.resource(), inner.locks.entry(lock)) {
            (ResourceOf::New(resource), Entry::Occupied(known)) if known.get().resource != *resource => {
                return Err(RequestError::LockIdInUse { resource: known.get().resource.to_string() });
            }
            (ResourceOf::New(_) | ResourceOf::Known(_), Entry::Occupied(mut known)) => {
                known.get_mut().newest = Some(id);
                known.get().resource.clone()
            }
            (ResourceOf::New(_), Entry::Vacant(_)) if !has_room => {
                return Err(RequestError::TooManyLocks { limit: config.locks_per_session_max });
            }
            (ResourceOf::New(resource), Entry::Vacant(new)) => {
                new.insert(LocalLock { newest: Some(id), ..LocalLock::new(resource.clone()) });
                resource.clone()
            }
            (ResourceOf::Known(resource), Entry::Vacant(_)) => {
                resource.cloned().ok_or(RequestError::from(Refusal::NotFound))?
            }
        };
        inner.in_flight += 1;
        self.claims_all.store(inner.locks.len() <= CLAIMS_MAX, Ordering::Relaxed);
        Ok(resource)
    }

    /// Whether nothing was asked of the lock since this request, and it did not end.
    pub(crate) fn is_newest(&self, request: RequestId, lock: LockId) -> bool {
        self.inner.lock().locks.get(&lock).is_some_and(|lock| lock.newest == Some(request))
    }

    /// The request is over: granted at once.
    pub(crate) fn granted(&self, request: RequestId, grant: Grant) {
        let mut inner = self.inner.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        if let Some(lock) = inner.locks.get_mut(&grant.key.lock) {
            lock.granted = true;
            // A retry's answer is also that of the request it repeats.
            if lock.waiting.take_if(|waiting| waiting.request != request).is_some() {
                inner.in_flight = inner.in_flight.saturating_sub(1);
            }
        }
        self.deliver(&inner, Event::Granted { request, grant });
    }

    /// A request that had waited is granted. Told once.
    pub(crate) fn promoted(&self, grant: Grant) {
        let mut inner = self.inner.lock();
        let Some(lock) = inner.locks.get_mut(&grant.key.lock) else { return };
        lock.granted = true;
        let Some(waiting) = lock.waiting.take() else { return };
        inner.in_flight = inner.in_flight.saturating_sub(1);
        self.deliver(&inner, Event::Granted { request: waiting.request, grant });
    }

    /// The request waits.
    pub(crate) fn queued(&self, waiting: Waiting, place: Queued) {
        let mut inner = self.inner.lock();
        let request = waiting.request;
        if let Some(lock) = inner.locks.get_mut(&place.key.lock) {
            lock.granted = place.held.is_some();
            if lock.waiting.replace(Box::new(waiting)).is_some() {
                // The same request sent again: it is one, and counts as one.
                inner.in_flight = inner.in_flight.saturating_sub(1);
            }
        }
        self.deliver(&inner, Event::Queued { request, place });
    }

    /// Tells a new place, where that was asked for.
    pub(crate) fn moved_up(&self, place: Queued) {
        let mut inner = self.inner.lock();
        let Some(waiting) = inner.locks.get_mut(&place.key.lock).and_then(|lock| lock.waiting.as_mut())
        else {
            return;
        };
        if waiting.report_position && waiting.told_ahead != place.ahead {
            waiting.told_ahead = place.ahead;
            let request = waiting.request;
            self.deliver(&inner, Event::Queued { request, place });
        }
    }

    /// The lock is gone, as `request` asked; a request that waited for it is over, too.
    pub(crate) fn ended_lock(&self, request: RequestId, lock: LockId, cancelled: bool) {
        let mut inner = self.inner.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        if let Some(waiting) = inner.locks.remove(&lock).and_then(|lock| lock.waiting) {
            inner.in_flight = inner.in_flight.saturating_sub(1);
            self.deliver(&inner, Event::Cancelled { request: waiting.request, lock });
        }
        let event =
            if cancelled { Event::Cancelled { request, lock } } else { Event::Released { request, lock } };
        self.deliver(&inner, event);
    }

    /// A conversion stopped waiting, as `request` asked; the lock is held as before.
    pub(crate) fn ended_wait(&self, request: RequestId, grant: Grant) {
        let mut inner = self.inner.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        let lock = grant.key.lock;
        let waiting = inner.locks.get_mut(&lock).and_then(|lock| lock.waiting.take());
        if let Some(waiting) = waiting {
            inner.in_flight = inner.in_flight.saturating_sub(1);
            self.deliver(&inner, Event::Cancelled { request: waiting.request, lock });
        }
        self.deliver(&inner, Event::Granted { request, grant });
    }

    /// A query found the lock held.
    pub(crate) fn looked_up(&self, request: RequestId, grant: Grant) {
        let mut inner = self.inner.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        self.deliver(&inner, Event::Granted { request, grant });
    }

    /// A query found the lock waiting.
    pub(crate) fn looked_up_waiting(&self, request: RequestId, place: Queued) {
        let mut inner = self.inner.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        self.deliver(&inner, Event::Queued { request, place });
    }

    /// A wait's time was up, and the record says that it is over. Not told if it was granted before.
    pub(crate) fn timed_out(&self, request: RequestId, lock: LockId, still_held: bool) {
        let mut inner = self.inner.lock();
        let Some(local) = inner.locks.get_mut(&lock) else { return };
        if local.waiting.take_if(|waiting| waiting.request == request).is_none() {
            return;
        }
        if !still_held {
            inner.locks.remove(&lock);
        }
        inner.in_flight = inner.in_flight.saturating_sub(1);
        self.deliver(&inner, Event::Failed { request, lock, error: RequestError::WaitTimeout });
    }

    /// Whether this request still waits.
    pub(crate) fn is_waiting(&self, request: RequestId, lock: LockId) -> bool {
        let inner = self.inner.lock();
        let waiting = inner.locks.get(&lock).and_then(|lock| lock.waiting.as_ref());
        inner.standing == Standing::Live && waiting.is_some_and(|waiting| waiting.request == request)
    }

    /// The request changed nothing. `forget` where that means that there is no such lock.
    pub(crate) fn failed(&self, request: RequestId, lock: LockId, error: RequestError, forget: bool) {
        let mut inner = self.inner.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        if forget {
            let unused = inner.locks.get(&lock).is_some_and(|lock| !lock.granted && lock.waiting.is_none());
            if unused {
                inner.locks.remove(&lock);
            }
        }
        self.deliver(&inner, Event::Failed { request, lock, error });
    }

    /// A refusal before the request was counted in.
    pub(crate) fn turned_away(&self, request: RequestId, lock: LockId, error: RequestError) {
        let inner = self.inner.lock();
        self.deliver(&inner, Event::Failed { request, lock, error });
    }

    /// The lock was taken away by somebody else, or its place in the queue was. Returns what is to be told of that, with
    /// [`Home::tell`], once it is known that it was not the session's end.
    pub(crate) fn vanished(&self, lock: LockId) -> Vec<Event> {
        let mut inner = self.inner.lock();
        let Some(local) = inner.locks.get_mut(&lock) else { return Vec::new() };
        let waiting = local.waiting.take();
        // A request that came since is decided on what is there now, and answered for itself: the client that sent an
        // acquire again to its new home must not be told that the lock it may yet get is gone.
        let asked_since =
            local.newest.is_some_and(|newest| waiting.as_ref().is_none_or(|w| w.request != newest));
        let told_by_request = waiting.is_some() || asked_since;
        let was_held = local.granted || !told_by_request;
        if was_held || !asked_since {
            inner.locks.remove(&lock);
        }
        if waiting.is_some() {
            inner.in_flight = inner.in_flight.saturating_sub(1);
        }
        let refused = waiting.map(|waiting| Event::Failed {
            request: waiting.request,
            lock,
            error: RequestError::Revoked,
        });
        refused.into_iter().chain(was_held.then_some(Event::Revoked { lock })).collect()
    }

    /// Sends events, if the attachment is still there.
    pub(crate) fn tell(&self, events: Vec<Event>) {
        let inner = self.inner.lock();
        for event in events {
            self.deliver(&inner, event);
        }
    }

    /// A held lock blocks requests for `wanted`, or nothing: told when it is new, or stronger than what was told. Also of
    /// a lock that this server has not heard of: the client may have had no room to claim it, or not know it either, and
    /// then gives it back.
    pub(crate) fn blocks(&self, lock: LockId, resource: &ResourceId, wanted: Option<Mode>) {
        let mut inner = self.inner.lock();
        let local = match inner.locks.entry(lock) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if wanted.is_none() => return,
            Entry::Vacant(unknown) => {
                unknown.insert(LocalLock { granted: true, ..LocalLock::new(resource.clone()) })
            }
        };
        let stronger = match (local.blocking_told, wanted) {
            (Some(told), Some(wanted)) => !wanted.at_or_below(told),
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if stronger || wanted.is_none() {
            local.blocking_told = wanted;
        }
        if let (true, Some(wanted)) = (stronger, wanted) {
            self.deliver(&inner, Event::Blocking { lock, wanted, resource: resource.clone() });
        }
    }

    /// Nothing follows the event that ended the attachment.
    fn deliver(&self, inner: &Inner, event: Event) {
        if matches!(inner.standing, Standing::Live | Standing::Expiring) {
            self.sink.deliver(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlock_core::MemberId;
    use dlock_core::session::{ClientInfo, SessionState};

    #[derive(Default)]
    struct Told(Mutex<Vec<Event>>);

    impl EventSink for Told {
        fn deliver(&self, event: Event) {
            self.0.lock().push(event);
        }
    }

    /// Found by simulation: the client was told that somebody had revoked its wait.
    #[test]
    fn what_vanishes_with_its_session_was_not_revoked() {
        let record = SessionRecord {
            owner: MemberId(1),
            epoch: Epoch(1),
            attempt: 0,
            terms: LeaseTerms::default(),
            principal: String::new(),
            secret_hash: [0; 32],
            state: SessionState::Active,
            client: ClientInfo::default(),
            opened_unix_ms: 0,
            mastered: false,
        };
        let waiting = Waiting { request: RequestId(1), report_position: false, told_ahead: 0 };
        let resource = ResourceId::new("default", "r").unwrap();
        let lock = LocalLock {
            waiting: Some(Box::new(waiting)),
            newest: Some(RequestId(1)),
            ..LocalLock::new(resource)
        };
        let told = Arc::new(Told::default());
        let locks = [(LockId(1), lock)].into_iter().collect();
        let home = Home::new(SessionId(1), record, 1, told.clone(), locks, Timestamp(0));
        let vanished = home.vanished(LockId(1));
        assert_eq!(vanished.len(), 1);
        home.finish(Standing::Ended(EndReason::Expired));
        home.tell(vanished);
        assert_eq!(*told.0.lock(), [Event::Ended { reason: EndReason::Expired }]);
    }
}
