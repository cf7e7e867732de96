//! `dlockctl ls`: resources that somebody holds or waits for.

use super::shown::Resource;
use crate::arguments::{Global, Ls};
use crate::exit::Exit;
use crate::output;
use futures::TryStreamExt;

pub(crate) async fn run(global: &Global, arguments: Ls) -> Result<u8, Exit> {
    let client = super::client(global).await?;
    let listed: Vec<_> = client.query().list_resources(&arguments.prefix).try_collect().await?;
    let used = listed.into_iter().filter(|info| !info.holders.is_empty() || !info.queue.is_empty());
    let resources: Vec<Resource> = used.map(Resource::from).collect();
    output::rows(global.output, &["NAME", "HELD", "HOLDERS", "WAITING", "TOKEN"], &resources, |resource| {
        let mut modes: Vec<&str> = resource.holders.iter().map(|holder| holder.mode).collect();
        modes.sort_unstable();
        modes.dedup();
        let (holders, waiting) = (resource.holders.len().to_string(), resource.queue.len().to_string());
        vec![resource.name.clone(), modes.join(","), holders, waiting, resource.last_token.to_string()]
    })?;
    Ok(0)
}
