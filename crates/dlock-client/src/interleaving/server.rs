//! The service, as one client's session sees it: it answers each message at once, keeps its locks and says when the client
//! asks for what it must never ask for.
//!
//! Locks whose names begin with `slow` wait before they are granted, as do conversions upwards of those that begin with
//! `contended`; `busy` ones are never granted.

use dlock_core::Mode;
use dlock_proto::v1::client_message::Body as Said;
use dlock_proto::v1::server_message::Body as Heard;
use dlock_proto::v1::{self, ServerMessage};
use dlock_proto::{duration_to_proto, mode_to_proto};
use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;
use std::time::Duration;

pub(super) const TTL: Duration = Duration::from_secs(10);

/// A lock that is held.
#[derive(Clone, Debug)]
pub(super) struct Held {
    resource: String,
    /// Shared, with the mode, by the acquires of one lock.
    pub(super) token: u64,
    pub(super) mode: Mode,
    /// The mode that its conversion waits for, and as which request.
    converting: Option<(Mode, u64)>,
}

/// A lock that is waited for.
#[derive(Clone, Debug)]
struct Waiting {
    resource: String,
    mode: Mode,
    request: u64,
}

/// A service with one session at a time.
#[derive(Default)]
pub(super) struct Server {
    /// How many sessions were opened.
    pub(super) sessions: u64,
    /// How often the session was attached.
    pub(super) epoch: u64,
    /// Whether the last session is over, and whether its client has closed it.
    pub(super) over: bool,
    pub(super) closed: bool,
    /// It hears no heartbeats, and nobody who wants to attach.
    pub(super) deaf: bool,
    pub(super) held: BTreeMap<u64, Held>,
    waiting: BTreeMap<u64, Waiting>,
    /// Locks that were held or waited for and are not any more.
    pub(super) let_go: BTreeSet<u64>,
    /// Releases and withdrawals that were served since the last attachment.
    served: BTreeSet<u64>,
    /// All modes that each lock has had.
    modes: BTreeMap<u64, Vec<Mode>>,
    /// What is to be granted later.
    pub(super) later: Vec<u64>,
    last_token: u64,
    pub(super) watchers: Vec<Waker>,
}

impl Server {
    /// Whether nothing is held or waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.waiting.is_empty()
    }

    /// Who holds locks on the resource.
    pub(super) fn holders(&self, resource: &str) -> usize {
        self.held.values().filter(|held| held.resource == resource).count()
    }

    /// All modes that the lock has had.
    pub(super) fn modes(&self, lock: u64) -> &[Mode] {
        &self.modes[&lock]
    }

    /// Takes a message, and answers.
    pub(super) fn serve(&mut self, request: u64, said: Said) -> Option<ServerMessage> {
        let body = match said {
            Said::Open(_) => self.open(),
            Said::Resume(resume) => self.attach(resume),
            _ if self.over => return None,
            Said::Heartbeat(v1::Heartbeat { epoch, nonce }) => {
                assert_eq!(epoch, self.epoch, "a heartbeat of another attachment");
                Heard::Heartbeat(v1::HeartbeatAcknowledged { epoch, nonce })
            }
            Said::Acquire(acquire) => self.acquire(request, acquire),
            Said::Convert(convert) => self.convert(request, &convert),
            Said::Release(release) => self.release(release.lock_id),
            Said::Cancel(cancel) => self.cancel(&cancel),
            Said::Query(query) => self.granted(query.lock_id).unwrap_or_else(not_found),
            Said::Close(_) => self.close(),
        };
        Some(ServerMessage { sequence: request, body: Some(body) })
    }

    fn open(&mut self) -> Heard {
        assert!(self.sessions == 0 || self.over, "a second session, while the first one lives");
        self.sessions += 1;
        (self.epoch, self.over, self.closed) = (1, false, false);
        self.served.clear();
        Heard::Opened(v1::SessionOpened {
            session_id: format!("{:032x}", self.sessions),
            resume_secret: vec![0; 16].into(),
            terms: self.terms(),
        })
    }

    fn attach(&mut self, resume: v1::ResumeSession) -> Heard {
        if self.over {
            return Heard::Ended(v1::SessionEnded { reason: v1::EndReason::Revoked as i32 });
        }
        self.epoch += 1;
        self.served.clear();
        let results = resume.claims.into_iter().map(|claim| {
            let state = match self.granted(claim.lock_id) {
                Some(Heard::Granted(granted)) => v1::claim_result::State::Granted(granted),
                _ if self.waiting.contains_key(&claim.lock_id) => {
                    v1::claim_result::State::Queued(v1::LockQueued::default())
                }
                _ => v1::claim_result::State::Absent(v1::LockAbsent {}),
            };
            v1::ClaimResult { lock_id: claim.lock_id, state: Some(state) }
        });
        Heard::Resumed(v1::SessionResumed { results: results.collect(), terms: self.terms() })
    }

    fn terms(&self) -> Option<v1::SessionTerms> {
        Some(v1::SessionTerms {
            epoch: self.epoch,
            ttl: Some(duration_to_proto(TTL)),
            lock_delay: Some(duration_to_proto(Duration::ZERO)),
            ..Default::default()
        })
    }

    fn acquire(&mut self, request: u64, acquire: v1::AcquireLock) -> Heard {
        let lock = acquire.lock_id;
        assert!(!self.let_go.contains(&lock), "lock {lock} is asked for again after it was given back");
        if let Some(granted) = self.granted(lock) {
            return granted;
        }
        let resource = acquire.resource.expect("a resource").name;
        let mode = mode(acquire.mode);
        let shared = self.held.values().find(|held| held.resource == resource).cloned();
        if let Some(held) = shared.filter(|_| acquire.reentrant) {
            self.modes.insert(lock, vec![held.mode]);
            self.held.insert(lock, Held { converting: None, ..held });
        } else if resource.starts_with("busy") || resource.starts_with("slow") {
            if resource.starts_with("slow") {
                self.later.push(lock);
            }
            self.waiting.insert(lock, Waiting { resource, mode, request });
            return queued(lock);
        } else {
            self.grant(lock, resource, mode);
        }
        self.granted(lock).expect("it was just granted")
    }

    fn grant(&mut self, lock: u64, resource: String, mode: Mode) {
        self.last_token += 1;
        self.modes.insert(lock, vec![mode]);
        self.held.insert(lock, Held { resource, token: self.last_token, mode, converting: None });
    }

    /// The lock, as it is held.
    fn granted(&self, lock: u64) -> Option<Heard> {
        let held = self.held.get(&lock)?;
        let holds = self.held.values().filter(|other| other.token == held.token).count();
        Some(Heard::Granted(v1::LockGranted {
            lock_id: lock,
            mode: mode_to_proto(held.mode) as i32,
            token: held.token,
            holds: u32::try_from(holds).expect("few locks"),
            value: None,
        }))
    }

    fn convert(&mut self, request: u64, convert: &v1::ConvertLock) -> Heard {
        let (lock, to) = (convert.lock_id, mode(convert.mode));
        let Some(held) = self.held.get_mut(&lock) else { return not_found() };
        if held.resource.starts_with("contended") && !to.at_or_below(held.mode) {
            held.converting = Some((to, request));
            self.later.push(lock);
            return queued(lock);
        }
        self.change(lock, to);
        self.granted(lock).expect("it is held")
    }

    /// The lock is held in another mode, by all that share it.
    fn change(&mut self, lock: u64, to: Mode) {
        let Some(Held { token, mode, .. }) = self.held.get(&lock).cloned() else { return };
        if !to.at_or_below(mode) {
            self.last_token += 1;
        }
        let new = if to.at_or_below(mode) { token } else { self.last_token };
        for (lock, held) in self.held.iter_mut().filter(|(_, held)| held.token == token) {
            (held.mode, held.token) = (to, new);
            self.modes.entry(*lock).or_default().push(to);
        }
    }

    /// Grants what waits, and says so to the request that waits for it.
    pub(super) fn promote(&mut self, lock: u64) -> Option<ServerMessage> {
        let request = if let Some(Waiting { resource, mode, request }) = self.waiting.remove(&lock) {
            self.grant(lock, resource, mode);
            request
        } else {
            let (to, request) = self.held.get_mut(&lock)?.converting.take()?;
            self.change(lock, to);
            request
        };
        Some(ServerMessage { sequence: request, body: self.granted(lock) })
    }

    fn release(&mut self, lock: u64) -> Heard {
        assert!(self.served.insert(lock), "lock {lock} is given back twice");
        if self.let_go_of(lock) { Heard::Released(v1::LockReleased { lock_id: lock }) } else { not_found() }
    }

    fn cancel(&mut self, cancel: &v1::CancelLock) -> Heard {
        let lock = cancel.lock_id;
        if cancel.release_if_granted {
            let waits = self.waiting.contains_key(&lock);
            return match self.release(lock) {
                Heard::Released(_) if waits => Heard::Cancelled(v1::LockCancelled { lock_id: lock }),
                answer => answer,
            };
        }
        if let Some(held) = self.held.get_mut(&lock) {
            held.converting = None;
        }
        self.granted(lock).unwrap_or_else(not_found)
    }

    fn let_go_of(&mut self, lock: u64) -> bool {
        let there = self.held.remove(&lock).is_some() | self.waiting.remove(&lock).is_some();
        if there {
            self.let_go.insert(lock);
        }
        there
    }

    /// Takes all locks on the resource away.
    pub(super) fn revoke(&mut self, resource: &str) -> Vec<ServerMessage> {
        let held = self.held.iter().filter(|(_, held)| held.resource == resource);
        let locks: Vec<u64> = held.map(|(lock, _)| *lock).collect();
        let tell = |lock: u64| {
            self.let_go_of(lock);
            let lost = v1::LockLost { lock_id: lock, reason: v1::LossReason::Revoked as i32 };
            ServerMessage { sequence: 0, body: Some(Heard::Lost(lost)) }
        };
        locks.into_iter().map(tell).collect()
    }

    fn close(&mut self) -> Heard {
        assert!(self.is_idle(), "the session is closed with locks: {:?} {:?}", self.held, self.waiting);
        self.closed = true;
        self.end(v1::EndReason::Closed)
    }

    /// Ends the session.
    pub(super) fn end(&mut self, reason: v1::EndReason) -> Heard {
        self.over = true;
        let all: Vec<u64> = self.held.keys().chain(self.waiting.keys()).copied().collect();
        for lock in all {
            self.let_go_of(lock);
        }
        // The locks of the next session have ids of their own.
        self.let_go.clear();
        Heard::Ended(v1::SessionEnded { reason: reason as i32 })
    }
}

fn mode(number: i32) -> Mode {
    dlock_proto::mode(number, Mode::Exclusive).expect("a mode")
}

fn queued(lock: u64) -> Heard {
    Heard::Queued(v1::LockQueued { lock_id: lock, ahead: 1, held: None })
}

fn not_found() -> Heard {
    let (code, reason) = (tonic::Code::NotFound as i32, v1::ErrorReason::LockNotFound as i32);
    Heard::Failed(v1::Failure { code, reason, ..Default::default() })
}
