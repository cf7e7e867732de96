//! What no client should send: each gets its code and its reason, and nobody else notices.

use crate::world::*;
use dlock_core::Mode;
use dlock_engine::EngineConfig;
use dlock_proto::v1::client_message::Body as Say;
use dlock_proto::v1::server_message::Body as Hear;
use dlock_proto::v1::{self, *};
use proptest::prelude::*;
use tonic::{Code, Status};

fn reason(status: &Status) -> ErrorReason {
    Failure::from(status).reason()
}

#[tokio::test]
async fn each_bad_field_is_named_and_the_session_goes_on() {
    let world = World::new().await;
    let mut one = world.open().await;
    let named = |name: &str| Say::Acquire(acquire(9, name, Mode::Exclusive));
    let long_value = Some(ValueUpdate { update: Some(value_update::Update::Write(vec![0; 1025].into())) });
    let negative = prost_types::Duration { seconds: -1, nanos: 0 };
    let absurd = prost_types::Duration { seconds: i64::MAX, nanos: 0 };
    let patience = |timeout| Some(Patience { limit: Some(patience::Limit::WaitTimeout(timeout)) });
    let cases = [
        (named(""), "acquire.resource.name"),
        (named(&"x".repeat(1025)), "acquire.resource.name"),
        (named("a\u{7}b"), "acquire.resource.name"),
        (Say::Acquire(AcquireLock { resource: None, ..acquire(9, "r", Mode::Null) }), "acquire.resource"),
        (Say::Acquire(AcquireLock { mode: 99, ..acquire(9, "r", Mode::Null) }), "acquire.mode"),
        (lock(0, "r", Mode::Null), "acquire.lock_id"),
        (
            Say::Acquire(AcquireLock { patience: patience(negative), ..acquire(9, "r", Mode::Null) }),
            "acquire.patience.wait_timeout",
        ),
        (
            Say::Acquire(AcquireLock { patience: patience(absurd), ..acquire(9, "r", Mode::Null) }),
            "acquire.patience.wait_timeout",
        ),
        (
            Say::Acquire(AcquireLock {
                resource: Some(Resource { namespace: "a/b".into(), name: "r".into() }),
                ..acquire(9, "r", Mode::Null)
            }),
            "acquire.resource.namespace",
        ),
        (
            Say::Release(ReleaseLock { lock_id: 9, value: long_value, ..Default::default() }),
            "release.value.write",
        ),
        (Say::Convert(ConvertLock { mode: -3, ..convert(9, Mode::Null) }), "convert.mode"),
    ];
    for (body, field) in cases {
        let failure = one.failed(body).await;
        assert_eq!(
            (failure.code, failure.reason()),
            (Code::InvalidArgument as i32, ErrorReason::InvalidArgument)
        );
        assert_eq!(failure.violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), [field]);
        assert!(
            failure.message.starts_with(field) && failure.message.len() > field.len() + 10,
            "{}",
            failure.message
        );
    }
    one.granted(lock(10, "r", Mode::Exclusive)).await;
}

#[tokio::test]
async fn bad_terms_end_the_stream_and_name_the_field() {
    let world = World::new().await;
    for (ttl, field) in [(0, "open.ttl"), (601, "open.ttl"), (-5, "open.ttl")] {
        let mut stream = world.stream().await;
        let ttl = Some(prost_types::Duration { seconds: ttl, nanos: 0 });
        stream.say(0, Say::Open(OpenSession { ttl, ..Default::default() }));
        let status = stream.end().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(Failure::from(&status).violations[0].field, field);
    }
}

#[tokio::test]
async fn frames_out_of_order_end_the_stream_and_not_the_session() {
    let world = World::new().await;
    let mut one = world.open().await;
    let granted = one.granted(lock(1, "r", Mode::Exclusive)).await;
    let SessionOpened { session_id, resume_secret, .. } = one.opened.clone();
    one.say(1, release(1)); // a number that was used
    let status = one.end().await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, ErrorReason::OutOfOrder));
    let mut again = world.stream().await;
    let claims = vec![Claim { lock_id: 1, resource: resource("r"), ..Default::default() }];
    again.say(
        0,
        Say::Resume(ResumeSession { session_id, resume_secret, attempt: 0, last_sequence: 1, claims }),
    );
    let (_, Hear::Resumed(resumed)) = again.hear().await else { panic!("not resumed") };
    let Some(claim_result::State::Granted(kept)) = resumed.results[0].state.clone() else {
        panic!("not kept")
    };
    assert_eq!(kept.token, granted.token);
}

#[tokio::test]
async fn a_stream_begins_with_open_or_resume_and_has_no_second_one() {
    let world = World::new().await;
    let mut early = world.stream().await;
    early.say(1, lock(1, "r", Mode::Exclusive));
    assert_eq!(reason(&early.end().await.unwrap_err()), ErrorReason::OutOfOrder);
    let mut twice = world.open().await;
    twice.say(0, Say::Open(OpenSession::default()));
    assert_eq!(reason(&twice.end().await.unwrap_err()), ErrorReason::OutOfOrder);
}

#[tokio::test]
async fn only_the_right_secret_resumes_a_session() {
    let world = World::new().await;
    let one = world.open().await;
    let session_id = one.opened.session_id.clone();
    let resume = |session_id: &str, secret: &'static [u8]| {
        let (session_id, resume_secret) = (session_id.to_owned(), secret.into());
        Say::Resume(ResumeSession { session_id, resume_secret, attempt: 0, last_sequence: 0, claims: vec![] })
    };
    let unknown = "0123456789abcdef0123456789abcdef";
    let cases = [
        (resume(&session_id, &[7; 16]), Code::PermissionDenied, ErrorReason::WrongSecret),
        (resume(&session_id, &[7; 3]), Code::InvalidArgument, ErrorReason::InvalidArgument),
        (resume("nonsense", &[7; 16]), Code::InvalidArgument, ErrorReason::InvalidArgument),
        (resume(unknown, &[7; 16]), Code::NotFound, ErrorReason::SessionNotFound),
    ];
    for (body, code, expected) in cases {
        let mut stream = world.stream().await;
        stream.say(0, body);
        let status = stream.end().await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (code, expected), "{status:?}");
    }
}

#[tokio::test]
async fn a_claim_may_leave_its_mode_out_and_not_name_one_that_there_is_not() {
    let world = World::new().await;
    let mut one = world.open().await;
    let token = Some(one.granted(lock(1, "r", Mode::ProtectedRead)).await.token);
    let SessionOpened { session_id, resume_secret, .. } = one.opened.clone();
    let resume = |attempt, mode| {
        let claims = vec![Claim { lock_id: 1, resource: resource("r"), token, mode, ..Default::default() }];
        let (session_id, resume_secret) = (session_id.clone(), resume_secret.clone());
        Say::Resume(ResumeSession { session_id, resume_secret, attempt, last_sequence: 1, claims })
    };
    for (attempt, mode) in [(1, 7), (2, -1)] {
        let mut stream = world.stream().await;
        stream.say(0, resume(attempt, Some(mode)));
        let status = stream.end().await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, ErrorReason::InvalidArgument));
        assert_eq!(Failure::from(&status).violations[0].field, "resume.claims[0].mode");
    }
    let read = v1::Mode::ProtectedRead as i32;
    for (attempt, mode) in [(3, None), (4, Some(v1::Mode::Unspecified as i32)), (5, Some(read))] {
        let mut stream = world.stream().await;
        stream.say(0, resume(attempt, mode));
        let (_, Hear::Resumed(resumed)) = stream.hear().await else { panic!("not resumed") };
        let Some(claim_result::State::Granted(kept)) = &resumed.results[0].state else { panic!("not kept") };
        assert_eq!((kept.mode, Some(kept.token)), (read, token));
    }
}

#[tokio::test]
async fn misuse_of_locks_changes_nothing() {
    let world = World::new().await;
    let (mut one, mut two) = (world.open().await, world.open().await);
    one.granted(lock(1, "r", Mode::Exclusive)).await;
    two.ask(lock(1, "r", Mode::Exclusive));
    assert!(matches!(two.hear().await, (_, Hear::Queued(_))));
    let cases = [
        (two.failed(Say::Convert(convert(1, Mode::ProtectedRead))).await, ErrorReason::StillWaiting),
        (one.failed(release(5)).await, ErrorReason::LockNotFound),
        (one.failed(lock(1, "other", Mode::Exclusive)).await, ErrorReason::LockIdInUse),
        (one.failed(Say::Convert(convert(5, Mode::Null))).await, ErrorReason::LockNotFound),
    ];
    for (failure, expected) in cases {
        assert_eq!(failure.reason(), expected);
        assert_eq!(failure.code, expected.code() as i32);
    }
    one.call(release(1)).await;
    assert_eq!(one.failed(release(1)).await.reason(), ErrorReason::LockNotFound);
    assert!(matches!(two.hear().await, (_, Hear::Granted(_))));
}

#[tokio::test]
async fn floods_are_refused_request_by_request() {
    let config = EngineConfig { requests_in_flight_max: 8, waiters_max: 4, ..EngineConfig::default() };
    let world = World::with(config).await;
    let (mut holder, mut flood) = (world.open().await, world.open().await);
    holder.granted(lock(1, "r", Mode::Exclusive)).await;
    for id in 1..=20 {
        flood.ask(lock(id, &format!("r{}", if id > 4 { "2" } else { "" }), Mode::Exclusive));
    }
    let mut counts = std::collections::BTreeMap::<_, i32>::new();
    while counts.values().sum::<i32>() < 20 {
        let word = match flood.hear().await.1 {
            Hear::Blocking(_) => continue,
            Hear::Queued(_) => "queued",
            Hear::Granted(_) => "granted",
            Hear::Failed(failure) => match failure.reason() {
                ErrorReason::TooManyRequests => "too many",
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        *counts.entry(word).or_insert(0) += 1;
    }
    assert_eq!(counts["queued"], 8, "{counts:?}");
    assert_eq!((counts["granted"], counts["too many"]), (1, 11), "{counts:?}");
    let mut third = world.open().await;
    assert_eq!(third.failed(lock(1, "r", Mode::Exclusive)).await.reason(), ErrorReason::QueueFull);
    holder.call(release(1)).await;
    assert!(matches!(flood.hear().await, (1, Hear::Granted(_))));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_ended_and_its_session_is_not() {
    let world = World::new().await;
    let mut one = world.open().await;
    // Never says how many frames it has read: its credit runs out, and its answers pile up.
    let mut ended = None;
    for round in 0..4000u64 {
        let messages = (0..100)
            .map(|n| ClientMessage { sequence: 1 + round * 100 + n, body: Some(release(1)) })
            .collect();
        if one.sender.send(SessionRequest { received_frames: 0, messages }).is_err() {
            break;
        }
        if round % 500 == 0 {
            tokio::task::yield_now().await;
        }
    }
    if let Err(status) = one.end().await {
        ended = Some(reason(&status));
    }
    assert_eq!(ended, Some(ErrorReason::SlowReader));
    let info = world.engine.sessions(None, 10).await.unwrap();
    assert_eq!(info.items.len(), 1);
}

fn any_message() -> impl Strategy<Value = ClientMessage> {
    let name = prop_oneof!["[a-c]{0,2}", "\\PC{0,8}", Just("x".repeat(1025))];
    let resource = proptest::option::of(
        (name, "[a-z/]{0,3}").prop_map(|(name, namespace)| Resource { namespace, name }),
    );
    let id = 0..4u64;
    let mode = -1..8i32;
    let duration =
        (any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| prost_types::Duration { seconds, nanos });
    let patience = proptest::option::of(prop_oneof![
        any::<bool>().prop_map(|only| Patience { limit: Some(patience::Limit::TryOnly(only)) }),
        duration.prop_map(|timeout| Patience { limit: Some(patience::Limit::WaitTimeout(timeout)) }),
        Just(Patience { limit: None }),
    ]);
    let value = proptest::option::of(prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..1100)
            .prop_map(|bytes| ValueUpdate { update: Some(value_update::Update::Write(bytes.into())) }),
        any::<bool>().prop_map(|mark| ValueUpdate { update: Some(value_update::Update::Invalidate(mark)) }),
    ]);
    let body = prop_oneof![
        4 => (id.clone(), resource.clone(), mode.clone(), patience.clone(), any::<bool>(), any::<bool>()).prop_map(
            |(lock_id, resource, mode, patience, reentrant, report_position)| Say::Acquire(AcquireLock {
                lock_id, resource, mode, patience, reentrant, report_position
            })
        ),
        2 => (id.clone(), resource.clone(), mode, patience, value.clone()).prop_map(
            |(lock_id, resource, mode, patience, value)| Say::Convert(ConvertLock { lock_id, resource, mode, patience, value })
        ),
        2 => (id.clone(), resource.clone(), value)
            .prop_map(|(lock_id, resource, value)| Say::Release(ReleaseLock { lock_id, resource, value })),
        1 => (id.clone(), resource.clone(), any::<bool>()).prop_map(|(lock_id, resource, release_if_granted)| {
            Say::Cancel(CancelLock { lock_id, resource, release_if_granted })
        }),
        1 => (id, resource).prop_map(|(lock_id, resource)| Say::Query(QueryLock { lock_id, resource })),
        1 => (any::<u64>(), any::<u64>()).prop_map(|(epoch, nonce)| Say::Heartbeat(Heartbeat { epoch, nonce })),
    ];
    (0..200u64, proptest::option::weighted(0.97, body))
        .prop_map(|(sequence, body)| ClientMessage { sequence, body })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a client sends, the server goes on serving, and the others' locks stay as they were.
    #[test]
    fn no_frames_harm_the_server_or_anybody_else(
        frames in proptest::collection::vec((any::<u64>(), proptest::collection::vec(any_message(), 0..20)), 0..12),
        orderly in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let mut other = world.open().await;
            let held = other.granted(lock(1, "theirs", Mode::Exclusive)).await;
            let mut wild = world.open().await;
            let mut sequence = 0;
            for (received_frames, mut messages) in frames {
                for message in &mut messages {
                    // Half of the runs number their requests as they should, to get further in.
                    let request = !matches!(message.body, Some(Say::Heartbeat(_)) | None);
                    if orderly && request {
                        sequence += 1;
                        message.sequence = sequence;
                    }
                }
                drop(wild.sender.send(SessionRequest { received_frames, messages }));
            }
            // A handler that had panicked would leave its stream open, without a word.
            if let Err(status) = wild.finish().await {
                prop_assert_ne!(reason(&status), ErrorReason::Unspecified, "{:?}", status);
            }
            let query = Say::Query(QueryLock { lock_id: 1, ..Default::default() });
            prop_assert_eq!(other.granted(query).await.token, held.token);
            let mut fresh = world.open().await;
            fresh.granted(lock(1, "fresh", Mode::Exclusive)).await;
            Ok(())
        })?;
    }
}
