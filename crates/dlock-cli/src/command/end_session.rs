//! `dlockctl end-session`.

use crate::arguments::{EndSession, Global};
use crate::exit::Exit;
use dlock_core::SessionId;

pub(crate) async fn run(global: &Global, arguments: EndSession) -> Result<u8, Exit> {
    let session: SessionId = arguments.session.parse().map_err(Exit::usage)?;
    super::client(global).await?.admin().end_session(session).await?;
    Ok(0)
}
