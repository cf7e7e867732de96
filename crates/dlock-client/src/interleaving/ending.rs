//! Sessions that end while locks are asked for: closed, left by their last handle, or ended by the service.

use super::planted::Bug;
use super::sync::oneshot;
use super::world::World;
use super::{a_while, acquire, explore, finds, nothing_is_left};
use crate::{Error, LossReason, Mode, ReleaseError};
use shuttle::{future::block_on, thread};
use std::sync::Arc;

/// A client is closed while others acquire: they get guards that are lost, or hear of it.
fn a_client_is_closed_while_it_acquires(world: &Arc<World>) {
    let client = world.client();
    let acquiring = ["a", "slow"].map(|name| {
        let client = client.clone();
        thread::spawn(move || block_on(client.lock(name).acquire()))
    });
    let dropping = {
        let client = client.clone();
        thread::spawn(move || match block_on(client.lock("b").acquire()) {
            Ok(guard) => drop(guard),
            Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
        })
    };
    block_on(client.close()).expect("a close");
    for acquired in acquiring {
        match acquired.join().expect("an acquire ends") {
            Ok(guard) => assert_eq!((guard.loss(), guard.is_valid()), (Some(LossReason::Closed), false)),
            Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
        }
    }
    dropping.join().expect("an acquire ends");
    assert!(world.server(|server| server.sessions == 0 || server.closed));
    assert!(matches!(block_on(client.lock("c").acquire()), Err(Error::Closed)));
}

#[test]
fn acquires_end_and_guards_are_lost_when_their_client_is_closed() {
    explore(a_client_is_closed_while_it_acquires);
}

#[test]
fn a_close_that_is_forgotten_is_found() {
    finds(Bug::CloseIsForgotten, a_client_is_closed_while_it_acquires);
}

/// A client is closed while its guards are converted, released and dropped.
fn a_client_is_closed_while_its_guards_are_used(world: &Arc<World>) {
    let client = world.client();
    let [mut converted, released, dropped] = ["a", "b", "c"].map(|name| acquire(&client, name));
    let using = [
        thread::spawn(move || match block_on(async { converted.convert(Mode::ProtectedRead).await }) {
            Ok(()) | Err(Error::LockLost { reason: LossReason::Closed }) => {}
            Err(error) => panic!("{error}"),
        }),
        thread::spawn(move || match block_on(released.release()) {
            Ok(()) | Err(ReleaseError::Lost(LossReason::Closed)) => {}
            Err(error) => panic!("{error}"),
        }),
        thread::spawn(move || drop(dropped)),
    ];
    a_while();
    block_on(client.close()).expect("a close");
    assert!(world.server(|server| server.closed));
    using.into_iter().for_each(|thread| thread.join().expect("it ends"));
}

#[test]
fn a_close_has_all_locks_released_whatever_their_guards_do() {
    explore(a_client_is_closed_while_its_guards_are_used);
}

/// The client's handles, a guard and an acquire go, in any order.
fn the_last_handle_goes(world: &Arc<World>) {
    let client = world.client();
    let guard = acquire(&client, "a");
    let (stop, stopped) = oneshot::channel();
    let acquire = client.clone().lock("slow").acquire();
    let going = [
        thread::spawn(move || drop(guard)),
        thread::spawn(move || {
            block_on(async {
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    guard = acquire => drop(guard.expect("a lock")),
                }
            });
        }),
    ];
    drop(client);
    a_while();
    stop.send(()).ok();
    block_on(world.until(|server| server.closed));
    going.into_iter().for_each(|thread| thread.join().expect("it goes"));
}

#[test]
fn the_session_is_closed_when_the_last_handle_goes() {
    explore(the_last_handle_goes);
}

/// The service ends the session: the next lock opens another one.
fn the_service_ends_the_session(world: &Arc<World>) {
    let client = world.client();
    let guard = acquire(&client, "a");
    let ending = {
        let world = world.clone();
        thread::spawn(move || world.end_session())
    };
    let acquiring = ["b", "slow"].map(|name| {
        let client = client.clone();
        thread::spawn(move || block_on(client.lock(name).acquire()))
    });
    assert_eq!(block_on(guard.lost()), LossReason::Ended);
    ending.join().expect("it ends");
    for acquired in acquiring {
        match acquired.join().expect("an acquire ends") {
            Ok(other) if other.session_id() == guard.session_id() => {
                assert_eq!((block_on(other.lost()), other.is_valid()), (LossReason::Ended, false));
            }
            Ok(other) => assert!(other.is_valid()),
            Err(error) => {
                assert!(matches!(error, Error::SessionLost { reason: LossReason::Ended }), "{error}")
            }
        }
    }
    drop(guard);
    nothing_is_left(world, &client);
    assert_eq!(world.server(|server| server.sessions), 2);
}

#[test]
fn acquires_go_to_another_session_when_the_service_ends_theirs() {
    explore(the_service_ends_the_session);
}
