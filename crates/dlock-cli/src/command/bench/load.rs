//! The locks that are under way.

use super::Counts;
use crate::arguments::{Bench, Global, Workload};
use crate::exit::Exit;
use dlock_client::{Client, Error};
use dlock_core::{Mode, Timestamp};
use dlock_runtime::{BootClock, Clock};
use std::time::Duration;
use tokio::task::JoinSet;

/// A measured stretch.
pub(super) struct Measured {
    pub(super) counts: Counts,
    pub(super) took: Duration,
    pub(super) cpu_seconds: f64,
}

/// Runs the load for the warm-up and then for `duration`.
pub(super) async fn run(global: &Global, arguments: &Bench, duration: Duration) -> Result<Measured, Exit> {
    let mut clients = Vec::new();
    for _ in 0..arguments.clients {
        clients.push(super::super::client_builder(global).ttl(arguments.ttl).connect().await?);
    }
    let begin = BootClock.now() + arguments.warm_up;
    let end = begin + duration;
    let mut tasks = JoinSet::new();
    for number in 0..arguments.in_flight {
        let client = clients[(number % arguments.clients) as usize].clone();
        let counts = Counts::new()?;
        let worker = Worker { client, number, workload: arguments.workload, begin, end, counts };
        let (global, ttl) = (global.endpoints.clone(), arguments.ttl);
        tasks.spawn(worker.run(global, ttl));
    }
    BootClock.sleep_until(begin).await;
    let cpu_before = cpu_seconds();
    BootClock.sleep_until(end).await;
    let cpu_seconds = cpu_seconds() - cpu_before;
    let mut counts = Counts::new()?;
    while let Some(done) = tasks.join_next().await {
        counts.add(done.map_err(|error| Exit::new(crate::exit::FAILURE, error))?);
    }
    for client in clients {
        if let Err(error) = client.close().await {
            counts.error(&error);
        }
    }
    Ok(Measured { counts, took: duration, cpu_seconds })
}

struct Worker {
    client: Client,
    number: u32,
    workload: Workload,
    begin: Timestamp,
    end: Timestamp,
    counts: Counts,
}

impl Worker {
    async fn run(mut self, endpoints: Vec<String>, ttl: Duration) -> Counts {
        let name = match self.workload {
            Workload::Hot | Workload::Try | Workload::ReadShared => "bench/one".to_owned(),
            Workload::Uncontended | Workload::Convert | Workload::Sessions => {
                format!("bench/{}", self.number)
            }
        };
        loop {
            let start = BootClock.now();
            if start >= self.end {
                return self.counts;
            }
            let pair = match self.workload {
                Workload::Uncontended | Workload::Hot => self.pair(&name, Mode::Exclusive).await,
                Workload::ReadShared => self.pair(&name, Mode::ProtectedRead).await,
                Workload::Convert => self.convert(&name).await,
                Workload::Try => self.try_once(&name).await,
                Workload::Sessions => self.session(&name, &endpoints, ttl).await,
            };
            match pair {
                // Only what began and ended while it was measured.
                Ok(Some([acquired, released])) if start >= self.begin && released < self.end => {
                    let nanoseconds = |from: Timestamp, to: Timestamp| to.0.saturating_sub(from.0).max(1);
                    self.counts.pairs += 1;
                    self.counts.acquire.saturating_record(nanoseconds(start, acquired));
                    self.counts.release.saturating_record(nanoseconds(acquired, released));
                    self.counts.pair.saturating_record(nanoseconds(start, released));
                }
                Ok(Some(_)) => {}
                Ok(None) => self.counts.refused += u64::from(start >= self.begin),
                Err(error) => {
                    self.counts.error(&error);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    async fn pair(&self, name: &str, mode: Mode) -> Result<Option<[Timestamp; 2]>, Error> {
        let guard = self.client.lock(name).mode(mode).acquire().await?;
        let acquired = BootClock.now();
        guard.release().await?;
        Ok(Some([acquired, BootClock.now()]))
    }

    async fn try_once(&self, name: &str) -> Result<Option<[Timestamp; 2]>, Error> {
        let Some(guard) = self.client.lock(name).try_acquire().await? else { return Ok(None) };
        let acquired = BootClock.now();
        guard.release().await?;
        Ok(Some([acquired, BootClock.now()]))
    }

    async fn convert(&self, name: &str) -> Result<Option<[Timestamp; 2]>, Error> {
        let mut guard = self.client.lock(name).mode(Mode::ProtectedRead).acquire().await?;
        let acquired = BootClock.now();
        guard.convert(Mode::Exclusive).await?;
        guard.convert(Mode::ProtectedRead).await?;
        guard.release().await?;
        Ok(Some([acquired, BootClock.now()]))
    }

    async fn session(
        &self,
        name: &str,
        endpoints: &[String],
        ttl: Duration,
    ) -> Result<Option<[Timestamp; 2]>, Error> {
        let builder = Client::builder().endpoints(endpoints.iter().map(String::as_str)).ttl(ttl);
        let client = builder.client_name("dlockctl bench").connect().await?;
        let guard = client.lock(name).acquire().await?;
        let acquired = BootClock.now();
        guard.release().await?;
        client.close().await?;
        Ok(Some([acquired, BootClock.now()]))
    }
}

/// What this process has used so far, user and system.
fn cpu_seconds() -> f64 {
    let mut id = String::new();
    // /proc/self/stat: fields 14 and 15, in ticks of a hundredth of a second.
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat") {
        id = stat;
    }
    let fields: Vec<&str> = id.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
