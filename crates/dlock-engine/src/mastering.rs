//! Resources that this server masters, or another one.
//!
//! The rules are the coordinator's ([`dlock_core::coordinator`]); here it is said where they apply, and what is given back
//! when. What becomes of a master's resources when it dies is in [`crate::recovery`].

use crate::error::RequestError;
use crate::io::news;
use crate::keys;
use crate::shard::Input;
use crate::shared::Shared;
use crate::tell::purge;
use dlock_core::resource::{Command, Resource};
use dlock_core::{LockId, LockKey, MemberId, ResourceId, SessionId, Token};
use dlock_store::{Content, Record};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a server that stops looks whether all is given back.
const GIVE_BACK_LOOK: Duration = Duration::from_millis(20);
/// How often a resource is asked for, for a look, before the one who wants it is told that it can't be had.
const LOOKS_MAX: u32 = 5;

/// See [`Shared::follower`].
pub(crate) struct Follower(Arc<Shared>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    /// Whether this server may master anything: it would save commits that are messages to others, or that are worth nothing,
    /// and it is not about to stop. In a store of its own that outlives it, each commit is wanted.
    pub(crate) fn may_master(&self) -> bool {
        let saves = !self.capabilities.exclusive || self.capabilities.volatile;
        self.mastering.is_on() && saves && !self.draining.load(Ordering::Acquire)
    }

    /// Somebody follows what becomes of resources, until this is dropped. In a store of our own he sees all of it: nothing is mastered
    /// meanwhile.
    pub(crate) fn follower(self: &Arc<Self>) -> Follower {
        self.followers.fetch_add(1, Ordering::AcqRel);
        if self.capabilities.exclusive {
            self.give_all_back();
        }
        Follower(Arc::clone(self))
    }

    /// Whether what is answered from memory would be missed by somebody who follows it.
    pub(crate) fn is_followed(&self) -> bool {
        self.capabilities.exclusive && self.followers.load(Ordering::Acquire) > 0
    }

    /// The period of this server's lease, while it may act.
    pub(crate) fn period(&self) -> Option<u64> {
        self.check_may_act().ok()?;
        self.lease.lock().period(self.now())
    }

    fn mastered(&self) -> Vec<ResourceId> {
        let mut mastered = Vec::new();
        for shard in self.shards.iter() {
            let shard = shard.lock();
            let own = shard.slots.iter().filter(|(_, slot)| slot.coordinator.is_master());
            mastered.extend(own.map(|(resource, _)| resource.clone()));
        }
        mastered.sort_unstable(); // as in every run of a simulation
        mastered
    }

    /// Looks whether somebody asks for what this server masters.
    pub(crate) fn look_at_mastered(self: &Arc<Self>) {
        self.feed(self.mastered().into_iter().map(|resource| (resource, news(None))).collect());
    }

    /// Begins to give back all that this server masters. To be called when it may master nothing any more.
    pub(crate) fn give_all_back(self: &Arc<Self>) {
        let back = self.mastered().into_iter().map(|resource| (resource, Input::GiveBack));
        self.feed(back.collect());
    }

    /// The same, to its end, or for as long as a call of the store may take: what is left then is recovered by the others.
    pub(crate) async fn give_all_back_now(self: &Arc<Self>) {
        self.give_all_back();
        let given_back = async {
            while !self.mastered().is_empty() && self.check_may_act().is_ok() {
                self.environment.clock.sleep(GIVE_BACK_LOOK).await;
            }
        };
        if self.within(given_back).await.is_none() {
            tracing::warn!(
                "not everything that this server mastered could be given back: the others recover it"
            );
        }
    }

    /// How a resource stands that this server masters.
    pub(crate) fn own_mastered(&self, resource: &ResourceId) -> Option<Resource> {
        let shard = self.shards.of(resource);
        shard.slots.get(resource)?.coordinator.mastered().cloned()
    }

    /// How the resource stands, with its record: asked back from the server that masters it, if another one does.
    pub(crate) async fn read_resource(
        self: &Arc<Self>,
        id: &ResourceId,
    ) -> Result<(Record, Resource), RequestError> {
        let mut looks = 0;
        loop {
            let record = self.get(&keys::resource(id)).await?;
            let resource = decode(&record)?;
            let master = resource.master().map(|master| master.member);
            match master {
                None => return Ok((record, resource)),
                Some(member) if member == self.member => {
                    if let Some(own) = self.own_mastered(id) {
                        return Ok((record, own));
                    }
                }
                Some(_) => {}
            }
            looks += 1;
            if looks > LOOKS_MAX {
                let reason = "the resource goes from one server to another all the time".to_owned();
                return Err(RequestError::StoreUnavailable { reason });
            }
            self.ask_back(id).await?;
        }
    }

    /// Has the server that masters a resource write how it stands, and waits for that.
    async fn ask_back(self: &Arc<Self>, id: &ResourceId) -> Result<(), RequestError> {
        // A lock that nobody has: no session's id is zero but with a chance of 2^-128.
        let nobody = LockKey { session: SessionId(0), lock: LockId(0) };
        self.call(id, Command::Query { key: nobody }).await.map(drop)
    }

    /// A record that the sweeper met says that a server masters the resource: if that server is dead, or is this one and
    /// does not know it, it is asked for.
    pub(crate) fn sweep_mastered(self: &Arc<Self>, id: &ResourceId, master: MemberId) {
        let forgotten = if master == self.member {
            !self.shards.of(id).slots.contains_key(id)
        } else {
            self.is_dead_master(master)
        };
        if forgotten {
            self.feed(vec![(id.clone(), purge(Vec::new()))]);
        }
    }
}

pub(crate) fn decode(record: &Record) -> Result<Resource, RequestError> {
    match &record.content {
        Content::Present(bytes) => {
            Resource::decode(bytes).map_err(|error| RequestError::Record { reason: error.to_string() })
        }
        Content::Absent { floor } => Ok(Resource::new(Token::from_u64(*floor).unwrap_or_default())),
    }
}
