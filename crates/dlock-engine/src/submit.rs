//! A session's requests on their way to their resources.

use crate::error::RequestError;
use crate::home::Home;
use crate::request::{LockRef, Patience, Request, RequestId};
use crate::shard::Input;
use crate::shared::Shared;
use crate::ticket::{Kind, RequestTicket, Ticket};
use dlock_core::resource::{Acquire, Command, Convert, Patience as CorePatience, Refusal, ValueUpdate};
use dlock_core::{ResourceId, Timestamp};
use std::sync::Arc;

/// Takes a batch, in its order; each request is answered on its own.
pub(crate) fn submit(shared: &Arc<Shared>, home: &Arc<Home>, requests: Vec<(RequestId, Request)>) {
    let mut inputs = Vec::with_capacity(requests.len());
    for (id, request) in requests {
        let lock = request.lock_id();
        if let Err(error) =
            home.check_live().map_err(RequestError::from).and_then(|()| home.admit(&shared.config))
        {
            home.turned_away(id, lock, error);
            continue;
        }
        match translate(shared, home, request) {
            Ok((resource, kind, command)) => {
                home.asked(id, lock);
                let unverified = matches!(kind, Kind::Ask { .. }).then(|| tries(&command)).flatten();
                let ticket = RequestTicket { home: Arc::clone(home), request: id, lock, kind, unverified };
                let guard = Some(home.guard());
                inputs.push((resource, Input::Submit { ticket: Ticket::Request(ticket), command, guard }));
            }
            Err(error) => home.failed(id, lock, error, false),
        }
    }
    shared.feed(inputs);
}

/// The command once more, if it is a *try*: what stands in its way may have ended unnoticed.
fn tries(command: &Command) -> Option<Box<Command>> {
    let patience = match command {
        Command::Acquire(acquire) => acquire.patience,
        Command::Convert(convert) => convert.patience,
        _ => return None,
    };
    (patience == CorePatience::Try).then(|| Box::new(command.clone()))
}

fn translate(
    shared: &Shared,
    home: &Home,
    request: Request,
) -> Result<(ResourceId, Kind, Command), RequestError> {
    let ask = |patience, report_position, converts| {
        let (patience, deadline) = core_patience(patience, shared);
        (patience, Kind::Ask { deadline, report_position, converts })
    };
    Ok(match request {
        Request::Acquire { lock, resource, mode, patience, reentrant, report_position } => {
            home.enter(lock, &resource, &shared.config)?;
            let (patience, kind) = ask(patience, report_position, false);
            let command = Command::Acquire(Acquire {
                key: home.key(lock),
                mode,
                patience,
                reentrant,
                since_unix_ms: shared.unix_ms(),
                waiters_max: shared.config.waiters_max,
            });
            (resource, kind, command)
        }
        Request::Convert { lock, mode, patience, value } => {
            let (patience, kind) = ask(patience, false, true);
            let key = home.key(lock.lock);
            (find(home, &lock)?, kind, Command::Convert(Convert { key, mode, patience, value }))
        }
        Request::Release { lock, value } => {
            (find(home, &lock)?, Kind::Release, Command::Release { key: home.key(lock.lock), value })
        }
        Request::Cancel { lock, release_if_granted } => {
            let key = home.key(lock.lock);
            let command = if release_if_granted {
                Command::Release { key, value: ValueUpdate::Keep }
            } else {
                Command::Cancel { key }
            };
            (find(home, &lock)?, Kind::Cancel, command)
        }
        Request::Query { lock } => {
            (find(home, &lock)?, Kind::Query, Command::Query { key: home.key(lock.lock) })
        }
    })
}

fn core_patience(patience: Patience, shared: &Shared) -> (CorePatience, Option<Timestamp>) {
    match patience {
        Patience::Try => (CorePatience::Try, None),
        Patience::Forever => (CorePatience::Wait, None),
        Patience::For(duration) => (CorePatience::Wait, Some(shared.now() + duration)),
    }
}

/// The lock's resource: as this server knows it, or as the request says.
fn find(home: &Home, lock: &LockRef) -> Result<ResourceId, RequestError> {
    let known = home.resource_of(lock.lock).or_else(|| lock.resource.clone());
    known.ok_or_else(|| Refusal::NotFound.into())
}
