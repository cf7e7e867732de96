//! For the fuzzer: a session's state machine with anything for a server and for a network.

use crate::session::locks::{AcquireAsk, ConvertAsk, Outcome, WaitUntil};
use crate::session::machine::{Effect, LinkId, Machine, Settings};
use crate::session::message::{LinkError, Outgoing};
use crate::wire::{self, ClientIdentity};
use crate::{Error, LossReason};
use dlock_core::resource::ValueUpdate;
use dlock_core::{LockId, Mode, ResourceId, Timestamp};
use dlock_proto::v1::{SessionRequest, SessionResponse};
use dlock_runtime::Entropy;
use prost::Message;
use std::collections::BTreeMap;
use std::time::Duration;

/// A frame of a server of ours is understood.
///
/// # Panics
/// When it isn't.
pub fn understand(frame: SessionResponse) {
    match wire::decode(&frame.encode_to_vec()) {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => panic!("the SDK does not understand {frame:?}: {error}"),
        Err(error) => panic!("the SDK can't read {frame:?}: {error}"),
    }
}

/// Plays what the bytes say: frames, broken links, what the user wants, and the time.
///
/// # Panics
/// When the machine breaks its word: the timer must not spin, and what came of an operation is told once, to those who asked
/// for it, and never that a lock is held while the session may have expired.
pub fn play(mut data: &[u8]) {
    let mut player = Player::new();
    while let Some(step) = player.step(&mut data) {
        step(&mut player);
        player.settle();
    }
}

/// What a user knows of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Asked,
    Held,
    Converting,
    Releasing,
    Gone,
    /// Given up, by itself or with the session: nobody hears what comes of it.
    Forgotten,
}

type Step<'a> = Box<dyn FnOnce(&mut Player) + 'a>;

struct Player {
    machine: Machine,
    identity: ClientIdentity,
    now: Timestamp,
    /// The newest links: the attempt, and what may be the current one.
    links: Vec<LinkId>,
    locks: BTreeMap<LockId, Known>,
    jeopardy: bool,
    finished: bool,
}

impl Player {
    fn new() -> Player {
        let endpoints = ["a:1", "b:2"].into_iter().filter_map(|text| text.parse().ok()).collect();
        let settings = Settings {
            endpoints,
            first_endpoint: 0,
            discover: true,
            ttl: Duration::from_secs(10),
            lock_delay: Duration::ZERO,
            connect_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(10),
        };
        let mut player = Player {
            machine: Machine::new(settings, Entropy::from_seed(1)),
            identity: ClientIdentity::new("fuzz"),
            now: Timestamp(1_000_000_000),
            links: Vec::new(),
            locks: BTreeMap::new(),
            jeopardy: false,
            finished: false,
        };
        player.settle();
        player
    }

    /// The next step: its kind, what it is about, and for a frame its length and its bytes.
    fn step<'a>(&self, data: &mut &'a [u8]) -> Option<Step<'a>> {
        let (&[kind, about], rest) = data.split_first_chunk()?;
        *data = rest;
        let newest = self.links.len().checked_sub(1 + usize::from(about % 2)).map(|at| self.links[at]);
        let lock = LockId(u64::from(about % 8));
        let mode = Mode::ALL[usize::from(about) % Mode::ALL.len()];
        Some(match kind % 10 {
            0..=2 => {
                let (length, rest) = data.split_first_chunk()?;
                let (frame, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
                *data = rest;
                Box::new(move |player| player.hear(newest, frame))
            }
            3 => Box::new(move |player| {
                newest.into_iter().for_each(|link| player.machine.handle_connected(link))
            }),
            4 => Box::new(move |player| player.break_link(newest, Error::unavailable("it broke"))),
            5 => Box::new(move |player| player.acquire(lock, mode, about)),
            6 => Box::new(move |player| player.convert(lock, mode, about)),
            7 => Box::new(move |player| player.let_go(lock, about)),
            8 => Box::new(move |player| player.pass(Duration::from_millis(u64::from(about) * 100))),
            _ if about == u8::MAX => Box::new(Player::close),
            _ => Box::new(move |player| player.pass(Duration::from_millis(u64::from(about)))),
        })
    }

    /// As the link does: what can't be understood breaks it.
    fn hear(&mut self, link: Option<LinkId>, frame: &[u8]) {
        let decoded = wire::decode(frame);
        // What the protocol does not allow ends the reading.
        if !matches!(decoded, Ok(Err(_))) {
            let generated = SessionResponse::decode(frame);
            assert_eq!(decoded.is_ok(), generated.is_ok(), "the generated messages say {generated:?}");
        }
        let (Some(link), Ok(decoded)) = (link, decoded) else { return };
        match decoded {
            Ok(messages) => self.machine.handle_frame(link, messages, self.now),
            Err(error) => self.break_link(Some(link), error),
        }
    }

    fn break_link(&mut self, link: Option<LinkId>, error: Error) {
        if let Some(link) = link {
            self.machine.handle_disconnected(link, LinkError::Broken(error), self.now);
        }
    }

    /// Each lock's id is used once.
    fn acquire(&mut self, lock: LockId, mode: Mode, about: u8) {
        if self.finished || self.machine.is_closing() || self.locks.contains_key(&lock) {
            return;
        }
        let Ok(resource) = ResourceId::new("", &format!("r{}", about % 3)) else { return };
        let wait = self.wait(about);
        let ask = AcquireAsk { resource, mode, wait, reentrant: about < 40, report_position: about > 200 };
        self.machine.acquire(lock, ask);
        self.locks.insert(lock, Known::Asked);
    }

    fn convert(&mut self, lock: LockId, mode: Mode, about: u8) {
        match self.locks.get(&lock) {
            Some(Known::Held) if about < 200 => {
                let ask = ConvertAsk { mode, wait: self.wait(about), value: ValueUpdate::Invalidate };
                if self.machine.convert(lock, ask) {
                    self.locks.insert(lock, Known::Converting);
                }
            }
            Some(Known::Converting) => {
                self.machine.cancel_conversion(lock);
                self.locks.insert(lock, Known::Held);
            }
            _ => {}
        }
    }

    fn let_go(&mut self, lock: LockId, about: u8) {
        match self.locks.get(&lock) {
            Some(Known::Asked) => {
                self.machine.withdraw(lock);
                self.locks.insert(lock, Known::Forgotten);
            }
            Some(Known::Held | Known::Converting) => {
                let value = if about < 100 { ValueUpdate::Keep } else { ValueUpdate::Invalidate };
                if self.machine.release(lock, value) {
                    self.locks.insert(lock, Known::Releasing);
                }
            }
            _ => {}
        }
    }

    fn close(&mut self) {
        self.machine.close(self.now);
        for known in self.locks.values_mut().filter(|known| **known != Known::Gone) {
            *known = Known::Forgotten;
        }
    }

    fn wait(&self, about: u8) -> WaitUntil {
        match about % 4 {
            0 => WaitUntil::Try,
            1 => WaitUntil::Forever,
            _ => WaitUntil::deadline(self.now, Duration::from_millis(u64::from(about) * 50)),
        }
    }

    /// Moves the clock, waking the machine whenever it wants to be woken: a few times at one moment, at most.
    fn pass(&mut self, duration: Duration) {
        const WAKES_MAX: u32 = 3;
        let (end, mut wakes) = (self.now + duration, 0);
        while let Some(at) = self.machine.poll_timeout(self.now).filter(|at| *at <= end) {
            wakes = if at > self.now { 0 } else { wakes + 1 };
            assert!(wakes <= WAKES_MAX, "the timer spins");
            self.now = self.now.max(at);
            self.settle();
        }
        self.now = end;
    }

    /// A turn of the driver: time, effects, frames.
    fn settle(&mut self) {
        self.machine.handle_timeout(self.now);
        while let Some(effect) = self.machine.poll_effect() {
            assert!(!self.finished, "{effect:?} after the end");
            self.apply(effect);
        }
        for link in self.links.clone() {
            while let Some(frame) = self.machine.poll_frame(link, self.now) {
                assert!(!self.finished, "{frame:?} after the end");
                let greets = matches!(frame.messages[..], [Outgoing::Open { .. } | Outgoing::Attach { .. }]);
                assert!(
                    greets || frame.received > 0,
                    "{frame:?} before the server has answered the greeting"
                );
                let mut bytes = Vec::new();
                wire::encode(&frame, &self.identity, &mut bytes);
                assert!(SessionRequest::decode(bytes.as_slice()).is_ok(), "{frame:?} can't be read");
            }
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Connect { link, .. } => self.links.push(link),
            Effect::Disconnect { link } => self.links.retain(|other| *other != link),
            Effect::Outcome { lock, outcome } => self.told(lock, outcome),
            Effect::Lost { lock, reason } => {
                assert!(reason != LossReason::Unreachable, "that is the session's, and not a lock's");
                let known = self.locks.entry(lock).or_insert(Known::Gone);
                *known = if *known == Known::Forgotten { Known::Forgotten } else { Known::Gone };
            }
            Effect::Deadline(deadline) => self.jeopardy = deadline <= self.now,
            Effect::Jeopardy => self.jeopardy = true,
            Effect::Finished(_) => self.finished = true,
            Effect::Blocking { .. } | Effect::Event(_) => {}
        }
        assert!(self.links.len() <= 2, "the current link and the attempt, and no more");
    }

    fn told(&mut self, lock: LockId, outcome: Outcome) {
        let known = self.locks.get(&lock).copied();
        let then = match (&outcome, known) {
            (Outcome::Granted(_), Some(Known::Asked)) => {
                assert!(!self.jeopardy, "a grant, and the session may have expired");
                Known::Held
            }
            (Outcome::Granted(_) | Outcome::Failed(_), Some(Known::Converting)) => Known::Held,
            (Outcome::Queued { .. }, Some(known @ (Known::Asked | Known::Converting))) => known,
            (Outcome::Failed(_), Some(Known::Asked)) => Known::Gone,
            (Outcome::Failed(_) | Outcome::Released, Some(Known::Releasing)) => Known::Gone,
            (_, Some(Known::Forgotten)) => Known::Forgotten,
            (Outcome::Converted { .. }, Some(known)) if known != Known::Gone => known,
            _ => panic!("{outcome:?} for a lock that is {known:?}"),
        };
        self.locks.insert(lock, then);
    }
}
