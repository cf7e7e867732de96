//! All servers are restarted in turn.

use crate::figures::{Figures, Row};
use dlock_suites::{Backend, Deployment, Load};
use std::time::Duration;

const CLIENTS: usize = 12;
const RESOURCES: usize = 12;
const TTL: Duration = Duration::from_secs(10);
/// Of all that was asked.
const ERRORS: f64 = 0.001;
const BETWEEN: Duration = Duration::from_secs(2);

/// SIGTERM and a new start of each, under load.
pub(crate) async fn restarted(backend: Backend, rounds: usize) -> [Row; 2] {
    let mut deployment = Deployment::start(backend, 3);
    let load = Load::start(&deployment, CLIENTS, RESOURCES, TTL).await;
    tokio::time::sleep(BETWEEN).await;
    for _ in 0..rounds {
        for server in &mut deployment.servers {
            server.process().terminate();
            server.restart();
            tokio::time::sleep(BETWEEN).await;
        }
    }
    let report = load.finish().await;
    report.assert_safe();
    let lost = report.losses.len() + report.lost_sessions.len();
    [
        Row {
            what: "a rolling restart: locks and sessions lost",
            figures: Figures::Count { target: 0.0, found: lost, of: report.grants },
        },
        Row {
            what: "a rolling restart: errors among all grants",
            figures: Figures::Count { target: ERRORS, found: report.errors.len(), of: report.grants },
        },
    ]
}
