//! `dlockctl inspect`: who holds a resource and who waits for it.

use super::shown::{Resource, client_cell, mastered};
use crate::arguments::{Global, Inspect, OutputFormat};
use crate::exit::Exit;
use crate::output;

pub(crate) async fn run(global: &Global, arguments: Inspect) -> Result<u8, Exit> {
    let client = super::client(global).await?;
    let resource = Resource::from(client.query().get_resource(&arguments.name).await?);
    if global.output == OutputFormat::Json {
        output::json(&resource)?;
        return Ok(0);
    }
    output::line(&format!("{}, last token {}", resource.name, resource.last_token))?;
    if resource.value.bytes > 0 || !resource.value.valid {
        let doubt = if resource.value.valid { "" } else { " (not valid: its last writer died)" };
        output::line(&format!("value: {:?}{doubt}", resource.value.text))?;
    }
    if let Some(master) = &resource.mastered_by {
        output::line(&mastered(master))?;
    } else if resource.holders.is_empty() {
        output::line("nobody holds it")?;
    }
    if !resource.holders.is_empty() {
        let header = ["HELD", "TOKEN", "SINCE", "CLIENT", "SESSION", "LOCK"];
        output::rows(global.output, &header, &resource.holders, |holder| {
            let client = client_cell(holder.client.as_ref());
            let (token, lock) = (holder.token.to_string(), holder.lock.to_string());
            vec![holder.mode.to_owned(), token, holder.since.clone(), client, holder.session.clone(), lock]
        })?;
    }
    if !resource.queue.is_empty() {
        let header = ["WANTED", "HELD", "SINCE", "CLIENT", "SESSION", "LOCK", "BLOCKED BY"];
        output::rows(global.output, &header, &resource.queue, |entry| {
            let client = client_cell(entry.client.as_ref());
            let held = entry.held.unwrap_or("").to_owned();
            let (session, lock) = (entry.session.clone(), entry.lock.to_string());
            vec![
                entry.mode.to_owned(),
                held,
                entry.since.clone(),
                client,
                session,
                lock,
                entry.blocked_by.join(" "),
            ]
        })?;
    }
    Ok(0)
}
