//! `dlockctl health`.

use crate::arguments::{Global, OutputFormat};
use crate::exit::{self, Exit};
use crate::output;
use serde::Serialize;

/// How the server feels, for programs.
#[derive(Serialize)]
struct Shown {
    serving: bool,
    draining: bool,
    member: String,
    version: String,
    store: String,
    store_place: String,
    conditions: Vec<String>,
    caveats: Vec<String>,
    tasks: u64,
}

pub(crate) async fn run(global: &Global) -> Result<u8, Exit> {
    let info = super::client(global).await?.query().server_info().await?;
    let code = if info.serving { 0 } else { exit::UNREACHABLE };
    let shown = Shown {
        serving: info.serving,
        draining: info.draining,
        member: info.member.to_string(),
        version: info.version,
        store: info.store,
        store_place: info.store_place,
        conditions: info.conditions,
        caveats: info.caveats,
        tasks: info.tasks,
    };
    if global.output == OutputFormat::Json {
        output::json(&shown)?;
        return Ok(code);
    }
    let state = match (shown.serving, shown.draining) {
        (true, _) => "serving",
        (false, true) => "draining",
        (false, false) => "not serving",
    };
    output::line(&format!(
        "{state}: dlock {}, {} store ({})",
        shown.version, shown.store, shown.store_place
    ))?;
    for condition in &shown.conditions {
        output::line(condition)?;
    }
    for caveat in &shown.caveats {
        output::line(&format!("note: {caveat}"))?;
    }
    Ok(code)
}
