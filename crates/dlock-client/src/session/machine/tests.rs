//! The machine by itself: what comes in, what goes out, on a clock that the test moves.

use super::*;
use crate::session::locks::WaitUntil;
use crate::session::message::{Claim, Grant, Patience, Request};
use dlock_core::{ResourceId, Token};

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

const LINK: LinkId = LinkId(1);
const SECOND: LinkId = LinkId(2);

mod opening {
    use super::*;

    #[test]
    fn requests_wait_for_the_session_and_go_out_in_one_frame() {
        let mut bench = Bench::new(&["a"]);
        bench.acquire(1);
        bench.acquire_with(2, WaitUntil::Try);
        let (link, endpoint) = bench.connect();
        assert_eq!((link, endpoint.as_str()), (LINK, "a"));
        assert_eq!(bench.send(link), [Outgoing::Open { ttl: TTL, lock_delay: Duration::ZERO }]);
        assert_eq!(bench.send(link), [], "nothing else before the answer");
        bench.receive(
            link,
            Incoming::Opened { session: SessionId(7), secret: secret(), terms: terms(1, 100) },
        );
        assert_eq!(
            bench.send(link),
            [
                Outgoing::Request(RequestId(1), acquire_request(1, Patience::Forever)),
                Outgoing::Request(RequestId(2), acquire_request(2, Patience::Try)),
            ]
        );
    }

    #[test]
    fn it_fails_when_every_server_was_tried_once() {
        let mut bench = Bench::new(&["a", "b"]);
        let (first, endpoint) = bench.connect();
        assert_eq!(endpoint, "a");
        bench.break_link(first);
        bench.pass(ms(100));
        let (second, endpoint) = bench.connect();
        assert_eq!(endpoint, "b");
        bench.break_link(second);
        assert!(matches!(
            bench.effects()[..],
            [Effect::Disconnect { .. }, Effect::Finished(End::OpenFailed(Error::Unavailable { .. }))]
        ));
        assert_eq!(bench.machine.poll_timeout(bench.now), None, "nothing is left to do");
    }

    #[test]
    fn a_server_that_does_not_answer_is_given_up() {
        let mut bench = Bench::new(&["a"]);
        bench.connect();
        bench.pass(ms(4999));
        assert!(bench.effects().is_empty());
        bench.pass(ms(1));
        assert!(matches!(bench.effects()[..], [Effect::Disconnect { link: LINK }, Effect::Finished(_)]));
    }

    #[test]
    fn a_refusal_that_no_other_server_would_take_back_ends_it_at_once() {
        let mut bench = Bench::new(&["a", "b"]);
        let (link, _) = bench.connect();
        let refused = LinkError::Refused(Error::PermissionDenied { message: "who are you".to_owned() });
        bench.machine.handle_disconnected(link, refused, bench.now);
        assert!(matches!(
            bench.effects()[..],
            [Effect::Finished(End::OpenFailed(Error::PermissionDenied { .. }))]
        ));
    }
}

mod lease {
    use super::*;

    fn heartbeat(bench: &mut Bench) -> u64 {
        match bench.send(LINK)[..] {
            [Outgoing::Heartbeat { epoch: Epoch(1), nonce }] => nonce,
            ref other => panic!("{other:?}"),
        }
    }

    #[test]
    fn heartbeats_come_every_third_of_the_time_to_live_and_count_from_their_sending() {
        let mut bench = Bench::opened(&["a"]);
        bench.pass(TTL / 3 - ms(1));
        assert_eq!(bench.send(LINK), []);
        bench.pass(ms(1));
        let sent = bench.now;
        let nonce = heartbeat(&mut bench);
        assert_eq!(bench.send(LINK), [], "once");
        bench.pass(ms(400));
        bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(1), nonce });
        match bench.effects()[..] {
            [Effect::Deadline(deadline)] => assert_eq!(deadline, sent + TTL - MARGIN),
            ref other => panic!("{other:?}"),
        }
        bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(1), nonce });
        assert!(bench.effects().is_empty(), "an acknowledgement counts once");
    }

    #[test]
    fn an_acknowledgement_of_another_epoch_or_nonce_counts_for_nothing() {
        let mut bench = Bench::opened(&["a"]);
        bench.pass(TTL / 3);
        let nonce = heartbeat(&mut bench);
        bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(2), nonce });
        bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(1), nonce: nonce ^ 1 });
        assert!(bench.effects().is_empty());
    }

    #[test]
    fn half_a_time_to_live_of_silence_makes_it_try_another_server_and_keep_the_old_link() {
        let mut bench = Bench::opened(&["a", "b"]);
        bench.pass(TTL / 2 - ms(1));
        assert!(bench.effects().is_empty());
        bench.pass(ms(1));
        let (link, endpoint) = bench.connect();
        assert_eq!((link, endpoint.as_str()), (SECOND, "b"));
        assert!(matches!(bench.send(SECOND)[..], [Outgoing::Attach { .. }]));
        bench.receive(SECOND, Incoming::Attached { terms: terms(2, 100), claims: vec![] });
        assert!(matches!(
            bench.effects()[..],
            [
                Effect::Disconnect { link: LINK },
                Effect::Deadline(_),
                Effect::Event(SessionEvent::Reattached { .. })
            ]
        ));
    }

    #[test]
    fn at_the_deadline_it_is_in_jeopardy_and_goes_on_attaching() {
        let mut bench = Bench::opened(&["a"]);
        bench.hold(LINK, 1);
        bench.break_link(LINK);
        let deadline = bench.now + TTL - MARGIN;
        let mut jeopardy = None;
        while bench.now < deadline + ms(5000) {
            for effect in bench.effects() {
                match effect {
                    Effect::Connect { link, .. } => bench.break_link(link),
                    Effect::Jeopardy => jeopardy = Some(bench.now),
                    _ => {}
                }
            }
            let next = bench.machine.poll_timeout(bench.now).expect("it goes on");
            assert!(next > bench.now, "the timer spins");
            bench.now = next;
        }
        assert_eq!(jeopardy, Some(deadline));
        let (link, claims) = bench.reattach(2);
        assert_eq!(claims.len(), 1);
        assert!(matches!(
            bench.effects()[..],
            [.., Effect::Deadline(_), Effect::Event(SessionEvent::Reattached { .. })]
        ));
        assert!(bench.requests(link).is_empty());
    }

    #[test]
    fn an_acknowledgement_after_the_deadline_comes_after_jeopardy() {
        let mut bench = Bench::opened(&["a"]);
        bench.pass(TTL / 3);
        let nonce = heartbeat(&mut bench);
        // Not told of the time that passed, as a driver that was paused.
        bench.now = bench.now + TTL;
        bench.now = bench.now - ms(1100);
        bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(1), nonce });
        let effects: Vec<_> = std::iter::from_fn(|| bench.machine.poll_effect()).collect();
        assert!(
            matches!(
                effects[..],
                [
                    Effect::Jeopardy,
                    Effect::Event(SessionEvent::Jeopardy { .. }),
                    Effect::Deadline(_),
                    Effect::Event(SessionEvent::Reattached { .. })
                ]
            ),
            "{effects:?}"
        );
    }

    #[test]
    fn a_grant_in_jeopardy_is_delivered_when_the_lease_is_good_again() {
        let mut bench = Bench::opened(&["a"]);
        bench.acquire(1);
        let requests = bench.requests(LINK);
        bench.pass(TTL - MARGIN);
        assert!(matches!(bench.effects()[..], [.., Effect::Jeopardy, Effect::Event(_)]));
        bench.receive(LINK, Incoming::Granted { request: requests[0].0, grant: grant(1) });
        assert!(bench.effects().is_empty(), "nobody may act on it yet");
        let nonce = heartbeat(&mut bench);
        bench.receive(LINK, Incoming::HeartbeatAck { epoch: Epoch(1), nonce });
        assert!(matches!(bench.effects()[..], [Effect::Deadline(_), Effect::Event(_)]));
        bench.pass(ms(100));
        let requests = bench.requests(LINK);
        assert_eq!(requests, [(RequestId(2), acquire_request(1, Patience::Forever))]);
        bench.receive(LINK, Incoming::Granted { request: RequestId(2), grant: grant(1) });
        assert!(matches!(bench.effects()[..], [Effect::Outcome { outcome: Outcome::Granted(_), .. }]));
    }

    #[test]
    fn it_gives_up_long_after_the_session_must_have_expired() {
        let mut bench = Bench::opened(&["a"]);
        bench.break_link(LINK);
        let deadline = bench.now + TTL - MARGIN;
        loop {
            for effect in bench.effects() {
                match effect {
                    Effect::Connect { link, .. } => bench.break_link(link),
                    Effect::Finished(end) => {
                        assert!(matches!(end, End::Lost(LossReason::Unreachable)));
                        assert_eq!(bench.now, deadline + TTL + GIVE_UP_AFTER);
                        return;
                    }
                    _ => {}
                }
            }
            bench.now = bench.machine.poll_timeout(bench.now).expect("it goes on");
        }
    }
}

mod requests {
    use super::*;

    fn outcome(bench: &mut Bench) -> Outcome {
        match &bench.effects()[..] {
            [Effect::Outcome { outcome, .. }] => outcome.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wait_is_sent_as_what_is_left_of_it() {
        let mut bench = Bench::opened(&["a"]);
        bench.acquire_with(1, WaitUntil::Deadline(bench.now + ms(3000)));
        bench.pass(ms(1000));
        assert_eq!(bench.requests(LINK), [(RequestId(1), acquire_request(1, Patience::For(ms(2000))))]);
        bench.break_link(LINK);
        let (link, _) = bench.reattach(2);
        assert_eq!(bench.requests(link), [(RequestId(2), acquire_request(1, Patience::For(ms(1900))))]);
    }

    #[test]
    fn the_window_is_kept_and_what_gives_back_has_a_part_of_it_to_itself() {
        let mut bench = Bench::new(&["a"]);
        let (link, _) = bench.connect();
        bench.send(link);
        bench.receive(link, Incoming::Opened { session: SessionId(7), secret: secret(), terms: terms(1, 4) });
        bench.effects();
        bench.hold(link, 1);
        (2..10).for_each(|lock| bench.acquire(lock));
        assert_eq!(bench.requests(link).len(), 3, "one of four places is kept free");
        bench.machine.release(LockId(1), ValueUpdate::Keep);
        assert_eq!(bench.requests(link), [(RequestId(5), release_request(1))]);
        bench.receive(link, Incoming::Released { request: RequestId(5) });
        assert!(matches!(outcome(&mut bench), Outcome::Released));
        bench.receive(link, Incoming::Granted { request: RequestId(2), grant: grant(2) });
        assert_eq!(bench.requests(link), [(RequestId(6), acquire_request(5, Patience::Forever))]);
    }

    #[test]
    fn frames_taken_in_are_acknowledged_before_the_server_stops_sending() {
        let mut bench = Bench::opened(&["a"]);
        bench.receive(LINK, Incoming::Blocking { lock: LockId(1), wanted: Mode::Exclusive });
        let credit = Frame { received: 2, messages: vec![] };
        assert_eq!(
            bench.machine.poll_frame(LINK, bench.now),
            Some(credit),
            "a quarter of 8, with the opening"
        );
        assert_eq!(bench.machine.poll_frame(LINK, bench.now), None);
        bench.receive(LINK, Incoming::Blocking { lock: LockId(1), wanted: Mode::Exclusive });
        assert_eq!(bench.machine.poll_frame(LINK, bench.now), None);
        bench.acquire(1);
        let frame = bench.machine.poll_frame(LINK, bench.now).expect("the acquire");
        assert_eq!((frame.received, frame.messages.len()), (3, 1), "it goes along with what is sent anyway");
    }

    #[test]
    fn a_frame_is_never_longer_than_the_server_takes() {
        let mut bench = Bench::opened(&["a"]);
        (1..=87).for_each(|lock| bench.acquire(lock));
        let mut requests = 0;
        while let Some(frame) = bench.machine.poll_frame(LINK, bench.now) {
            let bytes: usize = frame
                .messages
                .iter()
                .map(|message| match message {
                    Outgoing::Request(_, request) => request.bytes(),
                    other => panic!("{other:?}"),
                })
                .sum();
            assert!(bytes + FRAME_OVERHEAD_BYTES <= 16 * 1024);
            requests += frame.messages.len();
        }
        assert_eq!(requests, 87);
    }

    #[test]
    fn an_unavailable_service_is_asked_again_and_the_lock_withdrawn_in_the_end() {
        let mut bench = Bench::opened(&["a"]);
        bench.acquire(1);
        for attempt in 1..=8 {
            let requests = bench.requests(LINK);
            assert_eq!(requests, [(RequestId(attempt), acquire_request(1, Patience::Forever))]);
            bench.receive(
                LINK,
                Incoming::Failed { request: RequestId(attempt), error: Error::unavailable("no quorum") },
            );
            if attempt < 8 {
                bench.pass(ms(1250));
                assert!(!bench.effects().iter().any(|effect| matches!(effect, Effect::Outcome { .. })));
            }
        }
        assert!(matches!(outcome(&mut bench), Outcome::Failed(Error::Unavailable { .. })));
        assert_eq!(bench.requests(LINK), [(RequestId(9), cancel_request(1, true))]);
    }

    #[test]
    fn a_refusal_is_told_and_leaves_nothing() {
        let mut bench = Bench::opened(&["a"]);
        bench.acquire_with(1, WaitUntil::Try);
        bench.requests(LINK);
        bench.receive(LINK, Incoming::Failed { request: RequestId(1), error: Error::WouldBlock });
        assert!(matches!(outcome(&mut bench), Outcome::Failed(Error::WouldBlock)));
        assert!(bench.machine.locks.is_empty());
    }

    #[test]
    fn a_lost_lock_is_told_and_gone() {
        let mut bench = Bench::opened(&["a"]);
        bench.hold(LINK, 1);
        bench.receive(LINK, Incoming::Lost { lock: LockId(1), reason: LossReason::Revoked });
        assert!(matches!(bench.effects()[..], [Effect::Lost { reason: LossReason::Revoked, .. }]));
        assert!(!bench.machine.release(LockId(1), ValueUpdate::Keep));
    }
}

mod giving_up {
    use super::*;

    #[test]
    fn an_acquire_that_was_never_sent_leaves_no_trace() {
        let mut bench = Bench::opened(&["a"]);
        bench.acquire(1);
        bench.machine.withdraw(LockId(1));
        assert_eq!(bench.send(LINK), []);
        assert!(bench.machine.locks.is_empty());
    }

    #[test]
    fn an_acquire_that_was_sent_is_withdrawn_until_that_is_acknowledged() {
        let mut bench = Bench::opened(&["a"]);
        bench.acquire(1);
        bench.requests(LINK);
        bench.machine.withdraw(LockId(1));
        assert_eq!(bench.requests(LINK), [(RequestId(2), cancel_request(1, true))]);
        // The grant was under way, and the link breaks before the answer to the cancel.
        bench.receive(LINK, Incoming::Granted { request: RequestId(1), grant: grant(1) });
        assert!(bench.effects().is_empty(), "nobody is there to be told");
        bench.break_link(LINK);
        let (link, claims) = bench.reattach(2);
        assert_eq!(claims, [], "nobody claims what nobody wants");
        assert_eq!(bench.requests(link), [(RequestId(3), cancel_request(1, true))]);
        bench.receive(link, Incoming::Cancelled { request: RequestId(3) });
        assert!(bench.machine.locks.is_empty());
    }

    #[test]
    fn a_lock_that_was_granted_to_nobody_is_released() {
        let mut bench = Bench::opened(&["a"]);
        bench.hold(LINK, 1);
        bench.machine.withdraw(LockId(1));
        assert_eq!(bench.requests(LINK), [(RequestId(2), release_request(1))]);
    }

    #[test]
    fn a_new_conversion_waits_for_the_end_of_one_that_was_given_up() {
        let convert = |mode| ConvertAsk { mode, wait: WaitUntil::Forever, value: ValueUpdate::Keep };
        let mut bench = Bench::opened(&["a"]);
        bench.hold(LINK, 1);
        assert!(bench.machine.convert(LockId(1), convert(Mode::ProtectedRead)));
        assert_eq!(bench.requests(LINK).len(), 1);
        bench.machine.cancel_conversion(LockId(1));
        assert_eq!(bench.requests(LINK), [(RequestId(3), cancel_request(1, false))]);
        assert!(bench.machine.convert(LockId(1), convert(Mode::Null)));
        assert_eq!(bench.requests(LINK), []);
        // The cancel came too late.
        let converted = Grant { mode: Mode::ProtectedRead, ..grant(1) };
        bench.receive(LINK, Incoming::Granted { request: RequestId(2), grant: converted.clone() });
        bench.receive(LINK, Incoming::Granted { request: RequestId(3), grant: converted });
        assert!(bench.effects().iter().all(|effect| matches!(
            effect,
            Effect::Outcome { outcome: Outcome::Converted { mode: Mode::ProtectedRead, .. }, .. }
        )));
        let [(RequestId(4), Request::Convert { mode: Mode::Null, .. })] = bench.requests(LINK)[..] else {
            panic!("the second conversion is not sent");
        };
    }
}

mod reconnecting {
    use super::*;

    #[test]
    fn what_is_held_and_wanted_is_claimed_and_what_has_no_answer_sent_again_in_its_order() {
        let mut bench = Bench::opened(&["a"]);
        bench.hold(LINK, 1);
        bench.hold(LINK, 2);
        bench.acquire(3);
        bench.requests(LINK);
        bench.receive(LINK, Incoming::Queued { request: RequestId(3), ahead: 4 });
        bench.machine.release(LockId(2), ValueUpdate::Keep);
        bench.requests(LINK);
        bench.acquire(4);
        bench.effects();
        bench.break_link(LINK);
        let (link, claims) = bench.reattach(2);
        let held = Claim { lock: LockId(1), resource: resource(1), token: Token::from_u64(1), waiting: None };
        let waiting =
            Claim { lock: LockId(3), resource: resource(3), token: None, waiting: Some(RequestId(3)) };
        assert_eq!(claims, [held, waiting]);
        assert_eq!(
            bench.requests(link),
            [
                (RequestId(5), release_request(2)),
                (RequestId(6), acquire_request(3, Patience::Forever)),
                (RequestId(7), acquire_request(4, Patience::Forever)),
            ]
        );
    }

    #[test]
    fn a_release_that_is_sent_again_and_finds_no_lock_has_worked_the_first_time() {
        let mut bench = Bench::opened(&["a"]);
        bench.hold(LINK, 1);
        bench.machine.release(LockId(1), ValueUpdate::Keep);
        bench.requests(LINK);
        bench.break_link(LINK);
        let (link, _) = bench.reattach(2);
        bench.requests(link);
        bench.effects();
        bench.receive(link, Incoming::Failed { request: RequestId(3), error: not_found() });
        assert!(matches!(bench.effects()[..], [Effect::Outcome { outcome: Outcome::Released, .. }]));
    }

    #[test]
    fn a_release_that_finds_no_lock_at_once_says_so() {
        let mut bench = Bench::opened(&["a"]);
        bench.hold(LINK, 1);
        bench.machine.release(LockId(1), ValueUpdate::Keep);
        bench.requests(LINK);
        bench.receive(LINK, Incoming::Failed { request: RequestId(2), error: not_found() });
        assert!(matches!(
            bench.effects()[..],
            [Effect::Outcome { outcome: Outcome::Failed(Error::NotFound { .. }), .. }]
        ));
    }

    #[test]
    fn a_claimed_lock_that_is_not_recorded_is_lost() {
        let mut bench = Bench::opened(&["a"]);
        bench.hold(LINK, 1);
        bench.break_link(LINK);
        bench.pass(ms(100));
        let (link, _) = bench.connect();
        bench.send(link);
        bench.receive(
            link,
            Incoming::Attached { terms: terms(2, 100), claims: vec![(LockId(1), ClaimState::Absent)] },
        );
        assert!(
            bench
                .effects()
                .iter()
                .any(|effect| matches!(effect, Effect::Lost { lock: LockId(1), reason: LossReason::Absent }))
        );
    }

    #[test]
    fn a_held_lock_that_the_new_home_says_nothing_of_is_asked_for() {
        let mut bench = Bench::opened(&["a"]);
        (1..=3).for_each(|lock| bench.hold(LINK, lock));
        bench.break_link(LINK);
        bench.pass(ms(100));
        let (link, _) = bench.connect();
        bench.send(link);
        let claims = vec![(LockId(1), ClaimState::Held(grant(1))), (LockId(2), ClaimState::Unknown)];
        bench.receive(link, Incoming::Attached { terms: terms(2, 100), claims });
        bench.effects();
        let query = |lock| Request::Query { lock: LockId(lock), resource: resource(lock) };
        assert_eq!(bench.requests(link), [(RequestId(4), query(2)), (RequestId(5), query(3))]);
        bench.receive(link, Incoming::Granted { request: RequestId(4), grant: grant(2) });
        bench.receive(link, Incoming::Failed { request: RequestId(5), error: not_found() });
        assert!(matches!(
            bench.effects()[..],
            [
                Effect::Outcome { lock: LockId(2), outcome: Outcome::Converted { .. } },
                Effect::Lost { lock: LockId(3), reason: LossReason::Absent }
            ]
        ));
    }

    #[test]
    fn what_has_no_room_among_the_claims_is_found_again_later() {
        let mut bench = Bench::opened(&["a"]);
        (1..=200).for_each(|lock| bench.hold(LINK, lock));
        bench.break_link(LINK);
        let (link, claims) = bench.reattach(2);
        assert!((1..200).contains(&claims.len()), "{}", claims.len());
        let bytes: usize = claims.iter().map(Claim::bytes).sum();
        assert!(bytes + FRAME_OVERHEAD_BYTES <= 16 * 1024);
        assert_eq!(bench.requests(link).len(), 200 - claims.len());
    }

    #[test]
    fn a_server_that_goes_away_is_left_for_another_one_and_used_until_then() {
        let mut bench = Bench::opened(&["a", "b"]);
        bench.receive(LINK, Incoming::Draining { peers: vec![] });
        let (link, endpoint) = bench.connect();
        assert_eq!(endpoint, "b");
        bench.acquire(1);
        assert_eq!(bench.requests(LINK).len(), 1, "the old link still serves");
        assert!(matches!(bench.send(link)[..], [Outgoing::Attach { .. }]));
        bench.acquire(2);
        assert_eq!(bench.requests(LINK), [], "the session may be elsewhere by now");
        bench.receive(link, Incoming::Attached { terms: terms(2, 100), claims: vec![] });
        assert!(matches!(bench.effects()[..], [Effect::Disconnect { link: LINK }, ..]));
        assert_eq!(bench.requests(link).len(), 2);
    }

    #[test]
    fn a_session_that_is_over_is_not_attached_again() {
        let mut bench = Bench::opened(&["a"]);
        bench.hold(LINK, 1);
        bench.break_link(LINK);
        bench.pass(ms(100));
        let (link, _) = bench.connect();
        bench.machine.handle_disconnected(link, LinkError::SessionOver(LossReason::Expired), bench.now);
        assert!(matches!(
            bench.effects()[..],
            [
                Effect::Event(SessionEvent::Lost { reason: LossReason::Expired, .. }),
                Effect::Finished(End::Lost(LossReason::Expired))
            ]
        ));
    }

    #[test]
    fn what_an_abandoned_link_says_does_not_count() {
        let mut bench = Bench::opened(&["a"]);
        bench.break_link(LINK);
        let (link, _) = bench.reattach(2);
        bench.effects();
        bench.receive(LINK, Incoming::Ended { reason: LossReason::Expired });
        bench.break_link(LINK);
        assert!(bench.effects().is_empty());
        bench.acquire(1);
        assert_eq!(bench.requests(link).len(), 1);
    }
}

mod closing {
    use super::*;

    #[test]
    fn locks_are_released_before_the_session_is_closed() {
        let mut bench = Bench::opened(&["a"]);
        bench.hold(LINK, 1);
        bench.machine.close(bench.now);
        assert_eq!(bench.send(LINK), [Outgoing::Request(RequestId(2), release_request(1))]);
        bench.receive(LINK, Incoming::Released { request: RequestId(2) });
        assert_eq!(bench.send(LINK), [Outgoing::Close(RequestId(3))]);
        assert_eq!(bench.send(LINK), []);
        bench.receive(LINK, Incoming::Ended { reason: LossReason::Closed });
        assert!(matches!(bench.effects()[..], [.., Effect::Finished(End::Closed { confirmed: true })]));
    }

    #[test]
    fn it_is_bounded_when_no_server_answers() {
        let mut bench = Bench::opened(&["a"]);
        bench.break_link(LINK);
        bench.machine.close(bench.now);
        bench.pass(ms(10_000));
        assert!(matches!(bench.effects()[..], [.., Effect::Finished(End::Closed { confirmed: false })]));
    }

    #[test]
    fn a_session_that_was_never_opened_is_closed_at_once() {
        let mut bench = Bench::new(&["a"]);
        bench.machine.close(bench.now);
        assert!(matches!(bench.effects()[..], [Effect::Finished(End::Closed { confirmed: true })]));
    }
}
