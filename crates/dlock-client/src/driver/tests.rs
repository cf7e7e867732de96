//! Clients against a server that keeps no locks, in one runtime, under paused time.

mod cell;

use super::fake::{Fake, TTL};
use crate::{Error, LossReason, Mode, SessionEvent};
use dlock_proto::v1::client_message::Body as Said;
use futures::{FutureExt, StreamExt, future::join_all};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

/// Time for whatever is under way.
async fn settle() {
    sleep(Duration::from_millis(100)).await;
}

#[tokio::test(start_paused = true)]
async fn no_session_is_opened_before_the_first_lock() {
    let fake = Fake::start();
    let client = fake.client().connect().await.unwrap();
    settle().await;
    assert_eq!((fake.messages(), client.session_id()), (vec![], None));
    let guard = client.lock("a").acquire().await.unwrap();
    assert_eq!(client.session_id(), Some(guard.session_id()));
    assert!(matches!(fake.messages()[..], [Said::Open(_), Said::Acquire(_)]));
}

#[tokio::test(start_paused = true)]
async fn requests_of_one_moment_share_a_frame() {
    let fake = Fake::start();
    let client = fake.client().connect().await.unwrap();
    let first = client.lock("a").acquire().await.unwrap();
    fake.heard.lock().clear();
    let guards = join_all((0..100).map(|n| client.lock(format!("r{n}")).acquire())).await;
    assert!(guards.iter().all(Result::is_ok));
    assert_eq!(fake.heard.lock().len(), 1);
    first.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_acquire_is_withdrawn() {
    let fake = Fake::start();
    let client = fake.client().connect().await.unwrap();
    let waiting = client.lock("busy").acquire();
    assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
    settle().await;
    let messages = fake.messages();
    let [Said::Open(_), Said::Acquire(acquire), Said::Cancel(cancel)] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert_eq!((acquire.lock_id, true), (cancel.lock_id, cancel.release_if_granted));
}

#[tokio::test(start_paused = true)]
async fn an_acquire_that_is_dropped_with_its_grant_unseen_is_released() {
    let fake = Fake::start();
    let client = fake.client().connect().await.unwrap();
    let mut acquire = Box::pin(client.lock("a").acquire());
    assert!(acquire.as_mut().now_or_never().is_none());
    // The grant arrives, and nobody looks.
    settle().await;
    drop(acquire);
    settle().await;
    assert!(matches!(fake.messages()[..], [Said::Open(_), Said::Acquire(_), Said::Release(_)]));
}

#[tokio::test(start_paused = true)]
async fn places_are_told_to_who_wants_to_know() {
    let fake = Fake::start();
    let client = fake.client().connect().await.unwrap();
    let (sender, mut places) = tokio::sync::mpsc::unbounded_channel();
    let waiting = client.lock("busy").on_queued(move |place| sender.send(place.ahead).unwrap()).acquire();
    tokio::select! {
        place = places.recv() => assert_eq!(place, Some(3)),
        result = waiting => panic!("{result:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_means_jeopardy_at_the_deadline_and_for_ever() {
    let fake = Fake::start();
    let client = fake.client().connect().await.unwrap();
    let mut events = client.events();
    let guard = client.lock("a").acquire().await.unwrap();
    // Heartbeats keep it far beyond one time to live.
    sleep(TTL * 3).await;
    assert!(guard.is_valid());

    fake.silent.send_replace(true);
    let (token, left) = (guard.cancellation_token(), guard.remaining());
    let silence = Instant::now();
    assert_eq!(guard.lost().await, LossReason::Jeopardy);
    let took = silence.elapsed();
    assert!(took >= left && took <= left + Duration::from_millis(5), "{took:?} instead of {left:?}");
    assert!(token.is_cancelled() && !guard.is_valid() && guard.remaining().is_zero());

    fake.silent.send_replace(false);
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(SessionEvent::Reattached { .. })) {
        seen.push(events.next().await.unwrap());
    }
    assert!(seen.iter().any(|event| matches!(event, SessionEvent::Jeopardy { .. })));
    assert!(!guard.is_valid(), "once lost, always lost");
    let again = client.lock("a").acquire().await.unwrap();
    assert!(again.is_valid(), "the session lives, and so do new guards");
    assert_eq!(again.session_id(), guard.session_id());
    assert!(matches!(guard.release().await, Err(crate::ReleaseError::Lost(LossReason::Jeopardy))));
    settle().await;
    assert!(matches!(fake.messages().last(), Some(Said::Release(_))), "it is released all the same");
}

#[tokio::test(start_paused = true)]
async fn a_conversion_shows_in_the_guard_and_a_lost_one_is_refused() {
    let fake = Fake::start();
    let client = fake.client().connect().await.unwrap();
    let mut guard = client.lock("a").acquire().await.unwrap();
    guard.convert(Mode::ProtectedRead).await.unwrap();
    assert_eq!(guard.mode(), Mode::ProtectedRead);
    fake.silent.send_replace(true);
    let error = guard.convert(Mode::Exclusive).await.unwrap_err();
    assert!(matches!(error, Error::LockLost { reason: LossReason::Jeopardy }), "{error}");
    let error = guard.convert(Mode::Exclusive).await.unwrap_err();
    assert!(matches!(error, Error::LockLost { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_running_after_a_close() {
    let fake = Fake::start();
    settle().await;
    let before = Handle::current().metrics().num_alive_tasks();
    let client = fake.client().connect().await.unwrap();
    let guard = client.lock("a").acquire().await.unwrap();
    assert!(Handle::current().metrics().num_alive_tasks() > before);
    client.close().await.unwrap();
    settle().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before);
    assert!(matches!(
        fake.messages()[..],
        [Said::Open(_), Said::Acquire(_), Said::Release(_), Said::Close(_)]
    ));
    assert_eq!(guard.loss(), Some(LossReason::Closed));
    assert!(matches!(client.lock("b").acquire().await, Err(Error::Closed)));
    assert!(matches!(client.query().get_resource("b").await, Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_and_the_last_guard_ends_the_session() {
    let fake = Fake::start();
    settle().await;
    let before = Handle::current().metrics().num_alive_tasks();
    let client = fake.client().connect().await.unwrap();
    let guard = client.lock("a").acquire().await.unwrap();
    drop(client);
    sleep(TTL * 2).await;
    assert!(guard.is_valid(), "a guard keeps its session");
    drop(guard);
    settle().await;
    assert!(matches!(
        fake.messages()[..],
        [Said::Open(_), Said::Acquire(_), Said::Release(_), Said::Close(_)]
    ));
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_close_without_an_answer_is_bounded() {
    let fake = Fake::start();
    let client = fake.client().request_timeout(Duration::from_secs(3)).connect().await.unwrap();
    let guard = client.lock("a").acquire().await.unwrap();
    fake.silent.send_replace(true);
    assert!(matches!(client.close().await, Err(Error::Timeout { .. })));
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_release_without_an_answer_is_bounded_and_goes_on() {
    let fake = Fake::start();
    let client = fake.client().request_timeout(Duration::from_secs(3)).connect().await.unwrap();
    let (first, second) =
        (client.lock("a").acquire().await.unwrap(), client.lock("b").acquire().await.unwrap());
    fake.silent.send_replace(true);
    let begin = Instant::now();
    let later = async {
        sleep(Duration::from_secs(1)).await;
        second.release().await
    };
    let (first, second) = tokio::join!(async { (first.release().await, begin.elapsed()) }, async {
        (later.await, begin.elapsed())
    },);
    for ((result, took), seconds) in [(first, 3), (second, 4)] {
        let timeout = Duration::from_secs(3);
        assert!(
            matches!(result, Err(crate::ReleaseError::Unconfirmed { timeout: t }) if t == timeout),
            "{result:?}"
        );
        assert_eq!(took.as_secs(), seconds);
    }
    fake.silent.send_replace(false);
    sleep(TTL * 3).await;
    // Both were sent again to whoever answers, and a client that closes has nothing left to wait for.
    client.close().await.unwrap();
    assert!(matches!(fake.messages()[..], [.., Said::Release(_), Said::Release(_), Said::Close(_)]));
}

#[test]
fn a_guard_outlives_its_runtime_as_lost() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (client, guard) = runtime.block_on(async {
        let client = Fake::start().client().connect().await.unwrap();
        let guard = client.lock("a").acquire().await.unwrap();
        assert!(guard.is_valid());
        (client, guard)
    });
    drop(runtime);
    assert_eq!((guard.loss(), guard.is_valid()), (Some(LossReason::Jeopardy), false));
    let other =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    assert!(matches!(other.block_on(client.lock("b").acquire()), Err(Error::Closed)));
}
