//! A small file system for the embedded store, which can be full.

use dlock_client::Client;
use futures::{StreamExt, stream};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const SIZE: &str = "size=96m";
/// Locks with long names: more than there is room for in what the log has taken of the disk in advance.
const HOARD: usize = 60_000;
const NAME_BYTES: usize = 900;
const IN_FLIGHT: usize = 64;
const PATIENCE: Duration = Duration::from_secs(2);

/// A file system of its own.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// None where we may not.
    pub(crate) fn mount(path: &Path) -> Option<Disk> {
        std::fs::create_dir(path).unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(path).status();
        status.is_ok_and(|status| status.success()).then(|| Disk(path.to_owned()))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    pub(crate) fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever still uses it keeps it until then.
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A client that locks ever more, so that the log has to grow. Without it a full disk may be noticed by nobody, as room
/// was taken in advance.
pub(crate) struct Hoarder {
    endpoints: Vec<String>,
    hoarding: JoinHandle<()>,
}

impl Hoarder {
    pub(crate) fn start(runtime: &Runtime, endpoints: Vec<String>) -> Hoarder {
        let servers = endpoints.clone();
        let hoarding = runtime.spawn(async move {
            let Ok(client) = Client::builder().endpoints(servers).connect().await else { return };
            let padding = "x".repeat(NAME_BYTES);
            let locks = (0..HOARD).map(|number| {
                let lock = client.lock(format!("hoard/{number}/{padding}")).wait(PATIENCE);
                async move { tokio::time::timeout(PATIENCE, lock.acquire()).await.ok()?.ok() }
            });
            let granted = stream::iter(locks).buffer_unordered(IN_FLIGHT);
            let guards: Vec<_> =
                granted.take_while(|guard| std::future::ready(guard.is_some())).collect().await;
            drop(guards);
        });
        Hoarder { endpoints, hoarding }
    }

    /// Lets it go. Whether the server says that the disk is full.
    pub(crate) fn end(self, runtime: &Runtime) -> bool {
        self.hoarding.abort();
        runtime.block_on(async {
            let Ok(client) = Client::builder().endpoints(self.endpoints).connect().await else {
                return false;
            };
            let info = client.query().server_info().await;
            info.is_ok_and(|info| info.conditions.iter().any(|condition| condition.starts_with("NOSPACE")))
        })
    }
}
