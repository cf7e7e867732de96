//! This server among its peers: its own counter, the others' counters, and the orphans of those that fell silent.

use crate::directory::Foreign;
use crate::engine::Health;
use crate::error::SessionError;
use crate::keys;
use crate::shared::{Counters, Shared};
use crate::sweeper::TOMBSTONE_AGE;
use dlock_core::SessionId;
use dlock_core::lease::{Lapse, MEMBER_BEAT};
use dlock_core::record::MemberRecord;
use dlock_core::session::{EndReason, SessionRecord};
use dlock_store::{Change, Key, Record, Severity, StoreError, Verdict, Version, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How many records one page of a listing has.
pub(crate) const PAGE: usize = 500;

/// This server's own record, as it was last written.
pub(crate) struct OwnRecord {
    version: Version,
    record: MemberRecord,
    /// The newest counter that is known to have been written.
    acknowledged: u64,
}

/// Beats once a second, watches the peers and judges the health of all, until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>, mut own: OwnRecord) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.environment.clock.sleep(MEMBER_BEAT) => {}
        }
        if let Err(error) = shared.beat(&mut own).await {
            tracing::warn!(%error, "this server's lease could not be renewed");
        }
        // Before the look: it is to say how their masters are since they were read.
        let mastered = shared.mastered_elsewhere();
        match shared.look_at_members().await {
            Ok(()) => shared.recover(mastered).await,
            Err(error) => tracing::warn!(%error, "the other servers could not be looked at"),
        }
        shared.end_orphans().await;
        shared.judge_health().await;
    }
}

impl Shared {
    /// Joins the members: from now on this server may act.
    pub(crate) async fn join(self: &Arc<Self>) -> Result<OwnRecord, StoreError> {
        let record = MemberRecord {
            counter: 0,
            address: self.config.address.clone(),
            started_unix_ms: self.unix_ms(),
            version: self.config.version.clone(),
        };
        let absent = self.get(&keys::member(self.member)).await?;
        let mut own = OwnRecord { version: absent.version, record, acknowledged: 0 };
        self.beat(&mut own).await?;
        Ok(own)
    }

    /// Writes the next counter, and with that may act for a while longer.
    async fn beat(self: &Arc<Self>, own: &mut OwnRecord) -> Result<(), StoreError> {
        own.record.counter += 1;
        let write = Write {
            key: keys::member(self.member),
            expected: own.version,
            change: Change::Put(own.record.encode().into()),
            guards: Default::default(),
        };
        let sent = self.now();
        self.look_at_store_record().await?;
        match self.commit_one(write).await? {
            Verdict::Committed { version } => {
                own.version = version;
                own.acknowledged = own.record.counter;
                let lapse = self.lease.lock().committed(sent, self.now());
                if let Some(lapse) = lapse.filter(|_| !self.capabilities.exclusive) {
                    self.give_up_after(lapse);
                }
                Ok(())
            }
            // An earlier beat of unknown outcome took effect, or the others took this server for dead and removed
            // its record: the next beat starts from what is there.
            Verdict::Conflict { .. } | Verdict::GuardFailed { .. } => {
                let found = self.get(&keys::member(self.member)).await?;
                own.version = found.version;
                self.check_own_record(own, &found);
                Err(StoreError::Unavailable { reason: "this server's record had changed".to_owned() })
            }
        }
    }

    /// A record that was acknowledged does not fall back, and is removed by others only after a long silence.
    fn check_own_record(&self, own: &OwnRecord, found: &Record) {
        let deadline = self.lease.lock().deadline();
        let silent = deadline.is_none_or(|deadline| self.now().since(deadline) >= TOMBSTONE_AGE / 2);
        let fell_back = match found.value().map(|bytes| MemberRecord::decode(bytes)) {
            Some(Ok(record)) => record.counter < own.acknowledged,
            Some(Err(_)) => false,
            None => !silent,
        };
        if fell_back {
            self.suspect("this server's own record is older than what was acknowledged");
        }
    }

    /// This server could not renew its lease for so long that the others may be ending its sessions: their clients
    /// have to attach anew, which decides in the store who was first.
    fn give_up_after(&self, lapse: Lapse) {
        let given_up: Vec<_> =
            self.all_homes().into_iter().filter(|home| lapse.may_have_ended(home.terms())).collect();
        if !given_up.is_empty() {
            tracing::warn!(
                sessions = given_up.len(),
                "after a long lapse of this server's lease, clients attach anew"
            );
        }
        for home in given_up {
            self.detach(&home, home.version, &home.record);
        }
    }

    async fn look_at_members(&self) -> Result<(), StoreError> {
        let sent = self.now();
        let records = self.list_all(keys::MEMBERS).await?;
        // Each beat changes the version too, which can be compared where the record can't be read.
        let version = |(key, record): &(Key, Record)| Some((keys::parse_member(key)?, record.version.0));
        let counters = records.iter().filter_map(version).filter(|(member, _)| *member != self.member);
        self.observer.lock().look(sent, self.now(), counters);
        Ok(())
    }

    /// Expires the sessions whose home is dead and whose clients have not attached elsewhere in time.
    async fn end_orphans(self: &Arc<Self>) {
        if self.check_may_act().is_err() {
            return;
        }
        for (session, foreign) in self.due_orphans() {
            if let Err(error) = self.end_orphan(session, &foreign).await {
                tracing::warn!(%session, %error, "an orphaned session could not be expired yet");
            }
        }
    }

    /// Who is due at the time of the last look at the members, that is: who was an orphan then.
    fn due_orphans(&self) -> Vec<(SessionId, Foreign)> {
        let (observer, now) = (self.observer.lock(), self.now());
        let due = |foreign: &Foreign| {
            if self.capabilities.exclusive {
                // In a store of its own, a server's peers are those that had it before: they are dead for certain.
                return now > foreign.seen + foreign.terms.ttl() + foreign.terms.lock_delay();
            }
            observer.is_orphan_due(foreign.owner, foreign.seen, foreign.terms)
        };
        let directory = self.directory.lock();
        let orphans = directory.iter().filter(|(_, foreign)| due(foreign));
        let mut orphans: Vec<_> = orphans.map(|(id, foreign)| (id, foreign.clone())).collect();
        orphans.sort_unstable_by_key(|(id, _)| *id);
        orphans
    }

    /// Bound to the version at which the session was an orphan: one that was attached meanwhile is left alone.
    async fn end_orphan(self: &Arc<Self>, session: SessionId, foreign: &Foreign) -> Result<(), StoreError> {
        let found = self.get(&keys::session(session)).await?;
        if found.version.0 != foreign.version {
            self.session_seen(session, &found);
            return Ok(());
        }
        let ended = match found.value().map(|bytes| SessionRecord::decode(bytes)) {
            Some(Ok(record)) => record.end(EndReason::Expired),
            Some(Err(error)) => {
                tracing::error!(%session, %error, "a session's record can't be read");
                return Ok(());
            }
            None => {
                self.session_ended(session, EndReason::Expired);
                return Ok(());
            }
        };
        let Ok(ended) = ended else {
            self.session_ended(session, EndReason::Expired);
            return Ok(());
        };
        let write = Write {
            key: keys::session(session),
            expected: found.version,
            change: Change::Put(ended.encode().into()),
            guards: Default::default(),
        };
        // A conflict, or an outcome that is not known, is looked at again in the next round.
        if let Verdict::Committed { .. } = self.commit_one(write).await? {
            tracing::info!(%session, "an orphaned session has expired: nobody attached it");
            Counters::add(&self.counters.expired, 1);
            self.session_ended(session, EndReason::Expired);
        }
        Ok(())
    }

    /// Notes all sessions of the store: at the start, and after the watch may have missed some.
    pub(crate) async fn read_directory(self: &Arc<Self>) -> Result<(), StoreError> {
        let mut after: Option<Key> = None;
        loop {
            let page = self.list(keys::SESSIONS, after.as_ref()).await?;
            for (key, record) in &page.records {
                if let Some(session) = keys::parse_session(key) {
                    self.session_listed(session, record);
                }
            }
            after = page.records.last().map(|(key, _)| key.clone());
            if !page.more {
                return Ok(());
            }
        }
    }

    /// A session found in a listing: ended ones are of interest only where they were thought alive.
    fn session_listed(self: &Arc<Self>, session: SessionId, record: &Record) {
        let known = self.homes.read().contains_key(&session) || self.directory.lock().contains(session);
        let active = matches!(crate::directory::read_active(record), Ok(Some(_)));
        if known || active {
            self.session_seen(session, record);
        }
    }

    /// Removes the records of members that can't come back, in a store that only this server uses.
    pub(crate) async fn bury_predecessors(&self) -> Result<(), StoreError> {
        for (key, record) in self.list_all(keys::MEMBERS).await? {
            let write = Write {
                key,
                expected: record.version,
                change: Change::Delete { floor: 0 },
                guards: Default::default(),
            };
            self.commit_one(write).await?;
        }
        Ok(())
    }

    /// Leaves the members, so that the others need not wait for its silence.
    pub(crate) async fn leave(&self) -> Result<(), StoreError> {
        let key = keys::member(self.member);
        let found = self.get(&key).await?;
        let change = Change::Delete { floor: 0 };
        self.commit_one(Write { key, expected: found.version, change, guards: Default::default() }).await?;
        Ok(())
    }

    pub(crate) async fn judge_health(&self) {
        let conditions = self.within(self.store.health()).await.unwrap_or_else(|| {
            vec![dlock_store::Condition {
                severity: Severity::Failure,
                code: "UNREACHABLE",
                message: self.timed_out().to_string(),
            }]
        });
        let failing = conditions.iter().any(|condition| condition.severity == Severity::Failure);
        let draining = self.draining.load(Ordering::Acquire);
        let serving = !failing && !draining && self.check_may_act().is_ok();
        let health = Health { serving, draining, conditions };
        self.health.send_if_modified(|old| {
            let changed = *old != health;
            *old = health;
            changed
        });
    }

    /// A read with its time bound.
    pub(crate) async fn get(&self, key: &Key) -> Result<Record, StoreError> {
        self.within(self.store.get(key)).await.unwrap_or_else(|| Err(self.timed_out()))
    }

    /// A page of a listing with its time bound.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> Result<dlock_store::Page, StoreError> {
        self.within(self.store.list(prefix, after, PAGE)).await.unwrap_or_else(|| Err(self.timed_out()))
    }

    /// A whole listing: only for what is few.
    pub(crate) async fn list_all(&self, prefix: &str) -> Result<Vec<(Key, Record)>, StoreError> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|(key, _): &(Key, Record)| key.clone());
            let page = self.list(prefix, after.as_ref()).await?;
            all.extend(page.records);
            if !page.more {
                return Ok(all);
            }
        }
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> SessionError {
        SessionError::StoreUnavailable { reason: error.to_string() }
    }
}
