//! `dlockctl check-token`.

use crate::arguments::{CheckToken, Global, OutputFormat};
use crate::exit::Exit;
use crate::output;
use dlock_core::Token;
use serde::Serialize;

/// What was found, for programs.
#[derive(Serialize)]
struct Found {
    held: bool,
    highest: u64,
}

/// The exit code for a token that is no holder's.
const STALE: u8 = 1;

pub(crate) async fn run(global: &Global, arguments: CheckToken) -> Result<u8, Exit> {
    let token = Token::from_u64(arguments.token).ok_or_else(|| Exit::usage("tokens are below 2^63"))?;
    let check = super::client(global).await?.query().check_token(&arguments.name, token).await?;
    let found = Found { held: check.held, highest: check.highest.get() };
    match global.output {
        OutputFormat::Json => output::json(&found)?,
        OutputFormat::Table if found.held => output::line("held")?,
        OutputFormat::Table => output::line(&format!("stale: the highest token is {}", found.highest))?,
    }
    Ok(if found.held { 0 } else { STALE })
}
