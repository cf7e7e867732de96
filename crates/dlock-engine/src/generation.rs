//! Care for a store that went back in time: one that was restored from a copy, or that lost what it had acknowledged.
//!
//! What it forgot, nobody can know: locks that were granted, sessions that were opened or ended. So whoever notices
//! raises the store's *generation*, which every server reads before each renewal of its own lease. A server that sees
//! a new generation stands still for as long as any client may count on what was forgotten: it acknowledges no
//! heartbeat and commits nothing. Then its clients attach anew, to what the store still knows, and every token is
//! greater than all that were granted before.

use crate::engine::StartError;
use crate::keys;
use crate::shared::Shared;
use dlock_core::Timestamp;
use dlock_core::lease::{LeaseTerms, MEMBER_TIMEOUT};
use dlock_core::record::StoreRecord;
use dlock_store::{Change, Record, StoreError, Verdict, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What this server knows of the store's own record.
#[derive(Debug, Default)]
pub(crate) struct StoreState {
    record: StoreRecord,
    /// Evidence that the store went back in time, and that has not led to a new generation yet.
    suspicion: Option<String>,
    /// Nothing is acknowledged and nothing committed before.
    still_until: Timestamp,
    /// What is known of other servers' sessions is of another time, and has yet to be read anew.
    directory_outdated: bool,
}

impl StoreState {
    pub(crate) fn stands_still(&self, now: Timestamp) -> bool {
        self.suspicion.is_some() || now < self.still_until
    }
}

impl Shared {
    /// The store's own record, made by whoever comes first.
    pub(crate) async fn read_or_make_store_record(&self) -> Result<(), StartError> {
        loop {
            let found = self.get(&keys::meta()).await?;
            if let Some(bytes) = found.value() {
                self.learn(StoreRecord::decode(bytes)?);
                return Ok(());
            }
            let store_id = self.environment.entropy.next_u128();
            let fresh = StoreRecord { store_id, ..StoreRecord::default() };
            match self.write_store_record(&found, fresh).await {
                Ok(true) => {
                    self.learn(fresh);
                    return Ok(());
                }
                Ok(false) | Err(StoreError::Ambiguous { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Looks whether the generation was raised, raises it if there is reason to, and stands still if it was. To be done
    /// before each renewal of this server's lease, which must count from before.
    pub(crate) async fn look_at_store_record(self: &Arc<Self>) -> Result<(), StoreError> {
        let found = self.get(&keys::meta()).await?;
        let known = self.store_state.lock().record;
        let read = match found.value().map(|bytes| StoreRecord::decode(bytes)).transpose() {
            Ok(read) => read,
            Err(error) => return Err(StoreError::Invalid { reason: error.to_string() }),
        };
        match read {
            Some(read) if read.generation >= known.generation => self.observe(read),
            Some(_) => self.suspect("its own record has an older generation"),
            None => self.suspect("its own record is gone"),
        }
        if self.store_state.lock().suspicion.is_some() {
            let newest = known.generation.max(read.map_or(0, |read| read.generation));
            let longest_lease =
                known.longest_lease.max(read.map_or(Duration::ZERO, |read| read.longest_lease));
            let raised = StoreRecord {
                generation: newest.saturating_add(1).min(dlock_core::Token::GENERATION_MAX),
                longest_lease,
                ..known
            };
            if self.write_store_record(&found, raised).await? {
                self.observe(raised);
            }
        }
        if self.store_state.lock().stands_still(self.now()) {
            self.forget_resources();
        }
        if std::mem::take(&mut self.store_state.lock().directory_outdated)
            && let Err(error) = self.read_directory().await
        {
            self.store_state.lock().directory_outdated = true;
            return Err(error);
        }
        Ok(())
    }

    /// Notes evidence that the store went back in time: from now on this server stands still.
    pub(crate) fn suspect(&self, evidence: &str) {
        let now = self.now();
        let mut state = self.store_state.lock();
        if !state.stands_still(now) {
            tracing::error!(
                evidence,
                "the store has gone back in time (restored, or lost what it had acknowledged): no lock is granted until \
                 none of what it forgot can be counted on any more"
            );
            state.suspicion = Some(evidence.to_owned());
        }
    }

    /// Sees to it that the store's record knows of leases as long as these.
    pub(crate) async fn note_terms(&self, terms: LeaseTerms) -> Result<(), StoreError> {
        let lease = terms.ttl() + terms.lock_delay();
        while self.store_state.lock().record.longest_lease < lease {
            let found = self.get(&keys::meta()).await?;
            let Some(Ok(read)) = found.value().map(|bytes| StoreRecord::decode(bytes)) else {
                let reason = "the store's own record is gone".to_owned();
                return Err(StoreError::Unavailable { reason });
            };
            let longer = StoreRecord { longest_lease: read.longest_lease.max(lease), ..read };
            if longer == read || self.write_store_record(&found, longer).await? {
                let mut state = self.store_state.lock();
                state.record.longest_lease = state.record.longest_lease.max(longer.longest_lease);
            }
        }
        Ok(())
    }

    fn learn(&self, record: StoreRecord) {
        self.generation.store(record.generation, Ordering::Relaxed);
        self.store_state.lock().record = record;
    }

    /// The record as it stands; a new generation means that the store went back in time.
    fn observe(&self, read: StoreRecord) {
        let raised = {
            let mut state = self.store_state.lock();
            let raised = read.generation > state.record.generation;
            if raised {
                // Others may acknowledge until their own leases end, and their clocks be slower by a tenth.
                let still = (read.longest_lease.max(state.record.longest_lease) + MEMBER_TIMEOUT) * 11 / 10;
                state.still_until = self.now() + still;
                state.suspicion = None;
                tracing::warn!(generation = read.generation, ?still, "the store has a new generation");
            }
            raised
        };
        self.learn(read);
        if raised {
            self.lease.lock().end_period();
            // What this server has in memory of sessions may be what the store forgot.
            for home in self.all_homes() {
                self.detach(&home, home.version, &home.record);
            }
            self.directory.lock().forget_all();
            self.store_state.lock().directory_outdated = true;
        }
    }

    /// False if somebody else was quicker.
    async fn write_store_record(&self, found: &Record, record: StoreRecord) -> Result<bool, StoreError> {
        let change = Change::Put(record.encode().into());
        let write = Write { key: keys::meta(), expected: found.version, change, guards: Default::default() };
        Ok(matches!(self.commit_one(write).await?, Verdict::Committed { .. }))
    }
}
