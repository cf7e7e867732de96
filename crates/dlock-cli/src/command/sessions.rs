//! `dlockctl sessions`.

use super::shown::Session;
use crate::arguments::Global;
use crate::exit::Exit;
use crate::output;
use futures::TryStreamExt;

pub(crate) async fn run(global: &Global) -> Result<u8, Exit> {
    let client = super::client(global).await?;
    let listed: Vec<_> = client.query().list_sessions().try_collect().await?;
    let sessions: Vec<Session> = listed.into_iter().map(Session::from).collect();
    let header = ["SESSION", "CLIENT", "OPENED", "TTL", "LOCKS", "STATE"];
    output::rows(global.output, &header, &sessions, |session| {
        let state = session.ended.clone().unwrap_or_else(|| "active".to_owned());
        let locks = session.locks.map_or_else(|| "?".to_owned(), |locks| locks.to_string());
        let ttl = format!("{} ms", session.ttl_ms);
        vec![session.session.clone(), session.client.cell(), session.opened.clone(), ttl, locks, state]
    })?;
    Ok(0)
}
