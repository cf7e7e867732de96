//! `dlockctl release --force`: takes locks from their sessions.

use super::shown::mastered;
use crate::arguments::{Global, Release};
use crate::exit::{self, Exit};
use crate::output;
use dlock_client::{Client, LockAddress};
use dlock_core::{LockId, SessionId, Token};

pub(crate) async fn run(global: &Global, arguments: Release) -> Result<u8, Exit> {
    if !arguments.force {
        return Err(Exit::usage(
            "whoever holds the lock believes to be alone: say --force to take it all the same, and fence with the token",
        ));
    }
    let client = super::client(global).await?;
    let token = arguments.token.map(|number| {
        Token::from_u64(number).ok_or_else(|| Exit::usage(format!("--token {number}: tokens are below 2^63")))
    });
    let token = token.transpose()?;
    let locks = find(&client, &arguments).await?;
    if locks.is_empty() {
        return Err(Exit::new(exit::FAILURE, format!("{}: there is no such lock", arguments.name)));
    }
    for lock in locks {
        client.admin().namespace(&global.namespace).force_release(&arguments.name, lock, token).await?;
        output::line(&format!(
            "released {} of session {}, lock {}",
            arguments.name, lock.session, lock.lock
        ))?;
    }
    Ok(0)
}

/// The locks that are meant.
async fn find(client: &Client, arguments: &Release) -> Result<Vec<LockAddress>, Exit> {
    let session = arguments.session.as_deref().map(str::parse::<SessionId>).transpose();
    let session = session.map_err(|error| Exit::usage(format!("--session: {error}")))?;
    if let (Some(session), Some(lock)) = (session, arguments.lock) {
        return Ok(vec![LockAddress { session, lock: LockId(lock) }]);
    }
    let info = client.query().get_resource(&arguments.name).await?;
    if let Some(master) = info.mastered_by.filter(|_| info.holders.is_empty()) {
        let way_out = "name --session and --lock, or ask that server";
        let message = format!("{} is {}: {way_out}", arguments.name, mastered(&master.to_string()));
        return Err(Exit::new(exit::FAILURE, message));
    }
    let held = info.holders.into_iter().map(|holder| holder.lock);
    Ok(held.filter(|lock| session.is_none_or(|session| lock.session == session)).collect())
}
