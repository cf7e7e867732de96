//! `dlockctl watch`: a line for every change, until interrupted.

use super::shown::{Resource, mastered};
use crate::arguments::{Global, Ls, OutputFormat};
use crate::exit::Exit;
use crate::output;
use dlock_client::ResourceEvent;
use futures::TryStreamExt;
use serde::Serialize;

/// An event, for programs.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Shown {
    Changed { resource: Box<Resource> },
    Removed { namespace: String, name: String },
    SnapshotDone,
    Resynchronising,
}

pub(crate) async fn run(global: &Global, arguments: Ls) -> Result<u8, Exit> {
    let client = super::client(global).await?;
    let mut events = client.query().watch(&arguments.prefix).await?;
    while let Some(event) = events.try_next().await? {
        let shown = match event {
            ResourceEvent::Changed(info) => Shown::Changed { resource: Box::new(info.into()) },
            ResourceEvent::Removed(resource) => Shown::Removed {
                namespace: resource.namespace().to_owned(),
                name: resource.name().to_owned(),
            },
            ResourceEvent::SnapshotDone => Shown::SnapshotDone,
            ResourceEvent::Resync => Shown::Resynchronising,
            _ => continue, // newer than this program
        };
        match global.output {
            OutputFormat::Json => output::json(&shown)?,
            OutputFormat::Table => output::line(&line(&shown))?,
        }
    }
    Ok(0)
}

fn line(event: &Shown) -> String {
    match event {
        Shown::Changed { resource } => {
            if let Some(master) = &resource.mastered_by {
                return format!("{}: {}", resource.name, mastered(master));
            }
            let holders =
                resource.holders.iter().map(|holder| format!("{} token {}", holder.mode, holder.token));
            let waiting = resource.queue.iter().map(|entry| entry.mode);
            let held = join(holders.collect(), "free");
            let waits = join(waiting.map(str::to_owned).collect(), "nobody");
            format!("{}: held: {held}; waiting: {waits}", resource.name)
        }
        Shown::Removed { name, .. } => format!("{name}: forgotten"),
        Shown::SnapshotDone => "-- changes from here on".to_owned(),
        Shown::Resynchronising => "-- changes may have been missed; what there is follows".to_owned(),
    }
}

fn join(items: Vec<String>, none: &str) -> String {
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mastered_resource_is_not_called_free() {
        let mut resource = Resource::free("a");
        let shown = |resource| line(&Shown::Changed { resource: Box::new(resource) });
        assert_eq!(shown(Resource::free("a")), "a: held: free; waiting: nobody");
        resource.mastered_by = Some("ab".to_owned());
        assert_eq!(
            shown(resource),
            "a: mastered by the server ab: only that one can say who holds it and who waits"
        );
    }
}
