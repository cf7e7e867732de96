//! The verbs, one to a file.

pub(crate) mod bench;
pub(crate) mod check_token;
pub(crate) mod end_session;
pub(crate) mod generate;
pub(crate) mod health;
pub(crate) mod inspect;
pub(crate) mod lock;
pub(crate) mod ls;
pub(crate) mod members;
pub(crate) mod release;
mod run;
pub(crate) mod sessions;
mod shown;
pub(crate) mod watch;

use crate::arguments::Global;
use crate::exit::Exit;
use dlock_client::{Client, ClientBuilder};

/// A client as the global arguments say; it opens no session before the first lock.
fn client_builder(global: &Global) -> ClientBuilder {
    Client::builder()
        .endpoints(global.endpoints.iter().map(String::as_str))
        .namespace(&global.namespace)
        .client_name("dlockctl")
}

async fn client(global: &Global) -> Result<Client, Exit> {
    Ok(client_builder(global).connect().await?)
}
