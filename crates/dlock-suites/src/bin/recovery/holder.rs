//! A holder dies without a word.

use crate::figures::{Figures, Row};
use dlock_runtime::{BootClock, Clock as _};
use dlock_suites::{Backend, Deployment, program};
use std::process::{Command, Stdio};
use std::time::Duration;

const TTL: Duration = Duration::from_secs(3);
const LOCK_DELAY: Duration = Duration::from_secs(1);
/// What the time to live and the lock delay may be exceeded by.
const MARGIN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// SIGKILL to `dlockctl lock`; another waits at another server.
pub(crate) async fn killed(backend: Backend, rounds: usize) -> Row {
    let deployment = Deployment::start(backend, 3);
    let next = deployment.client(1).await;
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let mut holder = Command::new(program("dlockctl", "dlock-cli"))
            .args(["lock", "--ttl", &format!("{}s", TTL.as_secs())])
            .args(["--lock-delay", &format!("{}s", LOCK_DELAY.as_secs()), "r"])
            .env("DLOCK_ENDPOINTS", deployment.servers[0].endpoint())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while next.query().get_resource("r").await.unwrap().holders.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let waiting = tokio::spawn({
            let next = next.clone();
            async move { next.lock("r").wait(PATIENCE).acquire().await }
        });
        while next.query().get_resource("r").await.unwrap().queue.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let died = BootClock.now();
        holder.kill().unwrap();
        holder.wait().unwrap();
        let guard = waiting.await.unwrap().expect("the lock of the dead");
        taken.push(BootClock.now().since(died));
        guard.release().await.unwrap();
    }
    let target = TTL + LOCK_DELAY + MARGIN;
    Row {
        what: "a holder killed (3 s to live, 1 s of lock delay): the next grant",
        figures: Figures::Times { target, taken },
    }
}
