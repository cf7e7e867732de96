//! Queries and administration.

use crate::service::Service;
use dlock_client::{Error, Health, LossReason, Mode, ReleaseError, ResourceEvent};
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeSet;

#[tokio::test]
async fn a_resource_shows_who_holds_it_and_who_waits() {
    let service = Service::start().await;
    let client = service.builder().client_name("holder").connect().await.unwrap();
    let guard = client.lock("a").mode(Mode::ProtectedRead).acquire().await.unwrap();
    let waiting = tokio::spawn(client.lock("a").acquire());
    service.eventually(&client, "a", |info| info.queue.len() == 1).await;
    let info = client.query().get_resource("a").await.unwrap();
    let holder = &info.holders[0];
    assert_eq!((holder.mode, holder.token), (Mode::ProtectedRead, guard.token()));
    assert_eq!((holder.lock.session, holder.lock.lock), (guard.session_id(), guard.lock_id()));
    let who = holder.client.as_ref().unwrap();
    assert_eq!((who.name.as_str(), who.process_id), ("holder", std::process::id()));
    assert_eq!((info.queue[0].mode, &info.queue[0].blocked_by[..]), (Mode::Exclusive, &[holder.lock][..]));
    waiting.abort();
}

#[tokio::test]
async fn listings_go_over_all_pages() {
    let service = Service::start().await;
    let client = service.client().await;
    let names: BTreeSet<String> = (0..250).map(|n| format!("list/{n:03}")).collect();
    let mut guards = vec![client.lock("other").acquire().await.unwrap()];
    for name in &names {
        guards.push(client.lock(name).acquire().await.unwrap());
    }
    let listed: Vec<_> = client.query().list_resources("list/").try_collect().await.unwrap();
    let listed: BTreeSet<String> = listed.iter().map(|info| info.resource.name().to_owned()).collect();
    assert_eq!(listed, names);
    assert_eq!(client.query().namespace("none").list_resources("").count().await, 0);
}

#[tokio::test]
async fn looking_opens_no_session() {
    let service = Service::start().await;
    let client = service.client().await;
    assert_eq!(client.health().await.unwrap(), Health::Serving);
    assert_eq!(client.query().server_info().await.unwrap().store, "embedded");
    let members = client.query().list_members().await.unwrap();
    assert!(members.len() == 1 && members[0].this);
    assert_eq!(client.query().list_sessions().count().await, 0);
    assert_eq!(client.session_id(), None);
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there_and_goes_on_with_what_happens() {
    let service = Service::start().await;
    let client = service.client().await;
    let first = client.lock("w/1").acquire().await.unwrap();
    let mut events = client.query().watch("w/").await.unwrap();
    let mut next = async || events.next().await.unwrap().unwrap();
    assert!(matches!(next().await, ResourceEvent::Changed(info) if info.resource.name() == "w/1"));
    assert_eq!(next().await, ResourceEvent::SnapshotDone);
    let second = client.lock("w/2").acquire().await.unwrap();
    assert!(matches!(next().await, ResourceEvent::Changed(info) if info.holders[0].token == second.token()));
    drop(first);
}

#[tokio::test]
async fn a_token_is_checked() {
    let service = Service::start().await;
    let client = service.client().await;
    let guard = client.lock("a").acquire().await.unwrap();
    let token = guard.token();
    let found = client.query().check_token("a", token).await.unwrap();
    assert_eq!((found.held, found.highest), (true, token));
    guard.release().await.unwrap();
    let found = client.query().check_token("a", token).await.unwrap();
    assert_eq!((found.held, found.highest), (false, token));
}

#[tokio::test]
async fn a_lock_that_is_taken_away_is_lost_to_its_guard() {
    let service = Service::start().await;
    let (client, admin) = (service.client().await, service.client().await);
    let guard = client.lock("a").acquire().await.unwrap();
    let address = client.query().get_resource("a").await.unwrap().holders[0].lock;
    let wrong = guard.token().next();
    let error = admin.admin().force_release("a", address, wrong).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    admin.admin().force_release("a", address, Some(guard.token())).await.unwrap();
    assert_eq!(guard.lost().await, LossReason::Revoked);
    assert!(!guard.is_valid() && guard.cancellation_token().is_cancelled());
    assert!(matches!(guard.release().await, Err(ReleaseError::Lost(LossReason::Revoked))));
    let error = admin.admin().force_release("a", address, None).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_session_that_is_ended_takes_its_locks_along_and_the_next_lock_opens_another() {
    let service = Service::start().await;
    let (client, admin) = (service.client().await, service.client().await);
    let guard = client.lock("a").acquire().await.unwrap();
    let waiting = {
        let holder = admin.lock("b").acquire().await.unwrap();
        let waiting = tokio::spawn(client.lock("b").acquire());
        service.eventually(&admin, "b", |info| info.queue.len() == 1).await;
        admin.admin().end_session(guard.session_id()).await.unwrap();
        drop(holder);
        waiting
    };
    assert_eq!(guard.lost().await, LossReason::Ended);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::SessionLost { reason: LossReason::Ended }), "{error}");
    let again = client.lock("a").acquire().await.unwrap();
    assert!(again.session_id() != guard.session_id() && again.token() > guard.token());
    let error = admin.admin().end_session(guard.session_id()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}
