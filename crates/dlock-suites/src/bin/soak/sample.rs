//! What servers use, and what the store holds, at a moment.

use dlock_client::Client;
use dlock_runtime::{BootClock, Clock as _};
use dlock_suites::{Deployment, DlockServer};
use futures::StreamExt;
use std::fmt;
use std::time::Duration;

/// How often it is looked whether all have gone.
const LOOK: Duration = Duration::from_secs(10);

/// Looks at a deployment from outside.
pub(crate) struct Sampler {
    /// Of the servers.
    processes: Vec<u32>,
    clients: Vec<Client>,
}

/// The sums over all servers, and the records in their store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) resident_bytes: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    pub(crate) tasks: u64,
    pub(crate) sessions: u64,
    pub(crate) resources: u64,
}

/// How the store was emptied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drained {
    pub(crate) took: Duration,
    /// What was there at the end.
    pub(crate) last: Sample,
}

impl Sampler {
    pub(crate) async fn new(deployment: &Deployment) -> Sampler {
        let processes = deployment.servers.iter().map(DlockServer::process_id).collect();
        let mut clients = Vec::new();
        for number in 0..deployment.servers.len() {
            clients.push(deployment.client(number).await);
        }
        Sampler { processes, clients }
    }

    pub(crate) async fn take(&self, at: Duration) -> Sample {
        let mut sample = Sample { at, ..Sample::default() };
        for process in &self.processes {
            sample.resident_bytes += figure(*process, "VmRSS:") * 1024;
            sample.threads += figure(*process, "Threads:");
            sample.descriptors += std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() as u64;
        }
        for client in &self.clients {
            sample.tasks += client.query().server_info().await.expect("a server").tasks;
        }
        let query = self.clients[0].query();
        let sessions = query.list_sessions().map(|session| session.expect("a session"));
        let resources = query.list_resources("").map(|resource| resource.expect("a resource"));
        sample.sessions = sessions.count().await as u64;
        sample.resources = resources.count().await as u64;
        sample
    }

    /// Waits until there is no session and no resource any more.
    pub(crate) async fn wait_until_empty(&self, at_most: Duration) -> Drained {
        let begun = BootClock.now();
        loop {
            let took = BootClock.now().since(begun);
            let last = self.take(took).await;
            if last.sessions + last.resources == 0 || took >= at_most {
                return Drained { took, last };
            }
            eprintln!("leaving: {last}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A number of a process's status.
fn figure(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample { at, resident_bytes, descriptors, threads, tasks, sessions, resources } = self;
        write!(
            f,
            "{:7.1} s  {} MiB, {descriptors} descriptors, {threads} threads, {tasks} tasks, {sessions} sessions and \
             {resources} resources in the store",
            at.as_secs_f64(),
            resident_bytes >> 20
        )
    }
}
