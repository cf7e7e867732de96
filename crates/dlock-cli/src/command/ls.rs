//! `dlockctl ls`: resources that somebody holds or waits for.

use super::shown::Resource;
use crate::arguments::{Global, Ls};
use crate::exit::Exit;
use crate::output;
use futures::TryStreamExt;

pub(crate) async fn run(global: &Global, arguments: Ls) -> Result<u8, Exit> {
    let client = super::client(global).await?;
    let listed: Vec<_> = client.query().list_resources(&arguments.prefix).try_collect().await?;
    let used = listed.into_iter().filter(|info| {
        // Of a mastered one, nobody here can say that it is free.
        !info.holders.is_empty() || !info.queue.is_empty() || info.mastered_by.is_some()
    });
    let resources: Vec<Resource> = used.map(Resource::from).collect();
    let header = ["NAME", "HELD", "HOLDERS", "WAITING", "TOKEN", "MASTERED BY"];
    output::rows(global.output, &header, &resources, row)?;
    Ok(0)
}

fn row(resource: &Resource) -> Vec<String> {
    let (name, token) = (resource.name.clone(), resource.last_token.to_string());
    if let Some(master) = &resource.mastered_by {
        let unknown = || "?".to_owned();
        return vec![name, unknown(), unknown(), unknown(), token, master.clone()];
    }
    let mut modes: Vec<&str> = resource.holders.iter().map(|holder| holder.mode).collect();
    modes.sort_unstable();
    modes.dedup();
    let (holders, waiting) = (resource.holders.len().to_string(), resource.queue.len().to_string());
    vec![name, modes.join(","), holders, waiting, token, String::new()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_mastered_resource_its_master_is_listed_and_no_holders_are_counted() {
        let mut resource = Resource::free("jobs/a");
        assert_eq!(row(&resource), ["jobs/a", "", "0", "0", "7", ""]);
        resource.mastered_by = Some("ab".to_owned());
        assert_eq!(row(&resource), ["jobs/a", "?", "?", "?", "7", "ab"]);
    }
}
