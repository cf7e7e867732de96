//! The machine by itself: what comes in, what goes out, on a clock that the test moves.

mod closing;
mod giving_up;
mod lease;
mod moving;
mod opening;
mod reconnecting;
mod requests;

use super::*;
use crate::session::locks::WaitUntil;
use crate::session::message::{Claim, Grant, Patience, Request};
use dlock_core::{ResourceId, Token, ValueBlock};

const TTL: Duration = Duration::from_secs(10);
/// TTL/10 + 50 ms.
const MARGIN: Duration = Duration::from_millis(1050);

/// A machine, a clock, and what came out so far.
struct Bench {
    machine: Machine,
    now: Timestamp,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Bench {
    fn new(endpoints: &[&str]) -> Bench {
        let settings = Settings {
            endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
            first_endpoint: 0,
            discover: true,
            ttl: TTL,
            lock_delay: Duration::ZERO,
            connect_timeout: ms(5000),
            close_timeout: ms(10_000),
        };
        Bench { machine: Machine::new(settings, Entropy::from_seed(1)), now: Timestamp(1_000_000_000) }
    }

    /// A machine whose session is open on link 1, at the first of its endpoints.
    fn opened(endpoints: &[&str]) -> Bench {
        let mut bench = Bench::new(endpoints);
        let (link, _) = bench.connect();
        assert_eq!(bench.send(link), [Outgoing::Open { ttl: TTL, lock_delay: Duration::ZERO }]);
        bench.receive(
            link,
            Incoming::Opened { session: SessionId(7), secret: secret(), terms: terms(1, 100) },
        );
        assert!(matches!(
            bench.effects()[..],
            [Effect::Deadline(_), Effect::Event(SessionEvent::Connected { session: SessionId(7), .. })]
        ));
        bench
    }

    /// Moves the clock, waking the machine whenever it wants to be woken.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.machine.poll_timeout(self.now).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.machine.handle_timeout(self.now);
            assert!(
                self.machine.poll_timeout(self.now).is_none_or(|next| next > self.now),
                "the timer spins"
            );
        }
        self.now = end;
    }

    fn effects(&mut self) -> Vec<Effect> {
        self.machine.handle_timeout(self.now);
        std::iter::from_fn(|| self.machine.poll_effect()).collect()
    }

    /// The attempt that is under way now, connected.
    fn connect(&mut self) -> (LinkId, String) {
        self.effects()
            .into_iter()
            .find_map(|effect| match effect {
                Effect::Connect { link, endpoint } => {
                    self.machine.handle_connected(link);
                    Some((link, endpoint.host().to_owned()))
                }
                _ => None,
            })
            .expect("an attempt")
    }

    fn send(&mut self, link: LinkId) -> Vec<Outgoing> {
        std::iter::from_fn(|| self.machine.poll_frame(link, self.now))
            .flat_map(|frame| frame.messages)
            .collect()
    }

    /// What is sent apart from heartbeats.
    fn requests(&mut self, link: LinkId) -> Vec<(RequestId, Request)> {
        self.send(link)
            .into_iter()
            .filter_map(|message| match message {
                Outgoing::Request(id, request) => Some((id, request)),
                _ => None,
            })
            .collect()
    }

    fn receive(&mut self, link: LinkId, message: Incoming) {
        self.machine.handle_frame(link, vec![message], self.now);
    }

    fn break_link(&mut self, link: LinkId) {
        let broken = LinkError::Broken(Error::unavailable("connection reset"));
        self.machine.handle_disconnected(link, broken, self.now);
    }

    /// Attaches anew after the link broke; returns the new link and the claims.
    fn reattach(&mut self, epoch: u64) -> (LinkId, Vec<Claim>) {
        self.pass(ms(100));
        let (link, _) = self.connect();
        let [Outgoing::Attach { session: SessionId(7), claims, .. }] = &self.send(link)[..] else {
            panic!("no attach");
        };
        let claims = claims.clone();
        let stands = |claim: &Claim| match claim.token {
            Some(token) => (claim.lock, ClaimState::Held(grant(token.get()))),
            None => (claim.lock, ClaimState::Queued),
        };
        let stand = claims.iter().map(stands).collect();
        self.receive(link, Incoming::Attached { terms: terms(epoch, 100), claims: stand });
        (link, claims)
    }

    fn acquire(&mut self, lock: u64) {
        self.acquire_with(lock, WaitUntil::Forever);
    }

    fn acquire_with(&mut self, lock: u64, wait: WaitUntil) {
        let ask = AcquireAsk {
            resource: resource(lock),
            mode: Mode::Exclusive,
            wait,
            reentrant: false,
            report_position: false,
        };
        self.machine.acquire(LockId(lock), ask);
    }

    /// Acquires a lock and has it granted.
    fn hold(&mut self, link: LinkId, lock: u64) {
        self.acquire(lock);
        let requests = self.requests(link);
        self.receive(link, Incoming::Granted { request: requests[0].0, grant: grant(lock) });
        assert!(matches!(self.effects()[..], [Effect::Outcome { outcome: Outcome::Granted(_), .. }]));
    }
}

fn secret() -> Secret {
    Secret(bytes::Bytes::from_static(&[9; 16]))
}

fn terms(epoch: u64, requests_in_flight_max: usize) -> Terms {
    let limits = Limits { requests_in_flight_max, frame_bytes_max: 16 * 1024, unread_frames_max: 8 };
    Terms { epoch: Epoch(epoch), ttl: TTL, lock_delay: Duration::ZERO, limits, peers: vec![] }
}

fn resource(lock: u64) -> ResourceId {
    ResourceId::new("", &format!("r{lock}")).unwrap()
}

fn grant(token: u64) -> Grant {
    Grant { mode: Mode::Exclusive, token: Token::from_u64(token).unwrap(), holds: 1, value: None }
}

fn acquire_request(lock: u64, patience: Patience) -> Request {
    Request::Acquire {
        lock: LockId(lock),
        resource: resource(lock),
        mode: Mode::Exclusive,
        patience,
        reentrant: false,
        report_position: false,
    }
}

fn release_request(lock: u64) -> Request {
    Request::Release { lock: LockId(lock), resource: resource(lock), value: ValueUpdate::Keep }
}

fn cancel_request(lock: u64, release_if_granted: bool) -> Request {
    Request::Cancel { lock: LockId(lock), resource: resource(lock), release_if_granted }
}

fn not_found() -> Error {
    Error::NotFound { message: "there is no such lock".to_owned() }
}

fn revoked() -> Error {
    Error::LockLost { reason: LossReason::Revoked }
}

const LINK: LinkId = LinkId(1);
const SECOND: LinkId = LinkId(2);
