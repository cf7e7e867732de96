//! A session's requests on their way to their resources.

use crate::home::Home;
use crate::request::{Patience, Request, RequestId};
use crate::shard::Input;
use crate::shared::Shared;
use crate::ticket::{Kind, RequestTicket, Ticket};
use dlock_core::Timestamp;
use dlock_core::resource::{Acquire, Command, Convert, Patience as CorePatience, ValueUpdate};
use std::sync::Arc;

/// Takes a batch, in its order; each request is answered on its own.
pub(crate) fn submit(shared: &Arc<Shared>, home: &Arc<Home>, requests: Vec<(RequestId, Request)>) {
    let mut inputs = Vec::with_capacity(requests.len());
    let mut clock = AskedAt::default();
    for (id, request) in requests {
        let lock = request.lock_id();
        let resource = match home.take_in(id, &request, &shared.config) {
            Ok(resource) => resource,
            Err(error) => {
                home.turned_away(id, lock, error);
                continue;
            }
        };
        let (kind, command) = translate(shared, home, request, &mut clock);
        let unverified = matches!(kind, Kind::Ask { .. }).then(|| tries(&command)).flatten();
        let ticket = RequestTicket { home: Arc::clone(home), request: id, lock, kind, unverified };
        let guard = Some(home.guard());
        inputs.push((resource, Input::Submit { ticket: Ticket::Request(ticket), command, guard }));
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

/// When a batch was asked, once somebody wants to know.
#[derive(Default)]
struct AskedAt(Option<u64>);

impl AskedAt {
    fn unix_ms(&mut self, shared: &Shared) -> u64 {
        *self.0.get_or_insert_with(|| shared.unix_ms())
    }
}

fn translate(shared: &Shared, home: &Home, request: Request, asked_at: &mut AskedAt) -> (Kind, Command) {
    let ask = |patience, report_position, converts| {
        let (patience, deadline) = core_patience(patience, shared);
        (patience, Kind::Ask { deadline, report_position, converts })
    };
    let key = home.key(request.lock_id());
    match request {
        Request::Acquire { mode, patience, reentrant, report_position, .. } => {
            let (patience, kind) = ask(patience, report_position, false);
            let acquire = Acquire {
                key,
                mode,
                patience,
                reentrant,
                since_unix_ms: asked_at.unix_ms(shared),
                waiters_max: shared.config.waiters_max,
            };
            (kind, Command::Acquire(acquire))
        }
        Request::Convert { mode, patience, value, .. } => {
            let (patience, kind) = ask(patience, false, true);
            (kind, Command::Convert(Convert { key, mode, patience, value }))
        }
        Request::Release { value, .. } => (Kind::Release, Command::Release { key, value }),
        Request::Cancel { release_if_granted: true, .. } => {
            (Kind::Cancel, Command::Release { key, value: ValueUpdate::Keep })
        }
        Request::Cancel { release_if_granted: false, .. } => (Kind::Cancel, Command::Cancel { key }),
        Request::Query { .. } => (Kind::Query, Command::Query { key }),
    }
}

fn core_patience(patience: Patience, shared: &Shared) -> (CorePatience, Option<Timestamp>) {
    match patience {
        Patience::Try => (CorePatience::Try, None),
        Patience::Forever => (CorePatience::Wait, None),
        Patience::For(duration) => (CorePatience::Wait, Some(shared.now() + duration)),
    }
}
