//! Sessions that are at home elsewhere, or nowhere, as far as this server has heard of them.

use crate::home::Home;
use crate::keys;
use crate::shared::Shared;
use dlock_core::lease::LeaseTerms;
use dlock_core::record::RecordError;
use dlock_core::resource::Resource;
use dlock_core::session::SessionRecord;
use dlock_core::{MemberId, SessionId, Timestamp};
use dlock_store::{Content, Record};
use foldhash::HashMap;
use std::sync::Arc;

/// A session that is alive and at home elsewhere, or nowhere.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    pub(crate) version: u64,
    pub(crate) owner: MemberId,
    pub(crate) terms: LeaseTerms,
    /// When this server first saw this record: an orphan's wait does not begin before.
    pub(crate) seen: Timestamp,
}

/// What is known of other servers' sessions. It may lag behind the store, and then errs on the side of taking them
/// for alive; an ended session stays ended.
#[derive(Default)]
pub(crate) struct Directory {
    sessions: HashMap<SessionId, Foreign>,
}

impl Directory {
    pub(crate) fn note(&mut self, session: SessionId, version: u64, record: &SessionRecord, now: Timestamp) {
        let known = self.sessions.get(&session);
        if known.is_some_and(|known| known.version >= version) {
            return;
        }
        let foreign = Foreign { version, owner: record.owner, terms: record.terms, seen: now };
        self.sessions.insert(session, foreign);
    }

    pub(crate) fn forget(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    pub(crate) fn forget_all(&mut self) {
        self.sessions.clear();
    }

    pub(crate) fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, &Foreign)> {
        self.sessions.iter().map(|(session, foreign)| (*session, foreign))
    }

    /// After a pause of this process: every orphan's wait begins anew.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        for foreign in self.sessions.values_mut() {
            foreign.seen = now;
        }
    }
}

/// A session's record as it was read: `None` when the session is over, by its record or for want of one.
pub(crate) fn read_active(record: &Record) -> Result<Option<SessionRecord>, RecordError> {
    match &record.content {
        Content::Absent { .. } => Ok(None),
        Content::Present(bytes) => Ok(Some(SessionRecord::decode(bytes)?).filter(SessionRecord::is_active)),
    }
}

impl Shared {
    /// The sessions on a resource that are not at home here, each once.
    pub(crate) fn foreign_sessions(&self, resource: &Resource) -> Vec<SessionId> {
        let homes = self.homes.read();
        let mut foreign: Vec<SessionId> =
            resource.sessions().filter(|session| !homes.contains_key(session)).collect();
        foreign.sort_unstable();
        foreign.dedup();
        foreign
    }

    /// Those of the sessions that have ended, by their records. One whose record can't be read counts as alive.
    pub(crate) async fn find_ended(self: &Arc<Self>, sessions: Vec<SessionId>) -> Vec<SessionId> {
        let mut ended = Vec::new();
        for session in sessions {
            let answer = self.within(self.store.get(&keys::session(session))).await;
            let record = match answer {
                Some(Ok(record)) => record,
                Some(Err(error)) => {
                    tracing::debug!(%session, %error, "a session could not be looked up");
                    continue;
                }
                None => continue,
            };
            match read_active(&record) {
                Ok(Some(active)) => drop(self.note_unless_home(session, record.version.0, &active)),
                Ok(None) => {
                    self.directory.lock().forget(session);
                    ended.push(session);
                }
                Err(error) => tracing::error!(%session, %error, "a session's record can't be read"),
            }
        }
        ended
    }

    /// Notes a session that is not at home here; one that is, it returns.
    pub(crate) fn note_unless_home(
        &self,
        session: SessionId,
        version: u64,
        record: &SessionRecord,
    ) -> Option<Arc<Home>> {
        // With the homes locked: a session that settles in here meanwhile is forgotten afterwards, and not noted after
        // that, as if it were at home nowhere.
        let homes = self.homes.read();
        let home = homes.get(&session).cloned();
        if home.is_none() {
            let now = self.now();
            self.directory.lock().note(session, version, record, now);
        }
        home
    }
}
