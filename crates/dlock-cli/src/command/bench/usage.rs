//! What client and servers have used.

use super::super::client_builder;
use crate::arguments::Global;
use crate::exit::Exit;
use dlock_client::{Client, ProcessUsage};
use dlock_core::Timestamp;
use dlock_runtime::{BootClock, Clock};
use std::collections::BTreeMap;

/// The servers under load.
pub(super) struct Servers(Vec<Client>);

/// What all have used up to a moment.
#[derive(Clone, Copy)]
pub(super) struct Used {
    pub(super) at: Timestamp,
    pub(super) client: Option<ProcessUsage>,
    /// Of all servers together.
    pub(super) server: Option<ProcessUsage>,
}

/// How many processors were busy between two moments.
#[derive(Clone, Copy, Default)]
pub(super) struct Busy {
    pub(super) client: Option<f64>,
    pub(super) server: Option<f64>,
}

impl Servers {
    pub(super) async fn connect(global: &Global) -> Result<Servers, Exit> {
        let mut clients = Vec::new();
        for endpoint in &global.endpoints {
            clients.push(client_builder(global).endpoints([endpoint]).discover(false).connect().await?);
        }
        Ok(Servers(clients))
    }

    pub(super) async fn used(&self) -> Result<Used, Exit> {
        // One server may have several addresses.
        let mut servers = BTreeMap::new();
        for client in &self.0 {
            let info = client.query().server_info().await?;
            servers.insert(info.member, info.process);
        }
        let client = ProcessUsage::now();
        Ok(Used { at: BootClock.now(), client, server: servers.into_values().fold(None, sum) })
    }
}

fn sum(all: Option<ProcessUsage>, one: Option<ProcessUsage>) -> Option<ProcessUsage> {
    let (Some(all), Some(one)) = (all, one) else { return all.or(one) };
    Some(ProcessUsage {
        cpu: all.cpu + one.cpu,
        resident_bytes: all.resident_bytes + one.resident_bytes,
        resident_bytes_peak: all.resident_bytes_peak + one.resident_bytes_peak,
    })
}

impl Used {
    pub(super) fn client_resident(&self) -> Option<u64> {
        self.client.map(|used| used.resident_bytes)
    }

    pub(super) fn server_resident(&self) -> Option<u64> {
        self.server.map(|used| used.resident_bytes)
    }

    pub(super) fn busy_until(&self, later: &Used) -> Busy {
        let seconds = later.at.since(self.at).as_secs_f64();
        let busy = |from: Option<ProcessUsage>, to: Option<ProcessUsage>| {
            Some(to?.cpu.saturating_sub(from?.cpu).as_secs_f64() / seconds)
        };
        Busy { client: busy(self.client, later.client), server: busy(self.server, later.server) }
    }
}

impl Busy {
    pub(super) fn add(&mut self, other: Busy) {
        let add = |mine: &mut Option<f64>, theirs: Option<f64>| {
            *mine = Some(mine.unwrap_or(0.0) + theirs.unwrap_or(0.0)).filter(|_| theirs.is_some());
        };
        add(&mut self.client, other.client);
        add(&mut self.server, other.server);
    }

    /// Both sides together.
    pub(super) fn total(&self) -> Option<f64> {
        Some(self.client? + self.server?)
    }
}
