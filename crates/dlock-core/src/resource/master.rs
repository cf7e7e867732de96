//! Mastering: one server grants and releases a resource from its memory, and the record says only that it does.
//!
//! In a record with a [`Master`], the holders and those who wait are those of the time when it was written; how the resource
//! stands, the master alone knows. Whoever else needs it *recalls* it, and the master writes the record as it stands,
//! without its mark. If the master is dead, what it knew is put together from what the clients of its sessions *claim*, as
//! they come to other servers; when all have come, or have ended, the [recovered](Resource::recovered) resource takes the
//! record's place. The master gives no token above its limit, so that tokens grow whatever is lost.
//!
//! The idea is that of the classic lock managers, which keep each resource in one node's memory and rebuild it from the
//! others' when that node dies (OpenVMS, Linux `fs/dlm`).

use super::{Alias, Applied, Claim, Granted, Outcome, Refusal, Resource};
use crate::{MemberId, Token};

/// Who masters a resource, and what is known of it should that server die.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Master {
    /// The server.
    pub member: MemberId,
    /// A number that no other writing of the record by its master has: that of the version over which it was written.
    pub mark: u64,
    /// Another server needs the resource.
    pub recalled: bool,
    /// What the resource becomes if the master dies: the limit as its last token, and what was claimed so far.
    pub(crate) claims: Resource,
}

impl Master {
    /// A master that may give tokens up to a limit.
    pub fn new(member: MemberId, mark: u64, limit: Token) -> Master {
        let mut claims = Resource::new(limit);
        // A writer that died with the master is not heard of.
        claims.value_valid = false;
        Master { member, mark, recalled: false, claims }
    }

    /// The greatest token that it may give.
    pub fn limit(&self) -> Token {
        self.claims.last_token
    }

    /// Whether it is to give the resource back: somebody needs it, or took the master for dead.
    pub fn is_asked(&self) -> bool {
        self.recalled || !self.claims.holders.is_empty()
    }
}

impl Resource {
    /// Who masters it, if somebody does.
    pub fn master(&self) -> Option<&Master> {
        self.master.as_deref()
    }

    /// Notes who masters it.
    ///
    /// # Panics
    /// In debug builds, if it has a value: a value that was written must be in the store.
    pub fn set_master(&mut self, master: Option<Master>) {
        debug_assert!(master.is_none() || self.value.is_empty(), "a resource with a value is not mastered");
        self.master = master.map(Box::new);
    }

    /// Takes the note of its master away.
    pub(crate) fn take_master(&mut self) -> Option<Master> {
        self.master.take().map(|master| *master)
    }

    /// Marks a mastered resource as needed by another server.
    pub fn recall(&mut self) {
        if let Some(master) = self.master.as_deref_mut() {
            master.recalled = true;
        }
    }

    /// Believes a client that it holds a lock of which only the dead master knew. Of a resource that nobody masters, says
    /// how the lock stands.
    ///
    /// A claim that contradicts another one, or names a token that the master can't have given, is refused: one of the two
    /// clients is mistaken.
    pub fn claim(&mut self, claim: &Claim) -> Applied {
        let Some(master) = self.master.as_deref_mut() else {
            return self.apply(&super::Command::Claim(*claim), 0);
        };
        let Claim { key, mode, token, since_unix_ms } = *claim;
        let claims = &mut master.claims;
        let known = claims.holders.find(key).is_some();
        if !known {
            let shared = claims.holders.iter().find(|(other, granted)| {
                other.session == key.session && granted.token == token && granted.mode() == mode
            });
            let shared = shared.map(|(primary, _)| primary);
            match shared {
                // Told with the same token in the same mode: a re-entrant acquire, or as good as one.
                Some(primary) => claims.holders.share(primary, Alias { lock: key.lock, asked: mode }),
                None if token <= claims.last_token && claims.holders.fits(mode, None) => {
                    claims.holders.insert(key, Granted::new(mode, mode, token, since_unix_ms));
                }
                None => {
                    let outcome = Outcome::Refused(Refusal::NotFound);
                    return Applied { outcome, promoted: Vec::new(), changed: false };
                }
            }
        }
        let (outcome, _) = claims.query(key);
        Applied { outcome, promoted: Vec::new(), changed: !known }
    }

    /// What becomes of a resource whose master is dead, when all its sessions have claimed what they hold, or ended.
    pub fn recovered(&self) -> Option<Resource> {
        self.master.as_deref().map(|master| master.claims.clone())
    }
}
