//! Sessions on their streams.

use crate::world::*;
use dlock_core::Mode;
use dlock_proto::v1::client_message::Body as Say;
use dlock_proto::v1::server_message::Body as Hear;
use dlock_proto::v1::*;

#[tokio::test]
async fn six_by_six_modes_agree_with_the_table_through_the_whole_stack() {
    let world = World::new().await;
    let (mut one, mut two) = (world.open().await, world.open().await);
    let mut id = 0;
    for held in Mode::ALL {
        for asked in Mode::ALL {
            id += 1;
            let name = format!("{held} {asked}");
            one.granted(lock(id, &name, held)).await;
            match two.call(try_lock(id, &name, asked)).await {
                Hear::Granted(_) => assert!(held.compatible(asked), "{name}"),
                Hear::Failed(failure) => {
                    assert_eq!(failure.reason(), ErrorReason::WouldBlock);
                    assert!(!held.compatible(asked), "{name}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_waiting_request_is_told_its_place_and_then_its_grant() {
    let world = World::new().await;
    let (mut one, mut two) = (world.open().await, world.open().await);
    let first = one.granted(lock(1, "r", Mode::Exclusive)).await;
    let asked = two.ask(lock(1, "r", Mode::Exclusive));
    assert!(
        matches!(two.hear().await, (sequence, Hear::Queued(place)) if sequence == asked && place.ahead == 0)
    );
    match one.hear().await {
        (0, Hear::Blocking(blocking)) => {
            assert_eq!((blocking.lock_id, blocking.wanted()), (1, v1_mode(Mode::Exclusive)))
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(one.call(release(1)).await, Hear::Released(LockReleased { lock_id: 1 })));
    match two.hear().await {
        (sequence, Hear::Granted(granted)) => assert!(sequence == asked && granted.token > first.token),
        other => panic!("{other:?}"),
    }
}

fn v1_mode(mode: Mode) -> dlock_proto::v1::Mode {
    dlock_proto::mode_to_proto(mode)
}

#[tokio::test]
async fn a_wait_ends_in_time() {
    let world = World::new().await;
    let (mut one, mut two) = (world.open().await, world.open().await);
    one.granted(lock(1, "r", Mode::Exclusive)).await;
    let asked = two.ask(Say::Acquire(AcquireLock { patience: wait(50), ..acquire(1, "r", Mode::Exclusive) }));
    assert!(matches!(two.hear().await, (_, Hear::Queued(_))));
    match two.hear().await {
        (sequence, Hear::Failed(failure)) => {
            assert_eq!((sequence, failure.reason()), (asked, ErrorReason::WaitTimeout));
            assert_eq!(failure.code, tonic::Code::DeadlineExceeded as i32);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_conversion_writes_a_value_on_its_way_down() {
    let world = World::new().await;
    let (mut one, mut two) = (world.open().await, world.open().await);
    one.granted(lock(1, "r", Mode::Exclusive)).await;
    let value = Some(ValueUpdate { update: Some(value_update::Update::Write("v1".into())) });
    let down = ConvertLock { value, ..convert(1, Mode::ProtectedRead) };
    one.granted(Say::Convert(down)).await;
    let granted = two.granted(lock(1, "r", Mode::ProtectedRead)).await;
    assert_eq!(granted.value, Some(ValueBlock { data: "v1".into(), valid: true }));
    let deadlock = {
        one.ask(Say::Convert(convert(1, Mode::Exclusive)));
        two.failed(Say::Convert(convert(1, Mode::Exclusive))).await
    };
    assert_eq!(deadlock.reason(), ErrorReason::Deadlock);
}

#[tokio::test]
async fn a_broken_stream_is_resumed_with_its_locks_and_waits() {
    let world = World::new().await;
    let (mut one, mut other) = (world.open().await, world.open().await);
    let held = one.granted(lock(1, "mine", Mode::Exclusive)).await;
    other.granted(lock(1, "theirs", Mode::Exclusive)).await;
    let waiting = one.ask(lock(2, "theirs", Mode::Exclusive));
    assert!(matches!(one.hear().await, (_, Hear::Queued(_))));
    let SessionOpened { session_id, resume_secret, .. } = one.opened.clone();
    drop(one);
    let claim = |lock_id, name, waiting_sequence| Claim {
        lock_id,
        resource: resource(name),
        waiting_sequence,
        ..Default::default()
    };
    let claims = vec![claim(1, "mine", None), claim(2, "theirs", Some(waiting)), claim(3, "never", None)];
    let mut again = world.stream().await;
    again.say(
        0,
        Say::Resume(ResumeSession { session_id, resume_secret, attempt: 0, last_sequence: waiting, claims }),
    );
    let (_, Hear::Resumed(resumed)) = again.hear().await else { panic!("not resumed") };
    assert_eq!(resumed.terms.unwrap().epoch, 2);
    let states: Vec<_> = resumed.results.into_iter().map(|result| result.state.unwrap()).collect();
    assert!(matches!(&states[0], claim_result::State::Granted(granted) if granted.token == held.token));
    assert!(matches!(&states[1], claim_result::State::Queued(place) if place.ahead == 0));
    assert!(matches!(&states[2], claim_result::State::Absent(_)));
    other.call(release(1)).await;
    assert!(matches!(again.hear().await, (sequence, Hear::Granted(_)) if sequence == waiting));
}

#[tokio::test]
async fn a_resumed_session_leaves_its_old_stream() {
    let world = World::new().await;
    let mut one = world.open().await;
    let SessionOpened { session_id, resume_secret, .. } = one.opened.clone();
    let mut again = world.stream().await;
    again.say(
        0,
        Say::Resume(ResumeSession {
            session_id,
            resume_secret,
            attempt: 0,
            last_sequence: 0,
            claims: vec![],
        }),
    );
    assert!(matches!(again.hear().await, (0, Hear::Resumed(_))));
    assert!(matches!(one.hear().await, (0, Hear::Moved(_))));
    one.end().await.unwrap();
}

#[tokio::test]
async fn heartbeats_are_acknowledged_for_their_epoch_only() {
    let world = World::new().await;
    let mut one = world.open().await;
    one.say(0, Say::Heartbeat(Heartbeat { epoch: 1, nonce: 77 }));
    match one.hear().await {
        (0, Hear::Heartbeat(ack)) => assert_eq!((ack.epoch, ack.nonce), (1, 77)),
        other => panic!("{other:?}"),
    }
    one.say(0, Say::Heartbeat(Heartbeat { epoch: 2, nonce: 78 }));
    assert!(matches!(one.hear().await, (0, Hear::Moved(_))));
}

#[tokio::test]
async fn a_closed_session_ends_its_stream_and_frees_its_locks() {
    let world = World::new().await;
    let (mut one, mut two) = (world.open().await, world.open().await);
    one.granted(lock(1, "r", Mode::Exclusive)).await;
    one.ask(Say::Close(CloseSession {}));
    match one.hear().await {
        (0, Hear::Ended(ended)) => assert_eq!(ended.reason(), EndReason::Closed),
        other => panic!("{other:?}"),
    }
    one.end().await.unwrap();
    two.granted(try_lock(1, "r", Mode::Exclusive)).await;
}

#[tokio::test]
async fn a_batch_is_taken_in_its_order() {
    let world = World::new().await;
    let mut one = world.open().await;
    let mut messages = Vec::new();
    for sequence in 1..=1000u64 {
        let id = sequence.div_ceil(2);
        let body = if sequence % 2 == 1 { lock(id, "r", Mode::Exclusive) } else { release(id) };
        messages.push(ClientMessage { sequence, body: Some(body) });
    }
    one.sender.send(SessionRequest { received_frames: 0, messages }).unwrap();
    let mut token = 0;
    for expected in 1..=1000 {
        let (sequence, body) = one.hear().await;
        assert_eq!(sequence, expected);
        match body {
            Hear::Granted(granted) => {
                assert!(expected % 2 == 1 && granted.token > token);
                token = granted.token;
            }
            Hear::Released(_) => assert!(expected % 2 == 0),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_draining_server_tells_its_streams_to_move() {
    let world = World::new().await;
    let mut one = world.open().await;
    one.granted(lock(1, "r", Mode::Exclusive)).await;
    world.engine.drain();
    assert!(matches!(one.hear().await, (0, Hear::MoveAway(_))));
    assert!(matches!(one.call(release(1)).await, Hear::Released(_)));
    let mut late = world.stream().await;
    late.say(0, Say::Open(OpenSession::default()));
    let status = late.end().await.unwrap_err();
    assert_eq!(Failure::from(&status).reason(), ErrorReason::Draining);
}
