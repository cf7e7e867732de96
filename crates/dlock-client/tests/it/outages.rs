//! Servers that die, come back and go away; networks that are cut.

use crate::proxy::Proxy;
use crate::service::Service;
use dlock_client::{Client, Error, LossReason, Mode, SessionEvent};
use futures::StreamExt;
use std::time::Duration;

#[tokio::test]
async fn without_a_server_connecting_fails_and_names_what_was_tried() {
    let error = Client::builder().endpoints(["127.0.0.1:1", "127.0.0.1:2"]).connect().await.unwrap_err();
    let Error::Unreachable { endpoints, source } = &error else { panic!("{error:?}") };
    assert_eq!(endpoints.iter().map(|e| e.port()).collect::<Vec<_>>(), [1, 2]);
    assert!(source.to_string().contains("refused"), "{source}");
}

#[tokio::test]
async fn a_second_endpoint_is_used_when_the_first_is_not_there() {
    let service = Service::start().await;
    let endpoints = ["127.0.0.1:1".to_owned(), service.endpoint()];
    let client = service.builder().endpoints(endpoints).connect().await.unwrap();
    assert!(client.lock("a").acquire().await.is_ok());
}

#[tokio::test]
async fn locks_and_places_survive_a_server_that_dies_and_comes_back_on_its_store() {
    let mut service = Service::start().await;
    let client = service.client().await;
    let mut events = client.events();
    let guard = client.lock("a").acquire().await.unwrap();
    let token = guard.token();
    let waiting = tokio::spawn(client.lock("a").acquire());
    service.eventually(&client, "a", |info| info.queue.len() == 1).await;

    service.kill().await;
    let (releasing, acquiring) = {
        let released = client.lock("b").acquire();
        (tokio::spawn(released), tokio::spawn(client.lock("c").acquire()))
    };
    service.restart().await;
    loop {
        match events.next().await.unwrap() {
            SessionEvent::Reattached { .. } => break,
            SessionEvent::Jeopardy { .. } | SessionEvent::Lost { .. } => {
                panic!("the server was back in time")
            }
            _ => {}
        }
    }
    assert!(guard.is_valid());
    assert_eq!(client.query().get_resource("a").await.unwrap().holders[0].token, token);
    releasing.await.unwrap().unwrap().release().await.unwrap();
    acquiring.await.unwrap().unwrap().release().await.unwrap();
    guard.release().await.unwrap();
    assert!(waiting.await.unwrap().unwrap().token() > token);
}

#[tokio::test]
async fn a_release_in_an_outage_is_made_up_for() {
    let mut service = Service::start().await;
    let (client, other) = (service.client().await, service.client().await);
    let guard = client.lock("a").acquire().await.unwrap();
    service.kill().await;
    drop(guard);
    service.restart().await;
    assert!(other.lock("a").wait(Duration::from_secs(30)).acquire().await.is_ok());
}

#[tokio::test]
async fn a_server_that_goes_away_is_left_for_its_peer_with_all_locks_and_places() {
    let service = Service::start().await;
    let peer = service.peer().await;
    let endpoints = [service.endpoint(), peer.endpoint()];
    let client = service.builder().endpoints(endpoints).connect().await.unwrap();
    let guard = client.lock("a").acquire().await.unwrap();
    let waiting = tokio::spawn(client.lock("a").acquire());
    service.eventually(&client, "a", |info| info.queue.len() == 1).await;
    let mut events = client.events();

    service.drain();
    let SessionEvent::Reattached { endpoint, .. } = events.next().await.unwrap() else {
        panic!("no gap is seen")
    };
    assert_eq!(endpoint.to_string(), peer.endpoint());
    assert!(guard.is_valid());
    let token = guard.token();
    guard.release().await.unwrap();
    assert!(waiting.await.unwrap().unwrap().token() > token);
}

#[tokio::test]
async fn a_server_that_dies_is_left_for_a_peer_that_it_told_of() {
    let mut service = Service::start().await;
    let peer = service.peer().await;
    // Only the first is configured.
    let client = service.client().await;
    let guard = client.lock("a").acquire().await.unwrap();
    let mut events = client.events();
    service.kill().await;
    loop {
        match events.next().await.unwrap() {
            SessionEvent::Reattached { endpoint, .. } => {
                assert_eq!(endpoint.to_string(), peer.endpoint());
                break;
            }
            SessionEvent::Disconnected { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(guard.is_valid());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_cut_network_means_jeopardy_at_the_deadline_and_the_session_goes_on_when_it_is_mended_in_time() {
    let service = Service::start().await;
    let proxy = Proxy::to(&service.endpoint()).await;
    // The lock delay is what keeps the session alive beyond the client's deadline.
    let client = service
        .builder()
        .endpoints([proxy.endpoint()])
        .discover(false)
        .ttl(Duration::from_secs(1))
        .lock_delay(Duration::from_secs(60))
        .connect()
        .await
        .unwrap();
    let guard = client.lock("a").acquire().await.unwrap();
    let mut events = client.events();
    proxy.cut();
    assert_eq!(guard.lost().await, LossReason::Jeopardy);
    assert!(!guard.is_valid());
    proxy.mend();
    while !matches!(events.next().await.unwrap(), SessionEvent::Reattached { .. }) {}
    assert!(!guard.is_valid(), "once lost, always lost");
    drop(guard);
    assert!(client.lock("a").wait(Duration::from_secs(30)).acquire().await.unwrap().is_valid());
}

#[tokio::test]
async fn a_network_that_stays_cut_costs_the_session() {
    let service = Service::start().await;
    let proxy = Proxy::to(&service.endpoint()).await;
    let client = service
        .builder()
        .endpoints([proxy.endpoint()])
        .discover(false)
        .ttl(Duration::from_secs(1))
        .connect()
        .await
        .unwrap();
    let guard = client.lock("a").acquire().await.unwrap();
    let mut events = client.events();
    proxy.cut();
    // Somebody else gets the lock, and not before the guard was lost.
    let other = service.client().await;
    let taken = other.lock("a").acquire().await.unwrap();
    assert!(!guard.is_valid() && taken.token() > guard.token());
    proxy.mend();
    loop {
        if let SessionEvent::Lost { session, reason } = events.next().await.unwrap() {
            assert_eq!((session, reason), (guard.session_id(), LossReason::Expired));
            break;
        }
    }
    assert_eq!(guard.loss(), Some(LossReason::Jeopardy));
}

#[test]
fn heartbeats_go_on_while_the_program_blocks_its_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_service, client, guard) = runtime.block_on(async {
        let service = Service::start().await;
        let client = service.builder().ttl(Duration::from_secs(1)).connect().await.unwrap();
        let guard = client.lock("a").acquire().await.unwrap();
        (service, client, guard)
    });
    runtime.block_on(async {
        // Three times what the lease would last without them.
        std::thread::sleep(Duration::from_secs(3));
        assert!(guard.is_valid());
    });
    runtime.block_on(guard.release()).unwrap();
    runtime.block_on(client.close()).unwrap();
}

#[tokio::test]
async fn a_conversion_without_an_answer_leaves_only_what_both_modes_cover() {
    let service = Service::start().await;
    let proxy = Proxy::to(&service.endpoint()).await;
    let client = service.builder().endpoints([proxy.endpoint()]).connect().await.unwrap();
    let steps = [
        (Mode::Exclusive, Mode::ProtectedRead, Mode::ProtectedRead),
        (Mode::ProtectedRead, Mode::ConcurrentWrite, Mode::ConcurrentRead),
        (Mode::ConcurrentRead, Mode::Exclusive, Mode::ConcurrentRead),
    ];
    for (held, wanted, sure) in steps {
        let mut guard = client.lock("a").mode(held).acquire().await.unwrap();
        proxy.cut();
        // It may arrive, and be done, at any time from now on.
        let given_up = guard.convert(wanted).wait(Duration::from_millis(100)).await;
        assert!(matches!(given_up, Err(Error::WaitTimeout)), "{given_up:?}");
        assert_eq!((guard.is_valid(), guard.mode()), (true, sure), "{held} to {wanted}");
        proxy.mend();
        // Once the service has said, the guard shows what it is.
        let told = async || {
            let recorded = client.query().get_resource("a").await.unwrap().holders[0].mode;
            [held, wanted].contains(&recorded) && guard.mode() == recorded
        };
        while !told().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        guard.release().await.unwrap();
    }
}
